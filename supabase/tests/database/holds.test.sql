-- Blast radius: what reaches too much of an organization within a minute is held, and nothing else.

begin;
\ir ../support.sql

-- Agents of the test's organization, by default hosts that have applied generation 1 an hour ago.
create function pg_temp.make_fleet(fleet text, n integer, applied bigint default 1,
  org uuid default pg_temp.id('org'), owner uuid default pg_temp.id('owen')) returns void
language sql as $$
  insert into public.agents (name, owner_id, org_id)
  select fleet || ' ' || i, owner, org from generate_series(1, n) i;
  update public.desired_generations set changed_at = now() - interval '1 hour'
  where agent_id in (select id from public.agents where name like fleet || ' %');
  insert into public.agent_conditions (agent_id, type, status, reason, observed_generation)
  select id, 'FirewallSynced', 'true', 'Enabled', applied
  from public.agents where name like fleet || ' %';
$$;

-- How many of a fleet are held.
create function pg_temp.held(fleet text) returns text language sql as $$
  select count(*) filter (where g.hold = 'BlastRadius')::text
  from public.desired_generations g join public.agents a on a.id = g.agent_id
  where a.name like fleet || ' %'
$$;

-- Touches the first n of a fleet with one statement.
create function pg_temp.touch(fleet text, n integer, path text default '/' || gen_random_uuid())
returns text language sql as $$
  select pg_temp.attempt('adam', format('insert into public.monitored_files (agent_id, file_path)
    select id, %L from public.agents where name like %L
    order by split_part(name, '' '', 2)::integer limit %s', path, fleet || ' %', n))
$$;

-- The minute of every change so far is over.
create function pg_temp.let_a_minute_pass() returns void language sql as $$
  update public.desired_generations
  set changed_at = changed_at - interval '1 minute', touched_at = touched_at - interval '1 minute';
  update private.blast_budgets set counted_at = counted_at - interval '1 minute';
$$;

create function pg_temp.settle(settings jsonb) returns void language sql as $$
  update public.organizations o set settings = $1 where o.id = pg_temp.id('org')
$$;

-- a_change_of_more_than_the_radius_is_held_and_a_smaller_one_is_not
do $$
declare
  c record;
begin
  for c in
    select * from (values
      -- percent, least number, fleet, touched, held
      (null, null, 20, 10, 0), (null, null, 20, 11, 11), (null, null, 21, 10, 0), (null, null, 21, 11, 11),
      (null, null, 9, 9, 0), (null, null, 10, 10, 10), (null, null, 10, 9, 0),
      (100, 1, 12, 12, 0), (99, 1, 12, 12, 12), (99, 1, 100, 99, 0), (99, 1, 101, 100, 100),
      (1, 1, 100, 1, 0), (1, 1, 99, 1, 1), (1, 3, 99, 2, 0), (1, 3, 99, 3, 3),
      (33.3, 1, 30, 9, 0), (33.3, 1, 30, 10, 10), (50, 100000, 30, 30, 0), (1, 1, 1, 1, 1)
    ) v (percent, least_agents, n, touched, held)
  loop
    begin
      perform pg_temp.settle(jsonb_strip_nulls(jsonb_build_object(
        'hold_blast_percent', c.percent, 'hold_blast_min_agents', c.least_agents)));
      perform pg_temp.make_fleet('fleet', c.n);
      perform pg_temp.must_equal('touched by ' || c, pg_temp.touch('fleet', c.touched), c.touched::text);
      perform pg_temp.must_equal('held by ' || c, pg_temp.held('fleet'), c.held::text);
      raise exception using errcode = 'TBACK';
    exception when sqlstate 'TBACK' then null;
    end;
  end loop;
end
$$;

-- settings_of_the_radius_are_numbers_in_range
do $$
declare
  bad text;
begin
  foreach bad in array array[
    '{"hold_blast_percent": 0}', '{"hold_blast_percent": 101}', '{"hold_blast_percent": "50"}',
    '{"hold_blast_percent": null}', '{"hold_blast_min_agents": 0}',
    '{"hold_blast_min_agents": 100001}', '{"hold_blast_min_agents": true}'
  ] loop
    perform pg_temp.must_match(bad, pg_temp.refusal('adam', format(
      'update public.organizations set settings = %L where id = pg_temp.id(''org'')', bad)),
      '^23514 .*hold_blast_');
  end loop;
end
$$;

-- a_thousand_hosts_in_one_statement_are_held_with_one_step_of_their_generation
do $$
begin
  perform pg_temp.make_fleet('thousand', 1000);
  delete from realtime.messages;
  perform pg_temp.must_equal('touched', pg_temp.attempt('adam', 'update public.agent_stats
    set firewall_enabled = false where agent_id in (select id from public.agents where name like ''thousand %'')'),
    '1000');
  perform pg_temp.must_equal('held', pg_temp.held('thousand'), '1000');
  perform pg_temp.must_equal('generations', (
    select string_agg(distinct g.generation::text, ' ') from public.desired_generations g
    join public.agents a on a.id = g.agent_id where a.name like 'thousand %'
  ), '2');
  perform pg_temp.must_equal('broadcasts of one statement are capped',
    (select count(*)::text from realtime.messages), '101');
  delete from public.agents where name like 'thousand %';
end
$$;

-- row_by_row_the_change_that_crosses_the_radius_holds_all_that_are_not_yet_done
do $$
declare
  host record;
  n integer := 0;
begin
  perform pg_temp.make_fleet('row', 40);
  for host in select a.id from public.agents a where a.name like 'row %'
    order by split_part(a.name, ' ', 2)::integer limit 20
  loop
    n := n + 1;
    perform pg_temp.attempt('adam', format(
      'update public.agent_stats set firewall_enabled = true where agent_id = %L', host.id));
    -- The first five hosts are quick.
    if n <= 5 then
      update public.agent_conditions set observed_generation = 2 where agent_id = host.id;
    end if;
  end loop;
  perform pg_temp.must_equal('held at half', pg_temp.held('row'), '0');
  update public.desired_generations set changed_at = changed_at - interval '1 s';
  delete from realtime.messages;
  perform pg_temp.attempt('adam', format(
    'update public.agent_stats set firewall_enabled = true
     where agent_id = (select id from public.agents where name = ''row 21'')'));
  perform pg_temp.must_equal('held beyond half', pg_temp.held('row'), '16');
  perform pg_temp.must_equal('a host that has done it is not held', (
    select string_agg(g.generation || coalesce(g.hold, ''), ' ') from public.desired_generations g
    join public.agents a on a.id = g.agent_id where a.name in ('row 1', 'row 5')
  ), '2 2');
  perform pg_temp.must_equal('the hold of the others is a generation of its own', (
    select string_agg(distinct g.generation || ' ' || (g.changed_at = now() - interval '1 s'), ', ')
    from public.desired_generations g
    join public.agents a on a.id = g.agent_id where a.name in ('row 6', 'row 20')
  ), '3 true');
  perform pg_temp.must_equal('untouched', (
    select string_agg(distinct g.generation || coalesce(g.hold, ''), ' ') from public.desired_generations g
    join public.agents a on a.id = g.agent_id
    where a.name like 'row %' and split_part(a.name, ' ', 2)::integer > 21
  ), '1');
  perform pg_temp.must_equal('told of', (select count(*)::text from realtime.messages), '16');
  perform pg_temp.must_equal('the next one too', pg_temp.attempt('adam', format(
    'update public.agent_stats set firewall_enabled = true
     where agent_id = (select id from public.agents where name = ''row 22'')')), '1');
  perform pg_temp.must_equal('held', pg_temp.held('row'), '17');
end
$$;

-- a_held_host_stays_held_through_later_changes_and_after_the_minute
do $$
begin
  perform pg_temp.let_a_minute_pass();
  perform pg_temp.must_equal('taken back', pg_temp.attempt('adam', format(
    'update public.agent_stats set firewall_enabled = null
     where agent_id = (select id from public.agents where name = ''row 6'')')), '1');
  perform pg_temp.must_equal('held', (
    select g.generation || g.hold from public.desired_generations g
    join public.agents a on a.id = g.agent_id where a.name = 'row 6'
  ), '4BlastRadius');
  perform pg_temp.must_equal('one alone after the minute', pg_temp.attempt('adam', format(
    'update public.agent_stats set firewall_enabled = true
     where agent_id = (select id from public.agents where name = ''row 40'')')), '1');
  perform pg_temp.must_equal('held', pg_temp.held('row'), '17');
  delete from public.agents where name like 'row %';
end
$$;

-- slow_changes_are_never_held
do $$
begin
  perform pg_temp.make_fleet('slow', 30);
  for i in 1..10 loop
    perform pg_temp.touch('slow', 15);
    perform pg_temp.let_a_minute_pass();
  end loop;
  perform pg_temp.must_equal('held', pg_temp.held('slow'), '0');
  delete from public.agents where name like 'slow %';
end
$$;

-- a_host_changed_many_times_counts_once
do $$
begin
  perform pg_temp.make_fleet('again', 30);
  for i in 1..40 loop
    perform pg_temp.touch('again', 5);
  end loop;
  perform pg_temp.must_equal('held', pg_temp.held('again'), '0');
  delete from public.agents where name like 'again %';
end
$$;

-- hosts_that_have_applied_nothing_count_on_neither_side_and_are_not_held
do $$
begin
  perform pg_temp.make_fleet('new', 200, null);
  perform pg_temp.make_fleet('old', 20);
  perform pg_temp.must_equal('touched', pg_temp.touch('new', 200), '200');
  perform pg_temp.must_equal('held', pg_temp.held('new'), '0');
  -- Their first documents arrive within the minute. That was no change of a host.
  update public.agent_conditions c set observed_generation = 2 from public.agents a
  where a.id = c.agent_id and a.name like 'new %' and split_part(a.name, ' ', 2)::integer <= 100;
  perform pg_temp.must_equal('touched', pg_temp.touch('old', 11), '11');
  perform pg_temp.must_equal('held with 120 hosts', pg_temp.held('old'), '0');
  update public.agent_conditions c set observed_generation = null from public.agents a
  where a.id = c.agent_id and a.name like 'new %';
  update private.blast_budgets set counted_at = counted_at - interval '10 seconds';
  perform pg_temp.must_equal('touched', pg_temp.touch('old', 11), '11');
  perform pg_temp.must_equal('held with 20 hosts', pg_temp.held('old'), '11');
  perform pg_temp.must_equal('new hosts beside held ones', pg_temp.held('new'), '0');
  delete from public.agents where name like 'new %' or name like 'old %';
end
$$;

-- hosts_that_are_gone_make_the_rest_a_larger_part
do $$
begin
  perform pg_temp.make_fleet('shrinks', 30);
  perform pg_temp.touch('shrinks', 10);
  delete from public.agents where name like 'shrinks %' and split_part(name, ' ', 2)::integer > 18;
  perform pg_temp.must_equal('held before', pg_temp.held('shrinks'), '0');
  perform pg_temp.must_equal('one of ten again', pg_temp.touch('shrinks', 1), '1');
  perform pg_temp.must_equal('held', pg_temp.held('shrinks'), '10');
  delete from public.agents where name like 'shrinks %';
end
$$;

-- one_organization_never_holds_another
do $$
begin
  perform pg_temp.make_fleet('ours', 20);
  perform pg_temp.make_fleet('theirs', 20, 1, pg_temp.id('other org'), pg_temp.id('otto'));
  perform pg_temp.must_equal('theirs touched', pg_temp.attempt('otto',
    'update public.agent_stats set firewall_enabled = true
     where agent_id in (select id from public.agents where name like ''theirs %'')'), '20');
  perform pg_temp.must_equal('ours touched', pg_temp.touch('ours', 10), '10');
  perform pg_temp.must_equal('theirs', pg_temp.held('theirs'), '20');
  perform pg_temp.must_equal('ours', pg_temp.held('ours'), '0');
  -- A statement over both is judged for each.
  update public.agent_stats set firewall_enabled = false where agent_id in (
    select id from public.agents where name in ('theirs 1', 'ours 11')
  );
  perform pg_temp.must_equal('ours', pg_temp.held('ours'), '11');
  delete from public.agents where name like 'ours %' or name like 'theirs %';
end
$$;

-- over_random_changes_exactly_those_are_held_that_a_full_count_would_hold
-- The reference counts everything before each change; generations never go back, whatever happens.
create function pg_temp.expected_holds(changed uuid[], percent numeric, least_agents integer)
returns setof uuid language sql as $$
  with hosts as (
    select g.agent_id, g.hold is not null as is_held, g.agent_id = any (changed) as is_changed,
      g.touched_at > now() - interval '1 minute' as is_recent,
      o.observed is not null as is_live, coalesce(o.observed >= g.generation, false) as is_done
    from public.desired_generations g
    join public.agents a on a.id = g.agent_id and a.org_id = pg_temp.id('org')
    left join lateral (
      select max(c.observed_generation) as observed from public.agent_conditions c where c.agent_id = g.agent_id
    ) o on true
  ),
  verdict as (
    select percent < 100 and bool_or(is_live and is_changed)
      and count(*) filter (where is_recent or (is_live and is_changed)) >= least_agents
      and count(*) filter (where is_recent or (is_live and is_changed)) * 100
        > percent * count(*) filter (where is_live) as is_wide
    from hosts
  )
  select agent_id from hosts, verdict
  where is_held or (is_wide and ((is_live and is_changed) or (is_recent and not is_changed and not is_done)))
$$;

do $$
declare
  seed double precision := random();
  percent integer := 50;
  least_agents integer := 5;
  changed uuid[];
  expected uuid[];
  held uuid[];
  before bigint[];
  n_crossings integer := 0;
  turn double precision;
begin
  perform setseed(seed);
  perform pg_temp.make_fleet('walk', 30, null);
  perform pg_temp.settle('{"hold_blast_min_agents": 5}');
  for step in 1..1500 loop
    turn := random();
    select array_agg(g.generation order by g.agent_id) into before
    from public.desired_generations g join public.agents a on a.id = g.agent_id where a.name like 'walk %';
    if turn < 0.6 then
      changed := array(select id from public.agents where name like 'walk %' and random() < 0.06 order by id);
      expected := array(select * from pg_temp.expected_holds(changed, percent, least_agents) e order by e);
      insert into public.monitored_files (agent_id, file_path, added_by)
      select c, '/' || seed || '/' || step, pg_temp.id('owen') from unnest(changed) c;
      held := array(select g.agent_id from public.desired_generations g
        join public.agents a on a.id = g.agent_id and a.org_id = pg_temp.id('org')
        where g.hold is not null order by g.agent_id);
      if held is distinct from expected then
        raise exception 'FAILED seed % step %: % % of % held %, not %', seed, step, percent, least_agents,
          changed, held, expected;
      end if;
      n_crossings := n_crossings + (cardinality(held) > 0)::integer;
    elsif turn < 0.75 then
      -- Some hosts do what they were told, and are hosts that have applied something from then on.
      update public.agent_conditions c set observed_generation = g.generation
      from public.desired_generations g join public.agents a on a.id = g.agent_id
      where c.agent_id = g.agent_id and a.name like 'walk %' and g.hold is null and random() < 0.3;
    elsif turn < 0.9 then
      update public.desired_generations set touched_at = touched_at - interval '17 s';
      update private.blast_budgets set counted_at = counted_at - interval '17 s';
    elsif turn < 0.95 then
      insert into public.held_releases (org_id, agent_id) select pg_temp.id('org'),
        case when random() < 0.5 then (select id from public.agents where name like 'walk %' order by random() limit 1) end;
    elsif turn < 0.98 then
      percent := (array[10, 50, 90, 100])[1 + floor(random() * 4)::integer];
      least_agents := 1 + floor(random() * 10)::integer;
      perform pg_temp.settle(jsonb_build_object('hold_blast_percent', percent, 'hold_blast_min_agents', least_agents));
    else
      delete from public.agents where id = (select id from public.agents where name like 'walk %' order by random() limit 1)
        and (select count(*) > 15 from public.agents where name like 'walk %');
      continue;
    end if;
    if exists (
      select from (
        select g.generation, row_number() over (order by g.agent_id) as n
        from public.desired_generations g join public.agents a on a.id = g.agent_id where a.name like 'walk %'
      ) after
      where after.generation < before[after.n]
    ) then
      raise exception 'FAILED seed % step %: a generation went back', seed, step;
    end if;
  end loop;
  perform pg_temp.must_be_true('the walk crosses the radius', n_crossings > 20);
  perform pg_temp.settle('{}');
  delete from public.agents where name like 'walk %';
end
$$;

-- what_is_read_says_since_when_why_held_and_whether_released
do $$
declare
  d record;
begin
  perform pg_temp.make_fleet('read', 10);
  perform pg_temp.touch('read', 10, '/etc/x');
  for d in
    select s.* from public.desired_state(array(select id from public.agents where name like 'read %')) s
  loop
    perform pg_temp.must_equal('a held one', concat_ws(' ', d.generation, d.hold, d.released,
      d.changed_at = now(), d.document), '2 BlastRadius f t {"monitored_files": ["/etc/x"], "firewall_enabled": null}');
  end loop;
  select * into d from public.desired_state(array[pg_temp.id('host')]);
  perform pg_temp.must_equal('another', concat_ws(' ', d.generation, d.hold, d.released), '1 f');
end
$$;

-- deleting_a_fleet_is_no_change_of_hosts
select pg_temp.must_equal('deleted', pg_temp.rehearse('adam',
  'delete from public.agents where name like ''read %'''), '10');

rollback;
