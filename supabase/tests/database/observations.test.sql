-- What hosts tell of themselves: who reads it, how often, what of it is kept, and when it is forgotten.

begin;
\ir ../support.sql

create function pg_temp.report(kind text, report jsonb, told text default 'changed') returns text
language sql as $$
  select pg_temp.ask('service', format(
    case kind when 'usage' then 'select public.record_%s(%L)' else 'select public.record_%s(%L) ->> %L' end,
    kind, jsonb_build_array(report), told
  ))
$$;

-- a_snapshot_takes_the_place_of_the_one_before
do $$
declare
  row public.agent_processes;
begin
  perform pg_temp.must_equal('first', pg_temp.report('processes', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'age', 60, 'total', 3,
    'processes', '[{"pid": 1, "name": "init", "cpu": 0.5, "memory_kib": 100}]'::jsonb
  )), '1');
  perform pg_temp.must_equal('second', pg_temp.report('processes', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'age', 0, 'total', 4, 'processes', '[{"pid": 2}, 7]'::jsonb
  )), '1');
  select * into row from public.agent_processes where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('list', row.processes::text, '[{"pid": 2}]');
  perform pg_temp.must_equal('total', row.total::text, '4');
end
$$;

-- an_older_snapshot_does_not_take_the_place_of_a_newer_one
do $$
begin
  perform pg_temp.must_equal('older', pg_temp.report('processes', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'age', 30, 'total', 9, 'processes', '[]'::jsonb
  )), '0');
end
$$;

-- a_snapshot_that_cannot_be_read_costs_no_other_agent_its_own
do $$
begin
  perform pg_temp.must_equal('one of five', pg_temp.ask('service', format(
    'select public.record_processes(%L) ->> ''changed''',
    '[7, {"agent_id": "x"}, {}, {"total": "many"}]'::jsonb || jsonb_build_array(jsonb_build_object(
      'agent_id', pg_temp.id('other host'), 'age', 0, 'total', 1, 'processes', '[]'::jsonb
    ))
  )), '1');
  perform pg_temp.must_equal('no list', pg_temp.report('processes', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'age', 0, 'processes', '{}'::jsonb
  )), '0');
end
$$;

-- facts_are_written_when_they_are_others
do $$
declare
  facts jsonb := jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'hostname', e'web\u000101', 'kernel', '6.1',
    'booted_at', '2026-11-21T10:00:00Z', 'pending_updates', 12, 'pending_security_updates', 3,
    'interfaces', '[{"name": "eth0", "up": true, "addresses": []}]'::jsonb
  );
  row public.agent_facts;
begin
  perform pg_temp.must_equal('first', pg_temp.report('facts', facts), '1');
  perform pg_temp.must_equal('again', pg_temp.report('facts', facts), '0');
  perform pg_temp.must_equal('another',
    pg_temp.report('facts', facts || '{"pending_updates": 13}'), '1');
  select * into row from public.agent_facts where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('hostname', row.hostname, 'web01');
  perform pg_temp.must_equal('updates', row.pending_updates::text, '13');
  perform pg_temp.must_equal('unknown ports', row.open_ports::text, null);
  perform pg_temp.must_equal('unknown antivirus', row.antivirus_name, null);
end
$$;

-- what_is_too_long_to_be_kept_is_counted_and_the_row_stays
do $$
declare
  long jsonb := (select jsonb_agg(jsonb_build_object('command', repeat('x', 4000)))
    from generate_series(1, 100));
begin
  perform pg_temp.must_equal('processes', pg_temp.report('processes', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'age', 0, 'total', 1, 'processes', long
  ), 'too_long'), '1');
  perform pg_temp.must_equal('ports', pg_temp.report('facts', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'kernel', 'other', 'open_ports', long
  ), 'too_long'), '1');
  perform pg_temp.must_equal('the row', pg_temp.ask('uma',
    'select kernel from public.agent_facts'), '6.1');
  perform pg_temp.must_equal('none is too long', pg_temp.report('facts', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'updates_unknown', 'no lists'
  ), 'too_long'), '0');
  perform pg_temp.must_equal('why it is unknown', pg_temp.ask('uma',
    'select updates_unknown from public.agent_facts'), 'no lists');
end
$$;

-- a_stranger_sees_nothing_of_it
do $$
begin
  perform pg_temp.must_equal('member, processes',
    pg_temp.ask('uma', 'select count(*) from public.agent_processes'), '1');
  perform pg_temp.must_equal('member, facts',
    pg_temp.ask('uma', 'select count(*) from public.agent_facts'), '1');
  perform pg_temp.must_equal('stranger, facts',
    pg_temp.ask('otto', 'select count(*) from public.agent_facts'), '0');
  perform pg_temp.must_equal('stranger, processes', pg_temp.ask('otto', format(
    'select count(*) from public.agent_processes where agent_id = %L', pg_temp.id('host')
  )), '0');
end
$$;

-- usage_comes_with_its_details_and_without_what_is_no_object
do $$
begin
  perform pg_temp.report('usage', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'cpu_usage', 1, 'details', '{"load": [1, 2, 3]}'::jsonb
  ));
  perform pg_temp.must_equal('details', pg_temp.ask('uma',
    'select details ->> ''load'' from public.agent_stats'), '[1, 2, 3]');
  perform pg_temp.report('usage', jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'cpu_usage', 1, 'details', '[]'::jsonb
  ));
  perform pg_temp.must_equal('no object', pg_temp.ask('uma',
    'select details from public.agent_stats'), '{}');
