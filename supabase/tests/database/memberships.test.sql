-- Who belongs to an organization: roles, leaving, invites, open organizations, and the owner that an
-- organization always keeps.

begin;
\ir ../support.sql

-- Somebody's role, or null.
create function pg_temp.role_of(who text) returns text language sql as $$
  select role from public.organization_members
  where org_id = pg_temp.id('org') and user_id = pg_temp.id(who)
$$;

create function pg_temp.set_role(who text, whose text, new_role text) returns text language sql as $$
  select pg_temp.refusal(who, format('select public.set_member_role(%L, %L, %L)', pg_temp.id('org'),
    pg_temp.id(whose), new_role))
$$;

create function pg_temp.remove(who text, whom text) returns text language sql as $$
  select pg_temp.refusal(who, format('select public.remove_member(%L, %L)', pg_temp.id('org'),
    pg_temp.id(whom)))
$$;

-- admins_change_roles_but_only_owners_make_and_unmake_owners
do $$
begin
  perform pg_temp.must_equal('adam lifts uma', pg_temp.set_role('adam', 'uma', 'admin'), '');
  perform pg_temp.must_equal('uma', pg_temp.role_of('uma'), 'admin');
  perform pg_temp.must_equal('adam lowers uma', pg_temp.set_role('adam', 'uma', 'user'), '');
  perform pg_temp.must_match('adam makes an owner', pg_temp.set_role('adam', 'uma', 'owner'),
    '^42501 only an owner');
  perform pg_temp.must_match('adam unmakes the owner', pg_temp.set_role('adam', 'owen', 'user'),
    '^42501 only an owner');
  perform pg_temp.must_match('adam removes the owner', pg_temp.remove('adam', 'owen'),
    '^42501 only an owner');
  perform pg_temp.must_equal('owen makes an owner', pg_temp.set_role('owen', 'adam', 'owner'), '');
  perform pg_temp.must_equal('and unmakes', pg_temp.set_role('owen', 'adam', 'admin'), '');
  perform pg_temp.must_match('an unknown role', pg_temp.set_role('owen', 'adam', 'root'), '^22023');
  perform pg_temp.must_match('no member', pg_temp.set_role('owen', 'otto', 'user'), '^22023 .* no member');
end
$$;

-- nobody_changes_their_own_role_and_a_user_nobodys
do $$
begin
  perform pg_temp.must_match('uma herself', pg_temp.set_role('uma', 'uma', 'admin'), '^42501');
  perform pg_temp.must_match('uma another', pg_temp.set_role('uma', 'adam', 'user'), '^42501');
  perform pg_temp.must_match('adam himself', pg_temp.set_role('adam', 'adam', 'owner'), '^42501');
  perform pg_temp.must_match('a stranger', pg_temp.set_role('otto', 'uma', 'admin'), '^42501');
  perform pg_temp.must_match('uma removes adam', pg_temp.remove('uma', 'adam'), '^42501');
end
$$;

-- an_organization_keeps_its_last_owner_whatever_is_tried
do $$
begin
  perform pg_temp.must_match('leaving', pg_temp.remove('owen', 'owen'), '^23001 .*without an owner');
  perform pg_temp.must_match('a script', pg_temp.refusal('service', format(
    'update public.organization_members set role = ''user'' where user_id = %L', pg_temp.id('owen')
  )), '^23001');
  perform pg_temp.must_match('a script''s delete', pg_temp.refusal('service', format(
    'delete from public.organization_members where org_id = %L', pg_temp.id('org')
  )), '^23001');
  perform pg_temp.make_person('solo');
  insert into public.organizations (id, name) values (pg_temp.remember('one', gen_random_uuid()), 'One');
  insert into public.organization_members values (pg_temp.id('one'), pg_temp.id('solo'), 'owner');
  perform pg_temp.must_match('the deletion of the person', pg_temp.refusal('owner', format(
    'delete from auth.users where id = %L', pg_temp.id('solo')
  )), '^23001 ''One'' would be left without an owner');
  delete from public.organizations where id = pg_temp.id('one');
  perform pg_temp.must_equal('once the organization is gone', pg_temp.refusal('owner', format(
    'delete from auth.users where id = %L', pg_temp.id('solo')
  )), '');
end
$$;

