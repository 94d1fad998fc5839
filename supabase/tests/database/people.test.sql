-- What people and existing frontends do, as rows and calls, and what a read-only person, a stranger
-- and nobody get instead.

begin;
\ir ../support.sql

-- Existing frontends --------------------------------------------------------------------------

-- a_person_without_an_organization_gets_one_with_the_first_agent
do $$
begin
  perform pg_temp.make_person('newcomer');
  perform pg_temp.must_equal('insert, returning the row', pg_temp.attempt('newcomer',
    'insert into public.agents (name, owner_id) values (''first'', auth.uid()) returning *'), '1');
  perform pg_temp.must_equal('second agent', pg_temp.attempt('newcomer',
    'insert into public.agents (name, owner_id) values (''second'', auth.uid()) returning *'), '1');
  perform pg_temp.must_equal('organization', pg_temp.ask('newcomer',
    'select name || '' '' || (select count(*) from public.agents) from public.organizations'),
    'newcomer''s organization 2');
  perform pg_temp.must_equal('role', pg_temp.ask('newcomer',
    'select role from public.organization_members'), 'owner');
end
$$;

-- an_admins_new_agent_joins_the_organization_and_its_members_see_it
do $$
begin
  perform pg_temp.must_equal('insert', pg_temp.attempt('adam',
    'insert into public.agents (name, owner_id) values (''joined'', auth.uid()) returning *'), '1');
  perform pg_temp.must_equal('seen by a member', pg_temp.rehearse('uma',
    'select from public.agents where name = ''joined'''), '1');
end
$$;

-- a_read_only_persons_new_agent_is_their_own_affair
do $$
begin
  perform pg_temp.must_equal('insert', pg_temp.attempt('uma',
    'insert into public.agents (name, owner_id) values (''umas'', auth.uid()) returning *'), '1');
  perform pg_temp.must_equal('seen by the organization', pg_temp.rehearse('owen',
    'select from public.agents where name = ''umas'''), '0');
  perform pg_temp.must_equal('into the organization', pg_temp.rehearse('uma',
    'insert into public.agents (name, owner_id, org_id) values (''x'', auth.uid(), pg_temp.id(''org''))'),
    '42501');
end
$$;

-- nobody_makes_an_agent_in_the_name_of_another
do $$
begin
  perform pg_temp.make_person('victim');
  perform pg_temp.must_equal('insert', pg_temp.rehearse('adam',
    'insert into public.agents (name, owner_id) values (''x'', pg_temp.id(''victim''))'), '42501');
  perform pg_temp.must_equal('nothing was made', (
    select count(*)::text from public.organizations where personal_of = pg_temp.id('victim')
  ), '0');
  perform pg_temp.must_equal('an owner who does not exist', pg_temp.rehearse('service',
    'insert into public.agents (name, owner_id) values (''x'', gen_random_uuid())'), '23503');
end
$$;

-- inserting_the_stats_row_that_exists_already_is_harmless
do $$
begin
  perform pg_temp.must_equal('admin', pg_temp.attempt('adam',
    'insert into public.agent_stats (agent_id) values (pg_temp.id(''host'')) returning *'), '0');
  perform pg_temp.must_equal('read-only', pg_temp.attempt('uma',
    'insert into public.agent_stats (agent_id) values (pg_temp.id(''host''))'), '42501');
  perform pg_temp.must_equal('stranger', pg_temp.attempt('otto',
    'insert into public.agent_stats (agent_id) values (pg_temp.id(''host''))'), '42501');
  perform pg_temp.must_equal('stranger, no such agent', pg_temp.attempt('otto',
    'insert into public.agent_stats (agent_id) values (gen_random_uuid())'), '42501');
end
$$;

