-- Releases: one row by an admin frees what is held in its scope, and nothing beyond it.

begin;
\ir ../support.sql

-- Hosts held in several ways: by the database, by the daemon, by both, and not at all.
do $$
declare
  spec record;
begin
  for spec in
    select * from (values
      ('by database', 5, 'BlastRadius', 4, null), ('by daemon', 5, null, 4, 'true'),
      ('by both', 5, 'BlastRadius', 9, 'true'), ('went back', 2, null, 41, 'true'),
      ('free', 5, null, 5, 'false'), ('never applied', 5, 'BlastRadius', null, null)
    ) v (name, generation, hold, observed, held)
  loop
    insert into public.agents (id, name, owner_id, org_id)
    values (pg_temp.remember(spec.name, gen_random_uuid()), spec.name, pg_temp.id('owen'), pg_temp.id('org'));
    update public.desired_generations
    set generation = spec.generation, hold = spec.hold, changed_at = '2020-01-01', touched_at = now()
    where agent_id = pg_temp.id(spec.name);
    insert into public.agent_conditions (agent_id, type, status, reason, observed_generation)
    values (pg_temp.id(spec.name), 'FilesWatched', 'true', 'AllWatched', spec.observed);
    if spec.held is not null then
      insert into public.agent_conditions (agent_id, type, status, reason, observed_generation)
      values (pg_temp.id(spec.name), 'Held', spec.held, 'Emptied', spec.observed);
    end if;
  end loop;
  update public.desired_generations set hold = 'BlastRadius', changed_at = '2020-01-01'
  where agent_id = pg_temp.id('other host');
end
$$;

create function pg_temp.state(agent text) returns text language sql as $$
  select concat_ws(' ', g.generation, g.hold, s.released, g.changed_at = now(), g.touched_at is null)
  from public.desired_generations g
  join public.desired_state(array[pg_temp.id(agent)]) s on s.agent_id = g.agent_id
$$;

-- who_may_release_what
do $$
declare
  c record;
begin
  insert into public.agent_users (agent_id, user_id, role) values
    (pg_temp.id('free'), pg_temp.make_person('shared admin'), 'admin'),
    (pg_temp.id('free'), pg_temp.make_person('shared viewer'), 'viewer');
  insert into public.agents (id, name, owner_id, org_id) values
    (pg_temp.remember('umas', gen_random_uuid()), 'umas', pg_temp.id('uma'), pg_temp.id('org'));
  for c in
    select * from (values
      ('owen', 'org', null, '1'), ('adam', 'org', null, '1'), ('adam', 'org', 'free', '1'),
      ('uma', 'org', null, '42501'), ('uma', 'org', 'free', '42501'), ('uma', 'org', 'umas', '1'),
      ('otto', 'org', null, '42501'), ('otto', 'org', 'free', '42501'),
      ('otto', 'other org', 'free', '42501'), ('otto', 'other org', 'other host', '1'),
      ('adam', 'other org', 'free', '22023'), ('adam', 'other org', null, '42501'),
      ('adam', 'org', 'other host', '42501'), ('adam', 'other org', 'other host', '42501'),
      ('shared admin', 'org', 'free', '1'), ('shared admin', 'org', null, '42501'),
      ('shared admin', 'org', 'by both', '42501'), ('shared viewer', 'org', 'free', '42501'),
      ('service', 'org', null, '42501'), ('anon', 'org', null, '42501')
    ) v (who, org, agent, verdict)
  loop
    perform pg_temp.must_equal('release by ' || c, pg_temp.rehearse(c.who, format(
      'insert into public.held_releases (org_id, agent_id) values (%L, %L)', pg_temp.id(c.org),
      case when c.agent is not null then pg_temp.id(c.agent) end)), c.verdict);
  end loop;
end
$$;

-- a_release_of_one_host_frees_it_past_what_it_has_applied_and_leaves_the_others
do $$
begin
  delete from realtime.messages;
  perform pg_temp.become('adam');
  insert into public.held_releases (org_id, agent_id, note)
  values (pg_temp.id('org'), pg_temp.id('went back'), 'looked at it');
  perform pg_temp.become('owner');
  perform pg_temp.must_equal('row', (
    select concat_ws(' ', released, note, created_by = pg_temp.id('adam')) from public.held_releases
  ), '1 looked at it t');
  perform pg_temp.must_equal('freed', pg_temp.state('went back'), '42 t t t');
  perform pg_temp.must_equal('another', pg_temp.state('by both'), '5 BlastRadius f f f');
  perform pg_temp.must_equal('told', (
    select string_agg(concat_ws(' ', topic, event, payload ->> 'generation',
      payload ->> 'agent_id' = pg_temp.id('went back')::text), ', ') from realtime.messages
  ), 'hidps:feed generation 42 t');
  update public.agent_conditions set status = 'false', reason = 'NothingHeld', observed_generation = 42
  where agent_id = pg_temp.id('went back');