end
$$;

-- an_interval_is_desired_state_within_its_bounds
do $$
declare
  before bigint := pg_temp.generation('host');
  desired text;
begin
  perform pg_temp.must_equal('an empty row', pg_temp.attempt('adam', format(
    'insert into public.collection_settings (agent_id) values (%L)', pg_temp.id('host'))), '1');
  perform pg_temp.must_equal('desires nothing', pg_temp.generation('host')::text, before::text);
  perform pg_temp.must_equal('an interval', pg_temp.attempt('adam',
    'update public.collection_settings set usage_interval = 5'), '1');
  perform pg_temp.must_equal('is a change', pg_temp.generation('host')::text, (before + 1)::text);
  perform pg_temp.must_equal('the same again', pg_temp.attempt('adam',
    'update public.collection_settings set usage_interval = 5'), '1');
  perform pg_temp.must_equal('is none', pg_temp.generation('host')::text, (before + 1)::text);
  select document ->> 'collection' into desired
  from public.desired_state(array[pg_temp.id('host')]);
  perform pg_temp.must_equal('the document', desired, '{"usage_interval": 5}');
  perform pg_temp.must_equal('all of them', pg_temp.attempt('adam',
    'update public.collection_settings set top_processes_interval = 10, network_interval = 1,
     process_poll_interval = 300'), '1');
  perform pg_temp.must_equal('are one change', pg_temp.generation('host')::text, (before + 2)::text);
  select document ->> 'collection' into desired
  from public.desired_state(array[pg_temp.id('host')]);
  perform pg_temp.must_equal('all of them in the document', desired,
    '{"usage_interval": 5, "network_interval": 1, "process_poll_interval": 300, "top_processes_interval": 10}');
  perform pg_temp.must_equal('below the bound', pg_temp.rehearse('adam',
    'update public.collection_settings set usage_interval = 0'), '23514');
  perform pg_temp.must_equal('a read-only person', pg_temp.rehearse('uma',
    'delete from public.collection_settings'), '42501');
  perform pg_temp.must_equal('the end of it', pg_temp.attempt('adam',
    'delete from public.collection_settings'), '1');
  perform pg_temp.must_equal('is a change, too', pg_temp.generation('host')::text,
    (before + 3)::text);
  select document ->> 'collection' into desired
  from public.desired_state(array[pg_temp.id('host')]);
  perform pg_temp.must_equal('nothing is left', desired, null);
end
$$;

-- sampling_is_desired_from_two_on_and_only_of_the_host_whose_admin_wants_it
do $$
declare
  before bigint := pg_temp.generation('host');
  desired text;
  c record;
begin
  for c in
    select * from (values
      ('one of one is every line', 'otto', 'insert into public.collection_settings (agent_id, sampling)
        values (pg_temp.id(''other host''), 1)', '1', 0, null),
      ('a row that says nothing of it', 'adam', 'insert into public.collection_settings (agent_id)
        values (pg_temp.id(''host''))', '1', 0, null),
      ('one of ten', 'adam', 'update public.collection_settings set sampling = 10', '1', 1,
        '{"sampling": 10}'),
      ('somebody of another organization', 'otto', 'update public.collection_settings set sampling = 20
        where agent_id = pg_temp.id(''host'')', '0', 1, '{"sampling": 10}'),
      ('the same again', 'adam', 'update public.collection_settings set sampling = 10', '1', 1,
        '{"sampling": 10}'),
      ('beside an interval', 'adam', 'update public.collection_settings set usage_interval = 5', '1',
        2, '{"sampling": 10, "usage_interval": 5}'),
      ('every line again', 'adam', 'update public.collection_settings set sampling = 1', '1', 3,
        '{"usage_interval": 5}'),
      ('none of none', 'adam', 'update public.collection_settings set sampling = 0', '23514', 3,
        '{"usage_interval": 5}'),
      ('one of more than a thousand', 'adam', 'update public.collection_settings set sampling = 1001',
        '23514', 3, '{"usage_interval": 5}'),
      ('a read-only person', 'uma', 'update public.collection_settings set sampling = 2', '42501', 3,
        '{"usage_interval": 5}')
    ) t (what, who, statement, verdict, changes, document)
  loop
    perform pg_temp.must_equal(c.what, pg_temp.attempt(c.who, c.statement), c.verdict);
    perform pg_temp.must_equal('changes after ' || c.what, pg_temp.generation('host')::text,
      (before + c.changes)::text);
    select document ->> 'collection' into desired
    from public.desired_state(array[pg_temp.id('host')]);
    perform pg_temp.must_equal('document after ' || c.what, desired, c.document);
  end loop;
  select document ->> 'collection' into desired
  from public.desired_state(array[pg_temp.id('other host')]);
  perform pg_temp.must_equal('document of the other host', desired, null);
end
$$;

-- snapshots_are_forgotten_after_the_retention_and_with_their_agent
do $$
begin
  update public.agent_processes set taken_at = now() - interval '31 days'
  where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('purge', pg_temp.ask('service', 'select public.purge()'), '1');
  perform pg_temp.must_equal('snapshots of the host', (
    select count(*) from public.agent_processes where agent_id = pg_temp.id('host')
  )::text, '0');
  delete from public.agents where id = pg_temp.id('host');
  perform pg_temp.must_equal('facts of the host', (
    select count(*) from public.agent_facts where agent_id = pg_temp.id('host')
  )::text, '0');
end
$$;

rollback;
