-- Operators of the platform: what they see and when, and that they change nothing.

begin;
\ir ../support.sql

create function pg_temp.sees(who text) returns text language sql as $$
  select pg_temp.ask(who, 'select count(*) from public.agents')
$$;

-- an_operator_sees_an_organization_while_looking_into_it_for_a_reason
do $$
declare
  look text := format('select public.look_into_organization(%L, ''ticket 17'')', pg_temp.id('org'));
begin
  perform pg_temp.make_person('opal');
  perform pg_temp.must_match('not yet', pg_temp.refusal('opal', look), '^42501 this is for operators');
  perform pg_temp.must_equal('appointed', pg_temp.refusal('service', format(
    'select public.appoint_operator(%L, ''on call'')', pg_temp.id('opal')
  )), '');
  perform pg_temp.must_equal('me', pg_temp.ask('opal', 'select public.me() ->> ''is_operator'''), 'true');
  perform pg_temp.must_equal('before', pg_temp.sees('opal'), '0');
  perform pg_temp.must_match('without a reason', pg_temp.refusal('opal', format(
    'select public.look_into_organization(%L, '' '')', pg_temp.id('org')
  )), '^23514');
  perform pg_temp.must_match('for days', pg_temp.refusal('opal', format(
    'select public.look_into_organization(%L, ''x'', ''2 days'')', pg_temp.id('org')
  )), '^22023');
  perform pg_temp.must_equal('the look', pg_temp.refusal('opal', look), '');
  perform pg_temp.must_equal('this organization''s', pg_temp.sees('opal'), '1');
  perform pg_temp.must_equal('may not change', pg_temp.ask('opal', format(
    'select can_admin from public.agent_access(array[%L]::uuid[])', pg_temp.id('host')
  )), 'false');
end
$$;

-- an_operator_finds_organizations_and_that_is_told
do $$
begin
  perform pg_temp.must_equal('found', pg_temp.ask('opal',
    'select name || '' '' || n_members || '' '' || n_agents from public.find_organizations(''tes'')'), 'Test 3 1');
  perform pg_temp.must_equal('by a pattern', pg_temp.ask('opal',
    'select count(*) from public.find_organizations(''%'')'), '0');
  set constraints all immediate;
  set constraints all deferred;
  perform pg_temp.must_equal('told', (
    select string_agg(concat_ws(' ', actor_kind, actor, details -> 'new' ->> 'wanted'), ', ' order by seq)
    from public.audit_log where action = 'operator_look.search'
  ), 'operator opal@people.test tes, operator opal@people.test %');
end
$$;

-- the_admins_of_the_organization_read_who_looked_and_why
do $$
begin
  perform pg_temp.must_equal('adam', pg_temp.ask('adam', 'select reason from public.operator_looks'),
    'ticket 17');
  perform pg_temp.must_equal('uma', pg_temp.ask('uma', 'select count(*) from public.operator_looks'), '0');
  perform pg_temp.must_equal('otto', pg_temp.ask('otto', 'select count(*) from public.operator_looks'), '0');
end
$$;

-- a_look_ends_by_itself_by_the_operator_or_with_the_office
do $$
begin
  update public.operator_looks set ends_at = now();
  perform pg_temp.must_equal('expired', pg_temp.sees('opal'), '0');
  perform pg_temp.attempt('opal', format('select public.look_into_organization(%L, ''x'')', pg_temp.id('org')));
  perform pg_temp.must_equal('ended', pg_temp.ask('opal', format(
    'select public.end_look(%L)', pg_temp.id('org'))), '1');
  perform pg_temp.must_equal('after the end', pg_temp.sees('opal'), '0');
  perform pg_temp.attempt('opal', format('select public.look_into_organization(%L, ''x'')', pg_temp.id('org')));
  perform pg_temp.must_equal('again', pg_temp.sees('opal'), '1');
  perform pg_temp.attempt('service', format('select public.dismiss_operator(%L)', pg_temp.id('opal')));
  perform pg_temp.must_equal('dismissed', pg_temp.sees('opal'), '0');
end
$$;

-- an_operator_who_once_owned_an_agent_may_not_delete_it_by_looking
do $$
begin
  perform pg_temp.attempt('service', format('select public.appoint_operator(%L, ''x'')', pg_temp.id('opal')));
  insert into public.agents (id, name, owner_id, org_id) values
    (pg_temp.remember('old host', gen_random_uuid()), 'old', pg_temp.id('opal'), pg_temp.id('org'));
  perform pg_temp.attempt('opal', format('select public.look_into_organization(%L, ''x'')', pg_temp.id('org')));
  perform pg_temp.must_equal('delete', pg_temp.attempt('opal', format(
    'delete from public.agents where id = %L', pg_temp.id('old host')
  )), '42501');
end
$$;

rollback;