end
$$;

-- a_release_of_an_organization_frees_everything_held_in_it_and_says_how_many
do $$
declare
  n integer;
begin
  perform pg_temp.become('adam');
  insert into public.held_releases (org_id) values (pg_temp.id('org')) returning released into n;
  perform pg_temp.become('owner');
  perform pg_temp.must_equal('released', n::text, '4');
  perform pg_temp.must_equal('by database', pg_temp.state('by database'), '6 t t t');
  perform pg_temp.must_equal('by daemon', pg_temp.state('by daemon'), '6 t t t');
  perform pg_temp.must_equal('by both', pg_temp.state('by both'), '10 t t t');
  perform pg_temp.must_equal('never applied', pg_temp.state('never applied'), '6 t t t');
  perform pg_temp.must_equal('free', pg_temp.state('free'), '5 f f f');
  perform pg_temp.must_equal('another organization', pg_temp.state('other host'), '1 BlastRadius f f t');
end
$$;

-- a_released_host_is_not_released_again_until_it_has_been_there
do $$
declare
  n integer;
  held constant text := 'insert into public.held_releases (org_id) values (pg_temp.id(''org'')) returning released';
begin
  perform pg_temp.become('adam');
  execute held into n;
  perform pg_temp.become('owner');
  perform pg_temp.must_equal('released again', n::text, '0');
  perform pg_temp.must_equal('by daemon', pg_temp.state('by daemon'), '6 t t t');
  -- Older than what this host has in truth, and it says so only now: as after a restored backup.
  update public.agent_conditions set observed_generation = 57
  where agent_id = pg_temp.id('by daemon') and type = 'Held';
  -- The same number with other content.
  update public.agent_conditions set observed_generation = 10
  where agent_id = pg_temp.id('by both') and type = 'Held';
  perform pg_temp.become('adam');
  execute held into n;
  perform pg_temp.become('owner');
  perform pg_temp.must_equal('released', n::text, '2');
  perform pg_temp.must_equal('by daemon', pg_temp.state('by daemon'), '58 t t t');
  perform pg_temp.must_equal('by both', pg_temp.state('by both'), '11 t t t');
end
$$;

-- a_release_of_nothing_held_is_a_row_that_says_so_and_changes_nothing
do $$
declare
  n integer;
  before text := pg_temp.state('free');
begin
  delete from realtime.messages;
  perform pg_temp.become('owen');
  insert into public.held_releases (org_id, agent_id) values (pg_temp.id('org'), pg_temp.id('free'))
  returning released into n;
  perform pg_temp.become('owner');
  perform pg_temp.must_equal('released', n::text, '0');
  perform pg_temp.must_equal('free', pg_temp.state('free'), before);
  perform pg_temp.must_equal('told', (select count(*)::text from realtime.messages), '0');
end
$$;

