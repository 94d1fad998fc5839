-- Times of changes: the first time told of each step is kept, per agent and generation.

begin;
\ir ../support.sql

create function pg_temp.told(reports text) returns text language sql as $$
  select pg_temp.ask('service', format('select public.record_changes(%L)', replace(replace(reports,
    'HOST', pg_temp.id('host')::text), 'OTHER', pg_temp.id('other host')::text)))
$$;

create function pg_temp.times(agent text, of_generation bigint) returns text language sql as $$
  select concat_ws(' ', coalesce(to_char(changed_at at time zone 'utc', 'SS'), '-'),
    coalesce(to_char(sent_at at time zone 'utc', 'SS'), '-'),
    coalesce(to_char(applied_at at time zone 'utc', 'SS'), '-'),
    coalesce(to_char(observed_at at time zone 'utc', 'SS'), '-'))
  from public.desired_changes where agent_id = pg_temp.id(agent) and generation = of_generation
$$;

do $$
begin
  update public.desired_generations set generation = 7, changed_at = '2026-01-01T00:00:01Z'
  where agent_id = pg_temp.id('host');
end
$$;

-- steps_told_one_by_one_make_one_row_and_the_first_of_each_wins
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('"sent_at": "2026-01-01T00:00:02Z"', '1', '01 02 - -'),
      ('"sent_at": "2026-01-01T00:00:09Z"', '0', '01 02 - -'),
      ('"sent_at": "2025-01-01T00:00:00Z"', '0', '01 02 - -'),
      ('"changed_at": "2026-01-01T00:00:08Z"', '0', '01 02 - -'),
      ('"observed_at": "2026-01-01T00:00:04Z", "applied_at": null', '1', '01 02 - 04'),
      ('"sent_at": "2026-01-01T00:00:09Z", "applied_at": "2026-01-01T00:00:03Z"', '1', '01 02 03 04'),
      ('"observed_at": "2026-01-01T00:00:09Z"', '0', '01 02 03 04')
    ) v (step, changed, times)
  loop
    perform pg_temp.must_equal('changed by ' || c.step, pg_temp.told(format(
      '[{"agent_id": "HOST", "generation": 7, %s}]', c.step)), c.changed);
    perform pg_temp.must_equal('times after ' || c.step, pg_temp.times('host', 7), c.times);
  end loop;
end
$$;