-- whoever_leaves_or_is_removed_keeps_nothing
do $$
begin
  insert into public.agent_users (agent_id, user_id) values (pg_temp.id('host'), pg_temp.id('uma'));
  perform pg_temp.must_equal('uma leaves', pg_temp.remove('uma', 'uma'), '');
  perform pg_temp.must_equal('uma', pg_temp.role_of('uma'), null);
  perform pg_temp.must_equal('sees', pg_temp.ask('uma', 'select count(*) from public.agents'), '0');
  insert into public.organization_members values (pg_temp.id('org'), pg_temp.id('uma'), 'user');
  perform pg_temp.must_equal('adam removes uma', pg_temp.remove('adam', 'uma'), '');
  insert into public.organization_members values (pg_temp.id('org'), pg_temp.id('uma'), 'user');
end
$$;

-- a_former_owner_of_a_personal_organization_does_not_come_back_by_adding_an_agent
do $$
declare
  org uuid;
begin
  perform pg_temp.make_person('perla');
  perform pg_temp.attempt('perla', 'insert into public.agents (name, owner_id) values (''a'', auth.uid())');
  select id into org from public.organizations where personal_of = pg_temp.id('perla');
  insert into public.organization_members values (org, pg_temp.id('owen'), 'owner');
  perform pg_temp.must_equal('owen takes over', pg_temp.refusal('owen', format(
    'select public.remove_member(%L, %L)', org, pg_temp.id('perla')
  )), '');
  perform pg_temp.must_equal('another agent', pg_temp.attempt('perla',
    'insert into public.agents (name, owner_id) values (''b'', auth.uid())'), '1');
  perform pg_temp.must_be_true('in another organization', (
    select org_id <> org from public.agents where name = 'b'
  ));
  perform pg_temp.must_equal('not in the old one', (
    select count(*)::text from public.organization_members
    where org_id = org and user_id = pg_temp.id('perla')
  ), '0');
end
$$;

-- Invites -------------------------------------------------------------------------------------

-- The answer's code, or "in".
create function pg_temp.accept(who text, token text) returns text language plpgsql as $$
declare
  answer jsonb;
begin
  perform set_config('response.status', '', true);
  answer := pg_temp.ask(who, format('select public.accept_invite(%L)', token))::jsonb;
  return coalesce(concat_ws(' ', current_setting('response.status'), answer ->> 'code',
    answer ->> 'message'), '') || case when answer ? 'org_id' then 'in' else '' end;
end
$$;

-- an_invite_lets_one_person_in_once_with_its_role
do $$
declare
  token text;
begin
  perform pg_temp.make_person('iris'), pg_temp.make_person('ivan');
  token := pg_temp.ask('adam', format('select public.create_invite(%L, ''admin'')', pg_temp.id('org')));
  perform pg_temp.must_match('the token', token, '^hidps_invite_[0-9a-f]{12}_[0-9a-f]{64}$');
  perform pg_temp.must_equal('iris', pg_temp.accept('iris', token), 'in');
  perform pg_temp.must_equal('her role', pg_temp.role_of('iris'), 'admin');
  perform pg_temp.must_match('ivan', pg_temp.accept('ivan', token), '^403 28000 .*used already');
  perform pg_temp.must_equal('his role', pg_temp.role_of('ivan'), null);
end
$$;

-- the_secret_of_an_invite_is_stored_nowhere
do $$
declare
  token text;
begin
  token := pg_temp.ask('adam', format('select public.create_invite(%L)', pg_temp.id('org')));
  perform pg_temp.must_equal('rows with it', (
    select count(*)::text from public.organization_invites i
    where to_jsonb(i)::text like '%' || right(token, 64) || '%'
  ), '0');
  perform pg_temp.must_equal('its hash', (
    select count(*)::text from private.organization_invite_secrets
    where secret_sha256 = encode(sha256(convert_to(right(token, 64), 'UTF8')), 'hex')
  ), '1');
end
$$;

-- an_invite_that_is_wrong_revoked_expired_or_for_another_lets_nobody_in
do $$
declare
  token text;