-- the_next_change_is_not_released_with_it
do $$
begin
  perform pg_temp.must_equal('change', pg_temp.attempt('adam', 'insert into public.monitored_files
    (agent_id, file_path) values (pg_temp.id(''by both''), ''/x'')'), '1');
  perform pg_temp.must_equal('state', pg_temp.state('by both'), '12 f t f');
end
$$;

-- released_hosts_are_not_held_again_by_the_next_small_change
do $$
declare
  held text;
begin
  insert into public.agents (name, owner_id, org_id)
  select 'fleet ' || i, pg_temp.id('owen'), pg_temp.id('org') from generate_series(1, 30) i;
  insert into public.agent_conditions (agent_id, type, status, reason, observed_generation)
  select id, 'FilesWatched', 'true', 'AllWatched', 1 from public.agents where name like 'fleet %';
  perform pg_temp.attempt('adam', 'insert into public.monitored_files (agent_id, file_path)
    select id, ''/x'' from public.agents where name like ''fleet %''');
  select count(*)::text into held from public.desired_generations where hold is not null
    and agent_id in (select id from public.agents where name like 'fleet %');
  perform pg_temp.must_equal('held', held, '30');
  perform pg_temp.attempt('adam', 'insert into public.held_releases (org_id) values (pg_temp.id(''org''))');
  perform pg_temp.attempt('adam', 'insert into public.monitored_files (agent_id, file_path)
    select id, ''/y'' from public.agents where name like ''fleet %'' limit 5');
  select count(*)::text into held from public.desired_generations where hold is not null
    and agent_id in (select id from public.agents where name like 'fleet %');
  perform pg_temp.must_equal('held after the release', held, '0');
end
$$;

-- a_host_that_claims_an_unbelievable_generation_spoils_nobodys_release
do $$
declare
  n integer;
begin
  insert into public.agent_conditions (agent_id, type, status, reason, observed_generation) values
    (pg_temp.id('free'), 'Liar', 'true', 'R', 9223372036854775807);
  update public.agent_conditions set status = 'true'
  where agent_id = pg_temp.id('free') and type = 'Held';
  perform pg_temp.attempt('adam', 'insert into public.monitored_files (agent_id, file_path)
    values (pg_temp.id(''by both''), ''/z'')');
  perform pg_temp.become('adam');
  insert into public.held_releases (org_id) values (pg_temp.id('org')) returning released into n;
  perform pg_temp.become('owner');
  perform pg_temp.must_equal('released', n::text, '2');
  perform pg_temp.must_equal('the liar', pg_temp.state('free'), '6 t t t');
end
$$;

-- what_a_daemon_that_only_observes_withholds_is_not_released
do $$
declare
  n integer;
  before text;
begin
  update public.agent_conditions set status = 'false' where type = 'Held';
  update public.desired_generations set hold = null where hold is not null;
  update public.agent_conditions set status = 'true', reason = 'ReadOnly'
  where agent_id = pg_temp.id('by daemon') and type = 'Held';
  before := pg_temp.state('by daemon');
  perform pg_temp.become('adam');
  insert into public.held_releases (org_id) values (pg_temp.id('org')) returning released into n;
  perform pg_temp.become('owner');
  perform pg_temp.must_equal('released', n::text, '0');
  perform pg_temp.must_equal('by daemon', pg_temp.state('by daemon'), before);
end
$$;

-- a_release_of_a_whole_fleet_is_told_as_any_other_change_of_one
do $$
begin
  insert into public.agents (name, owner_id, org_id)
  select 'fleet ' || n, pg_temp.id('owen'), pg_temp.id('org') from generate_series(1, 150) n;
  update public.desired_generations g set hold = 'BlastRadius'
  from public.agents a where a.id = g.agent_id and a.name like 'fleet %';
  delete from realtime.messages;
  perform pg_temp.attempt('adam',
    'insert into public.held_releases (org_id) values (pg_temp.id(''org''))');
  perform pg_temp.must_equal('hints', (select count(*)::text from realtime.messages), '101');
  perform pg_temp.must_equal('the last of them names no agent',
    (select count(*)::text from realtime.messages where payload - 'id' = '{}'), '1');
end
$$;

-- only_ones_own_releases_can_be_read
do $$
begin
  perform pg_temp.attempt('otto', 'insert into public.held_releases (org_id) values (pg_temp.id(''other org''))');
  perform pg_temp.must_equal('a member', pg_temp.ask('uma',
    'select string_agg(distinct (org_id = pg_temp.id(''org''))::text, '' '') from public.held_releases'), 'true');
  perform pg_temp.must_equal('a stranger', pg_temp.ask('otto',
    'select string_agg(distinct (org_id = pg_temp.id(''org''))::text, '' '') from public.held_releases'), 'false');
  perform pg_temp.must_equal('shared', pg_temp.ask('shared viewer',
    'select string_agg(distinct (agent_id = pg_temp.id(''free''))::text, '' '') from public.held_releases'), 'true');
end
$$;

-- a_release_names_nobody_else_and_no_number
select pg_temp.must_equal('created_by', pg_temp.rehearse('adam',
  'insert into public.held_releases (org_id, created_by) values (pg_temp.id(''org''), pg_temp.id(''owen''))'), '42501');
select pg_temp.must_equal('released', pg_temp.rehearse('adam',
  'insert into public.held_releases (org_id, released) values (pg_temp.id(''org''), 7)'), '42501');
select pg_temp.must_equal('a note of a thousand characters', pg_temp.rehearse('adam',
  'insert into public.held_releases (org_id, note) values (pg_temp.id(''org''), repeat(''ä'', 1000))'), '1');
select pg_temp.must_equal('a longer one', pg_temp.rehearse('adam',
  'insert into public.held_releases (org_id, note) values (pg_temp.id(''org''), repeat(''ä'', 1001))'), '23514');

rollback;
