-- The demo rows stand as the docs name them, whichever way their people came to exist.

begin;
\ir ../support.sql

-- the_demo_agent_has_its_fixed_id_and_its_three_people_their_roles
do $$
begin
  perform pg_temp.must_equal('people', (
    select string_agg(concat_ws(' ', u.email, o.name, m.role), ', ' order by u.email)
    from public.organization_members m
    join public.organizations o on o.id = m.org_id
    join auth.users u on u.id = m.user_id
    where o.name in ('Acme', 'Globex')
  ), 'admin@acme.test Acme owner, admin@other.test Globex owner, viewer@acme.test Acme user');
  perform pg_temp.must_equal('agent', (
    select concat_ws(' ', a.name, o.name) from public.agents a
    join public.organizations o on o.id = a.org_id
    where a.id = '0190a000-0000-7000-8000-000000000001'
  ), 'web-01 Acme');
end
$$;

-- the_seed_queues_no_mail
select pg_temp.must_equal('notifications', (select count(*)::text from public.alert_notifications), '0');

-- seeding_again_changes_nothing
do $$
begin
  perform set_config('test.before', (
    select md5(string_agg(t::text, '|' order by t::text)) from (
      select a::text from public.agents a union all select g::text from public.desired_generations g
      union all select u.id::text from auth.users u union all select m::text from public.organization_members m
      union all select f::text from public.monitored_files f union all select l::text from public.alerts l
    ) t
  ), true);
end
$$;
\ir ../../seed.sql
select pg_temp.must_equal('rows', (
  select md5(string_agg(t::text, '|' order by t::text)) from (
    select a::text from public.agents a union all select g::text from public.desired_generations g
    union all select u.id::text from auth.users u union all select m::text from public.organization_members m
    union all select f::text from public.monitored_files f union all select l::text from public.alerts l
  ) t
), current_setting('test.before'));

-- people_who_signed_up_before_are_found_and_left_alone
do $$
begin
  delete from public.agents;
  delete from public.organizations;
  delete from auth.users where email like '%@acme.test' or email like '%@other.test';
  insert into auth.users (id, email, encrypted_password)
  values (pg_temp.remember('signed up', gen_random_uuid()), 'Admin@acme.test', 'theirs');
end
$$;
drop function pg_temp.ensure_person(text, text);
\ir ../../seed.sql
select pg_temp.must_equal('owner', (
  select owner_id::text from public.agents where id = '0190a000-0000-7000-8000-000000000001'
), pg_temp.id('signed up')::text);
select pg_temp.must_equal('password', (
  select encrypted_password from auth.users where id = pg_temp.id('signed up')
), 'theirs');

rollback;