-- files_are_added_and_removed_as_frontends_do
do $$
begin
  perform pg_temp.must_equal('insert', pg_temp.attempt('adam',
    'insert into public.monitored_files (agent_id, file_path, added_by)
     values (pg_temp.id(''host''), ''/etc/hosts'', auth.uid()) returning *'), '1');
  perform pg_temp.must_equal('in the name of another', pg_temp.attempt('adam',
    'insert into public.monitored_files (agent_id, file_path, added_by)
     values (pg_temp.id(''host''), ''/etc/group'', pg_temp.id(''uma''))'), '42501');
  perform pg_temp.must_equal('delete', pg_temp.attempt('adam',
    'delete from public.monitored_files where file_path = ''/etc/hosts'' and agent_id = pg_temp.id(''host'')
     returning *'), '1');
end
$$;

-- an_agent_is_shared_read_only_by_default
do $$
begin
  perform pg_temp.make_person('guest');
  perform pg_temp.must_equal('look up', pg_temp.ask('owen',
    'select public.get_user_id_by_email('' Guest@people.test '')'), pg_temp.id('guest')::text);
  perform pg_temp.must_equal('share', pg_temp.attempt('owen',
    'insert into public.agent_users (agent_id, user_id) values (pg_temp.id(''host''), pg_temp.id(''guest''))'), '1');
  perform pg_temp.must_equal('sees', pg_temp.rehearse('guest', 'select from public.agents'), '1');
  perform pg_temp.must_equal('writes', pg_temp.rehearse('guest',
    'update public.agent_stats set firewall_enabled = true'), '42501');
  perform pg_temp.must_equal('as viewer', pg_temp.attempt('owen',
    'update public.agent_users set role = ''viewer'' where user_id = pg_temp.id(''guest'')'), '1');
  perform pg_temp.must_equal('writes as viewer', pg_temp.rehearse('guest',
    'update public.agent_stats set firewall_enabled = true'), '42501');
  perform pg_temp.must_equal('promotes themselves', pg_temp.rehearse('guest',
    'update public.agent_users set role = ''admin'' where user_id = auth.uid()'), '42501');
  perform pg_temp.attempt('owen',
    'update public.agent_users set role = ''admin'' where user_id = pg_temp.id(''guest'')');
  perform pg_temp.must_equal('writes as admin', pg_temp.rehearse('guest',
    'update public.agent_stats set firewall_enabled = true'), '1');
  perform pg_temp.must_equal('deletes the agent as shared admin', pg_temp.rehearse('guest',
    'delete from public.agents where id = pg_temp.id(''host'')'), '42501');
  perform pg_temp.must_equal('gives up', pg_temp.attempt('guest',
    'delete from public.agent_users where user_id = auth.uid()'), '1');
  perform pg_temp.must_equal('sees no more', pg_temp.rehearse('guest', 'select from public.agents'), '0');
end
$$;

-- a_reader_who_leaves_in_the_same_statement_takes_nothing_along
do $$
begin
  insert into public.agent_users (agent_id, user_id) values (pg_temp.id('host'), pg_temp.id('guest'));
  insert into public.monitored_files (agent_id, file_path, added_by)
  values (pg_temp.id('host'), '/kept', pg_temp.id('owen'));
  perform pg_temp.must_equal('delete', pg_temp.rehearse('guest',
    'with gone as (delete from public.agent_users where user_id = auth.uid())
     delete from public.monitored_files where file_path = ''/kept'''), '42501');
end
$$;

-- Read-only people ----------------------------------------------------------------------------

-- a_read_only_person_is_told_so_in_words
do $$
declare
  c record;
begin
  insert into public.alerts (agent_id, title) values (pg_temp.id('host'), 'T');
  for c in
    select * from (values
      ('update public.agent_stats set firewall_enabled = true'),
      ('update public.monitored_files set file_path = ''/x'''),
      ('update public.agents set name = ''x'' where id = pg_temp.id(''host'')'),
      ('update public.alerts set resolved = true'),
      ('insert into public.monitored_files (agent_id, file_path) values (pg_temp.id(''host''), ''/x'')'),
      ('delete from public.monitored_files'),
      ('delete from public.alerts'),
      ('delete from public.agents where id = pg_temp.id(''host'')')
    ) v (statement)
  loop
    perform pg_temp.must_match(c.statement, pg_temp.refusal('uma', c.statement),
      '^42501 (new row violates row-level security|you may read)');
  end loop;
end
$$;

-- a_stranger_sees_and_touches_nothing
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('select from public.agents where id = pg_temp.id(''host'')'),
      ('select from public.desired_generations where agent_id = pg_temp.id(''host'')'),
      ('select from public.organizations where id = pg_temp.id(''org'')'),
      ('select from public.organization_members where org_id = pg_temp.id(''org'')'),
      ('update public.agent_stats set firewall_enabled = true where agent_id = pg_temp.id(''host'')'),
      ('delete from public.monitored_files where agent_id = pg_temp.id(''host'')'),
      ('delete from public.agents where id = pg_temp.id(''host'')')
    ) v (statement)
  loop
    perform pg_temp.must_equal(c.statement, pg_temp.rehearse('otto', c.statement), '0');
  end loop;
end
$$;

-- Owners --------------------------------------------------------------------------------------

-- an_owner_with_a_read_only_role_may_change_their_agent_while_they_are_a_member
do $$
begin
  insert into public.agents (id, name, owner_id, org_id) values
    (pg_temp.remember('umas host', gen_random_uuid()), 'umas host', pg_temp.id('uma'), pg_temp.id('org'));
  insert into public.monitored_files (agent_id, file_path, added_by)
  values (pg_temp.id('umas host'), '/etc/owned', pg_temp.id('uma'));
  perform pg_temp.must_equal('writes', pg_temp.rehearse('uma',
    'update public.agents set name = ''mine'' where id = pg_temp.id(''umas host'')'), '1');
  perform pg_temp.must_equal('deletes a path', pg_temp.rehearse('uma',
    'delete from public.monitored_files where file_path = ''/etc/owned'''), '1');
  perform pg_temp.must_equal('deletes', pg_temp.rehearse('uma',
    'delete from public.agents where id = pg_temp.id(''umas host'')'), '1');
end
$$;

-- an_owner_who_left_the_organization_sees_and_touches_nothing
do $$
declare
  statement text;
begin
  delete from public.organization_members
  where user_id = pg_temp.id('uma') and org_id = pg_temp.id('org');
  foreach statement in array array[
    'select from public.agents where id = pg_temp.id(''umas host'')',
    'select from public.agent_stats where agent_id = pg_temp.id(''umas host'')',
    'select from public.monitored_files where agent_id = pg_temp.id(''umas host'')',
    'select from public.agent_access(array[pg_temp.id(''umas host'')])',
    'update public.agents set name = ''x'' where id = pg_temp.id(''umas host'')',
    'update public.agent_stats set firewall_enabled = true where agent_id = pg_temp.id(''umas host'')',
    'delete from public.monitored_files where agent_id = pg_temp.id(''umas host'')',
    'delete from public.agents where id = pg_temp.id(''umas host'')'
  ] loop
    perform pg_temp.must_equal(statement, pg_temp.rehearse('uma', statement), '0');
  end loop;
  perform pg_temp.must_equal('shares it', pg_temp.rehearse('uma',
    'insert into public.agent_users (agent_id, user_id) values (pg_temp.id(''umas host''), auth.uid())'),
    '42501');
  perform pg_temp.must_equal('adds a path', pg_temp.rehearse('uma',
    'insert into public.monitored_files (agent_id, file_path) values (pg_temp.id(''umas host''), ''/x'')'),
    '42501');
end
$$;

-- an_owner_who_left_keeps_what_was_shared_with_them_and_no_more
do $$
begin
  insert into public.agent_users (agent_id, user_id) values (pg_temp.id('umas host'), pg_temp.id('uma'));
  perform pg_temp.must_equal('sees', pg_temp.rehearse('uma',
    'select from public.agents where id = pg_temp.id(''umas host'')'), '1');
  perform pg_temp.must_equal('renames', pg_temp.rehearse('uma',
    'update public.agents set name = ''x'' where id = pg_temp.id(''umas host'')'), '42501');
  perform pg_temp.must_equal('deletes', pg_temp.rehearse('uma',
    'delete from public.agents where id = pg_temp.id(''umas host'')'), '42501');
end
$$;

-- an_admin_hands_an_agent_to_another_member
do $$
declare
  hand_over constant text := 'update public.agents set owner_id = pg_temp.id(%L) where id = pg_temp.id(''umas host'')';
begin
  perform pg_temp.must_match('to a stranger', pg_temp.refusal('adam', format(hand_over, 'otto')),
    '^22023 the owner of an agent must be a member');
  perform pg_temp.must_match('to somebody who left', pg_temp.refusal('service',
    'update public.agents set owner_id = pg_temp.id(''uma'') where id = pg_temp.id(''host'')'),
    '^22023 the owner of an agent must be a member');
  perform pg_temp.must_equal('admin', pg_temp.attempt('adam', format(hand_over, 'owen')), '1');
  perform pg_temp.must_equal('owner', (
    select owner_id::text from public.agents where id = pg_temp.id('umas host')
  ), pg_temp.id('owen')::text);
  perform pg_temp.must_equal('by a stranger', pg_temp.rehearse('otto', format(hand_over, 'otto')), '0');
end
$$;

-- only_owners_and_admins_of_the_organization_hand_agents_over
do $$
begin
  insert into public.organization_members (org_id, user_id, role)
  values (pg_temp.id('org'), pg_temp.id('uma'), 'user');
  perform pg_temp.must_match('a read-only member takes an agent', pg_temp.refusal('uma',
    'update public.agents set owner_id = auth.uid() where id = pg_temp.id(''host'')'),
    '^42501 naming another owner');
  update public.agents set owner_id = pg_temp.id('uma') where id = pg_temp.id('umas host');
  perform pg_temp.must_match('a read-only owner gives one away', pg_temp.refusal('uma',
    'update public.agents set owner_id = pg_temp.id(''adam'') where id = pg_temp.id(''umas host'')'),
    '^42501 naming another owner');
  insert into public.agent_users (agent_id, user_id, role)
  values (pg_temp.id('host'), pg_temp.id('guest'), 'admin')
  on conflict (agent_id, user_id) do update set role = 'admin';
  perform pg_temp.must_match('a shared admin takes an agent', pg_temp.refusal('guest',
    'update public.agents set owner_id = auth.uid() where id = pg_temp.id(''host'')'),
    '^42501 naming another owner');
end
$$;

-- Calls ---------------------------------------------------------------------------------------

-- access_is_what_the_policies_say
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('adam', 'host:true'), ('uma', 'host:false'), ('otto', 'other host:true')
    ) v (who, expected)
  loop
    perform pg_temp.must_equal(c.who, pg_temp.ask(c.who,
      'select string_agg(w.name || '':'' || a.can_admin, '' '' order by w.name)
       from public.agent_access(array[pg_temp.id(''host''), pg_temp.id(''other host''), gen_random_uuid()]) a
       join pg_temp.world w on w.id = a.agent_id'), c.expected);
  end loop;
  perform pg_temp.must_equal('anon', pg_temp.rehearse('anon', 'select public.agent_access(''{}'')'), '42501');
end
$$;

-- me_says_who_i_am_and_where
do $$
declare
  me jsonb := pg_temp.ask('uma', 'select public.me()');
begin
  perform pg_temp.must_equal('id', me ->> 'id', pg_temp.id('uma')::text);
  perform pg_temp.must_equal('email', me ->> 'email', 'uma@people.test');
  perform pg_temp.must_equal('organizations', me #>> '{organizations,0,name}'
    || ' ' || (me #>> '{organizations,0,role}'), 'Test user');
end
$$;

-- whoever_registers_an_organization_owns_it
do $$
begin
  perform pg_temp.remember('new org', pg_temp.ask('uma', 'select public.register_organization(''New'')')::uuid);
  perform pg_temp.must_equal('role', pg_temp.ask('uma',
    'select role from public.organization_members where org_id = pg_temp.id(''new org'')'), 'owner');
  perform pg_temp.must_equal('settings', pg_temp.attempt('uma',
    'update public.organizations set settings = ''{"retention_days": 9}'' where id = pg_temp.id(''new org'')'), '1');
  perform pg_temp.must_match('empty name', pg_temp.refusal('uma',
    'select public.register_organization('' '')'), '^23514 .*name_is_1_to_200_characters');
end
$$;

-- an_agent_is_created_by_call_where_the_caller_may
do $$
begin
  perform pg_temp.must_match('admin', pg_temp.ask('adam',
    'select public.create_agent(''by call'', pg_temp.id(''org''))'), '^[0-9a-f-]{36}$');
  perform pg_temp.must_match('read-only', pg_temp.refusal('uma',
    'select public.create_agent(''by call'', pg_temp.id(''org''))'), '^42501');
  perform pg_temp.must_match('stranger', pg_temp.refusal('otto',
    'select public.create_agent(''by call'', pg_temp.id(''org''))'), '^42501');
end
$$;

-- Looking people up ---------------------------------------------------------------------------

-- The answer or the refusal. Whoever is answered has asked twice.
create function pg_temp.look_up(who text, address text) returns text language plpgsql as $$
declare
  refused text := pg_temp.refusal(who, format('select public.get_user_id_by_email(%L)', address));
begin
  if refused <> '' then
    return refused;
  end if;
  return pg_temp.ask(who, format('select public.get_user_id_by_email(%L)', address));
end
$$;

create function pg_temp.n_lookups(who text) returns text language sql as $$
  select n_attempts::text from private.attempts where person = pg_temp.id(who) and kind = 'lookup'
$$;

-- without_an_agent_to_share_nobody_learns_who_has_an_account
do $$
declare
  address text;
begin
  perform pg_temp.make_person('lonely');
  perform pg_temp.ask('lonely', 'select public.register_organization(''Lonely'')');
  foreach address in array array['owen@people.test', 'nobody@people.test', '', 'lonely'] loop
    perform pg_temp.must_match('asking for ' || address, pg_temp.look_up('lonely', address),
      '^42501 looking up people outside of your organizations');
  end loop;
  perform pg_temp.must_match('null', pg_temp.refusal('lonely',
    'select public.get_user_id_by_email(null)'), '^42501');
  perform pg_temp.must_match('anon', pg_temp.look_up('anon', 'owen@people.test'), '^42501');
end
$$;

-- fellow_members_are_found_by_every_member_as_often_as_they_like
do $$
begin
  for n in 1..30 loop
    perform pg_temp.must_equal('admin', pg_temp.look_up('adam', ' OWEN@people.test '),
      pg_temp.id('owen')::text);
  end loop;
  perform pg_temp.must_equal('read-only', pg_temp.look_up('uma', 'owen@people.test'),
    pg_temp.id('owen')::text);
  perform pg_temp.must_equal('counted', pg_temp.n_lookups('adam'), null);
end
$$;

-- strangers_are_found_20_times_an_hour_whether_they_exist_or_not
do $$
begin
  delete from private.attempts;
  for n in 1..10 loop
    perform pg_temp.must_equal('stranger', pg_temp.ask('adam',
      'select public.get_user_id_by_email(''otto@people.test'')'), pg_temp.id('otto')::text);
    perform pg_temp.must_equal('nobody', pg_temp.ask('adam',
      'select public.get_user_id_by_email(''nobody@people.test'')'), null);
  end loop;
  perform pg_temp.must_equal('counted', pg_temp.n_lookups('adam'), '20');
  perform pg_temp.must_match('one more', pg_temp.look_up('adam', 'otto@people.test'),
    '^54000 you looked up 20 people');
  perform pg_temp.must_match('one more for nobody', pg_temp.look_up('adam', 'nobody@people.test'),
    '^54000 you looked up 20 people');
  perform pg_temp.must_equal('fellow members', pg_temp.look_up('adam', 'owen@people.test'),
    pg_temp.id('owen')::text);
  perform pg_temp.must_equal('somebody else', pg_temp.ask('owen',
    'select public.get_user_id_by_email(''otto@people.test'')'), pg_temp.id('otto')::text);
  update private.attempts set hour_began = now() - interval '1 hour' where person = pg_temp.id('adam');
  perform pg_temp.must_equal('an hour later', pg_temp.ask('adam',
    'select public.get_user_id_by_email(''otto@people.test'')'), pg_temp.id('otto')::text);
  perform pg_temp.must_equal('counted afresh', pg_temp.n_lookups('adam'), '1');
end
$$;

-- too_many_lookups_answer_429
do $$
declare
  status text;
begin
  update private.attempts set n_attempts = 20 where person = pg_temp.id('adam');
  perform pg_temp.become('adam');
  perform public.get_user_id_by_email('otto@people.test');
  raise exception 'FAILED: answered';
exception when sqlstate 'PGRST' then
  get stacked diagnostics status = pg_exception_detail;
  perform pg_temp.must_equal('detail', status::jsonb ->> 'status', '429');
end
$$;

rollback;