begin
  token := pg_temp.ask('adam', format('select public.create_invite(%L, ''user'', ''Ivan@People.test'')',
    pg_temp.id('org')));
  perform pg_temp.must_match('a wrong secret', pg_temp.accept('ivan', left(token, 26) || repeat('0', 64)),
    '^403 28000 the invite is not valid');
  perform pg_temp.must_match('no invite', pg_temp.accept('ivan', 'x'), '^403 28000 the invite is not valid');
  perform pg_temp.must_match('another person', pg_temp.accept('uma', token), '^403 .*for another address');
  update auth.users set email_confirmed_at = null where id = pg_temp.id('ivan');
  perform pg_temp.must_match('not confirmed', pg_temp.accept('ivan', token), '^403 .*confirmed address');
  update auth.users set email_confirmed_at = now() where id = pg_temp.id('ivan');
  update public.organization_invites set expires_at = now() where email = 'ivan@people.test';
  perform pg_temp.must_match('expired', pg_temp.accept('ivan', token), '^403 .*has expired');
  update public.organization_invites set expires_at = now() + interval '1 hour'
  where email = 'ivan@people.test';
  perform pg_temp.attempt('owen', format('select public.revoke_invite(%L)', (
    select id from public.organization_invites where email = 'ivan@people.test'
  )));
  perform pg_temp.must_match('revoked', pg_temp.accept('ivan', token), '^403 .*was revoked');
end
$$;

-- open_invites_of_whoever_may_not_invite_any_more_are_withdrawn
do $$
declare
  token text;
begin
  token := pg_temp.ask('iris', format('select public.create_invite(%L)', pg_temp.id('org')));
  perform pg_temp.must_equal('iris is demoted', pg_temp.set_role('owen', 'iris', 'user'), '');
  perform pg_temp.must_match('her invite', pg_temp.accept('ivan', token), '^403 .*was revoked');
end
$$;

-- guesses_are_counted_although_they_fail
do $$
declare
  answer text;
begin
  delete from private.attempts;
  for n in 1..20 loop
    answer := pg_temp.accept('ivan', 'x');
  end loop;
  perform pg_temp.must_match('the 20th', answer, '^403');
  perform pg_temp.must_match('the 21st', pg_temp.accept('ivan', 'x'), '^429 54000');
  perform pg_temp.must_match('somebody else''s', pg_temp.accept('uma', 'x'), '^403');
end
$$;

-- Open organizations --------------------------------------------------------------------------

create function pg_temp.join_as(who text, org uuid) returns text language plpgsql as $$
declare
  answer jsonb;
begin
  perform set_config('response.status', '', true);
  answer := pg_temp.ask(who, format('select public.join_organization(%L)', org))::jsonb;
  return concat_ws(' ', current_setting('response.status'), answer ->> 'code');
end
$$;

-- people_join_by_themselves_only_where_the_organization_says_so_and_as_users
do $$
begin
  perform pg_temp.must_equal('closed', pg_temp.join_as('ivan', pg_temp.id('org')), '403 42501');
  perform pg_temp.must_equal('not there', pg_temp.join_as('ivan', gen_random_uuid()), '403 42501');
  perform pg_temp.must_equal('a user opens it', pg_temp.attempt('uma', format(
    'update public.organizations set settings = ''{"open_join": true}'' where id = %L', pg_temp.id('org')
  )), '42501');
  perform pg_temp.must_equal('an admin opens it', pg_temp.attempt('adam', format(
    'update public.organizations set settings = ''{"open_join": true}'' where id = %L', pg_temp.id('org')
  )), '1');
  perform pg_temp.must_equal('open', pg_temp.join_as('ivan', pg_temp.id('org')), '');
  perform pg_temp.must_equal('ivan', pg_temp.role_of('ivan'), 'user');
  perform pg_temp.must_equal('joining again', pg_temp.join_as('owen', pg_temp.id('org')), '');
  perform pg_temp.must_equal('owen', pg_temp.role_of('owen'), 'owner');
  perform pg_temp.must_match('a word for true', pg_temp.refusal('adam', format(
    'update public.organizations set settings = ''{"open_join": "yes"}'' where id = %L', pg_temp.id('org')
  )), '^23514');
end
$$;

-- an_organization_is_given_up_by_an_owner_who_names_it_and_without_agents
do $$
declare
  statement text := format('select public.delete_organization(%L, ''Test'')', pg_temp.id('org'));
begin
  perform pg_temp.must_match('an admin', pg_temp.refusal('adam', statement), '^42501');
  perform pg_temp.must_match('with agents', pg_temp.refusal('owen', statement), '^23001 .*agents');
  delete from public.agents where org_id = pg_temp.id('org');
  perform pg_temp.must_match('by another name', pg_temp.refusal('owen', format(
    'select public.delete_organization(%L, ''test'')', pg_temp.id('org')
  )), '^22023');
  perform pg_temp.must_equal('by its name', pg_temp.refusal('owen', statement), '');
end
$$;

rollback;