-- steps_told_in_one_call_are_merged_in_their_order
do $$
begin
  perform pg_temp.must_equal('changed', pg_temp.told('[
    {"agent_id": "HOST", "generation": 5, "sent_at": "2026-01-01T00:00:05Z"},
    {"agent_id": "HOST", "generation": 5, "sent_at": "2026-01-01T00:00:04Z"},
    {"agent_id": "HOST", "generation": 5, "applied_at": "2026-01-01T00:00:06Z"},
    {"agent_id": "HOST", "generation": 6, "applied_at": "2026-01-01T00:00:07Z"}]'), '2');
  perform pg_temp.must_equal('an older generation', pg_temp.times('host', 5), '- 05 06 -');
  perform pg_temp.must_equal('the next', pg_temp.times('host', 6), '- - 07 -');
end
$$;

-- a_bad_report_costs_the_others_nothing
do $$
declare
  bad text;
begin
  foreach bad in array array[
    '1', 'null', '[]', '"x"', '{}', '{"agent_id": "HOST", "sent_at": "2026-01-01T00:00:00Z"}',
    '{"agent_id": "HOST", "generation": 50}',
    '{"agent_id": "HOST", "generation": 50, "sent_at": null}',
    '{"agent_id": "HOST", "generation": 50, "sent_at": "infinity"}',
    '{"agent_id": "HOST", "generation": 50, "sent_at": "soon"}',
    '{"agent_id": "HOST", "generation": 50, "sent_at": "NaN"}',
    '{"agent_id": "HOST", "generation": 0, "sent_at": "2026-01-01T00:00:00Z"}',
    '{"agent_id": "HOST", "generation": -1, "sent_at": "2026-01-01T00:00:00Z"}',
    '{"agent_id": "HOST", "generation": null, "sent_at": "2026-01-01T00:00:00Z"}',
    '{"agent_id": "HOST", "generation": 1e30, "sent_at": "2026-01-01T00:00:00Z"}',
    '{"agent_id": "HOST", "generation": "x", "sent_at": "2026-01-01T00:00:00Z"}',
    '{"agent_id": "nobody", "generation": 50, "sent_at": "2026-01-01T00:00:00Z"}',
    '{"agent_id": "00000000-0000-0000-0000-000000000000", "generation": 50, "sent_at": "2026-01-01T00:00:00Z"}',
    '{"generation": 50, "sent_at": "2026-01-01T00:00:00Z"}'
  ] loop
    delete from public.desired_changes where agent_id = pg_temp.id('other host');
    perform pg_temp.must_equal('beside ' || bad, pg_temp.told('[' || bad
      || ', {"agent_id": "OTHER", "generation": 1, "sent_at": "2026-01-01T00:00:00Z"}]'), '1');
    perform pg_temp.must_equal('rows beside ' || bad, (
      select count(*)::text from public.desired_changes where generation >= 50 or generation < 1
    ), '0');
  end loop;
  perform pg_temp.must_equal('the largest generation', pg_temp.told('[{"agent_id": "HOST",
    "generation": 9223372036854775807, "sent_at": "2026-01-01T00:00:00Z"}]'), '1');
end
$$;

-- a_call_with_ten_thousand_reports_is_taken
select pg_temp.must_equal('changed', pg_temp.told((
  select jsonb_agg(jsonb_build_object('agent_id', 'HOST', 'generation', 100000 + n % 2500,
    'sent_at', now()))::text from generate_series(1, 10000) n
)), '2500');

-- people_see_the_times_of_agents_they_may_see_and_can_ask_for_latency
do $$
declare
  query constant text := 'select string_agg(generation || '' '' || extract(epoch from observed_at - changed_at)::integer, '', '')
    from public.desired_changes where observed_at is not null and changed_at is not null';
begin
  perform pg_temp.must_equal('a member', pg_temp.ask('uma', query), '7 3');
  perform pg_temp.must_equal('a stranger', pg_temp.ask('otto', query), null);
  perform pg_temp.must_equal('a stranger sees the own', pg_temp.ask('otto',
    'select count(*) from public.desired_changes'), '1');
end
$$;

-- a_purge_keeps_the_newest_thousand_of_an_agent_and_forgets_after_the_retention
do $$
declare
  n integer;
begin
  update public.desired_generations set generation = 200000 where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('a bounded step', pg_temp.ask('service', 'select public.purge(30, 10)'), '10');
  for i in 1..10 loop
    perform pg_temp.ask('service', 'select public.purge()');
  end loop;
  perform pg_temp.must_equal('kept', (
    select count(*) || ' ' || min(generation) from public.desired_changes where agent_id = pg_temp.id('host')
  ), '1000 101501');
  update public.organizations set settings = '{"retention_days": 10}' where id = pg_temp.id('org');
  update public.desired_changes set recorded_at = now() - interval '11 days'
  where agent_id = pg_temp.id('other host') or generation < 101504;
  select pg_temp.ask('service', 'select public.purge()')::integer into n;
  perform pg_temp.must_equal('forgotten after ten days', n::text, '3');
  perform pg_temp.must_equal('kept for thirty', (
    select count(*)::text from public.desired_changes where agent_id = pg_temp.id('other host')
  ), '1');
  update public.desired_changes set recorded_at = now() - interval '31 days'
  where agent_id = pg_temp.id('other host');
  perform pg_temp.must_equal('forgotten after thirty', pg_temp.ask('service', 'select public.purge()'), '1');
  perform pg_temp.must_equal('nothing left to forget', pg_temp.ask('service', 'select public.purge()'), '0');
end
$$;

-- an_agent_takes_its_times_along
select pg_temp.must_equal('deleted', pg_temp.attempt('adam',
  'delete from public.agents where id = pg_temp.id(''host'')'), '1');
select pg_temp.must_equal('left', (select count(*)::text from public.desired_changes), '0');

rollback;
