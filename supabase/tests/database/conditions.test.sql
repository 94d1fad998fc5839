-- What the daemon reports: conditions, presence and usage, each written only when it changes something.

begin;
\ir ../support.sql

create function pg_temp.report(status text, reason text, message text, generation bigint)
returns text language sql as $$
  select pg_temp.ask('service', format('select public.report_conditions(%L)', jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('host'), 'type', 'FirewallSynced', 'status', status,
      'reason', reason, 'message', message, 'observed_generation', generation))))
$$;

create function pg_temp.row_version() returns text language sql as $$
  select format('%s %s', xmin, ctid) from public.agent_conditions where agent_id = pg_temp.id('host')
$$;

create function pg_temp.transition() returns timestamptz language sql as $$
  select last_transition_at from public.agent_conditions where agent_id = pg_temp.id('host')
$$;

-- a_first_report_makes_the_row
select pg_temp.must_equal('changed', pg_temp.report('false', 'Applying', 'm', 1), '1');

-- an_equal_report_rewrites_nothing
do $$
declare
  before text := pg_temp.row_version();
begin
  perform pg_temp.must_equal('changed', pg_temp.report('false', 'Applying', 'm', 1), '0');
  perform pg_temp.must_equal('row', pg_temp.row_version(), before);
end
$$;

-- the_transition_time_moves_only_with_the_status
do $$
begin
  update public.agent_conditions set last_transition_at = '2020-01-01' where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('new message', pg_temp.report('false', 'Failed', 'other', 2), '1');
  perform pg_temp.must_be_true('the time stays', pg_temp.transition() = '2020-01-01');
  perform pg_temp.must_equal('new status', pg_temp.report('true', 'Applied', '', 2), '1');
  perform pg_temp.must_be_true('the time moves', pg_temp.transition() = now());
  perform pg_temp.must_equal('unknown generation', pg_temp.report('true', 'Applied', '', null), '1');
end
$$;

-- the_last_of_several_reports_wins_and_unknown_agents_are_skipped
do $$
begin
  perform pg_temp.must_equal('changed', pg_temp.ask('service', format(
    'select public.report_conditions(%L)', jsonb_build_array(
      jsonb_build_object('agent_id', gen_random_uuid(), 'type', 'X', 'status', 'true', 'reason', 'R'),
      jsonb_build_object('agent_id', pg_temp.id('host'), 'type', 'X', 'status', 'true', 'reason', 'First'),
      jsonb_build_object('agent_id', pg_temp.id('host'), 'type', 'X', 'status', 'false', 'reason', 'Last')
    ))), '1');
  perform pg_temp.must_equal('reason', (
    select reason from public.agent_conditions where agent_id = pg_temp.id('host') and type = 'X'
  ), 'Last');
end
$$;

-- a_long_message_is_cut
do $$
begin
  perform pg_temp.report('true', 'Applied', repeat('x', 5000), 2);
  perform pg_temp.must_equal('length', (
    select char_length(message)::text from public.agent_conditions
    where agent_id = pg_temp.id('host') and type = 'FirewallSynced'
  ), '1000');
end
$$;

-- a_call_that_is_no_array_is_refused
do $$
declare
  f text;
  given text;
begin
  foreach f in array array[
    'report_conditions', 'record_presence', 'record_usage', 'record_changes', 'report_health'
  ] loop
    foreach given in array array['{}', 'null', '1', '"["', '"text"'] loop
      perform pg_temp.must_match(f || ' ' || given, pg_temp.refusal('service', format(
        'select public.%I(%L)', f, given)), '^22023 reports must be a JSON array of objects');
    end loop;
  end loop;
end
$$;

-- a_bad_condition_costs_the_others_nothing
do $$
declare
  bad text;
begin
  foreach bad in array array[
    '1', 'null', '[]', '"x"', '{}',
    '{"agent_id": "nobody", "type": "X", "status": "true", "reason": "R"}',
    '{"agent_id": "HOST", "type": "Bad", "status": "maybe", "reason": "R"}',
    '{"agent_id": "HOST", "type": "Bad", "status": null, "reason": "R"}',
    '{"agent_id": "HOST", "type": "Bad", "reason": "R"}',
    '{"agent_id": "HOST", "type": "", "status": "true", "reason": "R"}',
    '{"agent_id": "HOST", "status": "true", "reason": "R"}',
    '{"agent_id": "HOST", "type": "B\nad", "status": "true", "reason": "R"}',
    '{"agent_id": "HOST", "type": "LONG", "status": "true", "reason": "R"}',
    '{"agent_id": "HOST", "type": "Bad", "status": "true", "reason": "R", "observed_generation": "x"}',
    '{"agent_id": "HOST", "type": "Bad", "status": "true", "reason": "R", "observed_generation": 1e30}'
  ] loop
    delete from public.agent_conditions
    where agent_id in (pg_temp.id('host'), pg_temp.id('other host'));
    perform pg_temp.must_equal('beside ' || bad, pg_temp.ask('service', format(
      'select public.report_conditions(%L)', replace(replace(replace(
        '[{"agent_id": "OTHER", "type": "X", "status": "true", "reason": "R"}, ' || bad
        || ', {"agent_id": "HOST", "type": "Good", "status": "true", "reason": "R"}]',
        'HOST', pg_temp.id('host')::text), 'OTHER', pg_temp.id('other host')::text),
        'LONG', repeat('x', 101)))), '2');
    perform pg_temp.must_equal('rows beside ' || bad, (
      select string_agg(type, ' ' order by type) from public.agent_conditions
      where agent_id in (pg_temp.id('host'), pg_temp.id('other host'))
    ), 'Good X');
  end loop;
end
$$;

-- a_bad_condition_does_not_hide_an_earlier_good_one_of_its_facet
do $$
begin
  perform pg_temp.must_equal('changed', pg_temp.ask('service', format(
    'select public.report_conditions(%L)', jsonb_build_array(
      jsonb_build_object('agent_id', pg_temp.id('host'), 'type', 'Both', 'status', 'true', 'reason', 'Good'),
      jsonb_build_object('agent_id', pg_temp.id('host'), 'type', 'Both', 'status', '?', 'reason', 'Bad')
    ))), '1');
  perform pg_temp.must_equal('reason', (
    select reason from public.agent_conditions where agent_id = pg_temp.id('host') and type = 'Both'
  ), 'Good');
end
$$;

-- words_of_a_condition_are_cleaned_and_cut
do $$
declare
  c record;
begin
  for c in
    select * from (values
      (null, null, 'Unspecified', ''),
      ('', 'm', 'Unspecified', 'm'),
      (e' \u0001\u007f\n', e'one\ntwo\tthree\u001b[31m', 'Unspecified', 'one two three[31m'),
      (e'Re\u0002ason', e'\u0001', 'Reason', ''),
      (repeat('r', 101), repeat('m', 1001), repeat('r', 100), repeat('m', 1000)),
      ('Grün', '日本', 'Grün', '日本'),
      ('Turned', e'a\u202eb\u2028c\u200b\u00ad\u180e\u0085d\ufe0f\ufff9\U000E0041', 'Turned', 'ab c d')
    ) v (reason, message, kept_reason, kept_message)
  loop
    perform pg_temp.report('true', c.reason, c.message, 3);
    perform pg_temp.must_equal('reason and message', (
      select reason || '|' || message from public.agent_conditions
      where agent_id = pg_temp.id('host') and type = 'FirewallSynced'
    ), c.kept_reason || '|' || c.kept_message);
  end loop;
end
$$;

-- a_nul_inside_the_text_of_a_document_is_left_out
do $$
begin
  perform pg_temp.must_equal('changed', pg_temp.ask('service', format(
    'select public.report_conditions(%L)', to_jsonb(replace(
      '[{"agent_id": "HOST", "type": "Nul", "status": "true", "reason": "a\u0000\u0000b",
         "message": "\\u0000 \\\u0000"}]',
      'HOST', pg_temp.id('host')::text)))), '1');
  perform pg_temp.must_equal('reason and message', (
    select reason || '|' || message from public.agent_conditions
    where agent_id = pg_temp.id('host') and type = 'Nul'
  ), 'ab|\u0000 \');
end
$$;

-- a_transition_that_was_over_before_it_was_written_still_moves_the_time
create function pg_temp.tell(status text, at text) returns text language sql as $$
  select pg_temp.ask('service', format('select public.report_conditions(%L)', jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('other host'), 'type', 'Told', 'status', status,
      'reason', 'R', 'transition_at', at))))
$$;
create function pg_temp.told_at() returns text language sql as $$
  select extract(epoch from last_transition_at - now())::numeric(12, 0)::text
  from public.agent_conditions where agent_id = pg_temp.id('other host') and type = 'Told'
$$;
do $$
declare
  ago constant text := 'select (now() - interval ''%s s'')::text';
  c record;
begin
  for c in
    select * from (values
      -- what is told, how long ago, rows changed, then the time of the row
      ('true', '100', '1', '-100'),   -- the first report
      ('true', '100', '0', '-100'),   -- again
      ('true', '200', '0', '-100'),   -- older
      ('true', null, '0', '-100'),    -- nothing told
      ('true', '50', '1', '-50'),     -- false and true again in between
      ('false', '40', '1', '-40'),
      ('true', '60', '1', '0'),       -- another status, from before the last: not to be believed
      ('true', '-500', '0', '0')      -- a clock ahead
    ) v (status, ago, changed, at)
  loop
    perform pg_temp.must_equal('changed by ' || c, pg_temp.tell(c.status,
      (now() - make_interval(secs => c.ago::integer))::text), c.changed);
    perform pg_temp.must_equal('time after ' || c, pg_temp.told_at(), c.at);
  end loop;
end
$$;

-- a_transition_told_by_a_clock_that_runs_ahead_or_is_no_time_is_now
do $$
declare
  at text;
begin
  foreach at in array array['infinity', '-infinity', '9999-01-01T00:00:00Z'] loop
    delete from public.agent_conditions where agent_id = pg_temp.id('other host') and type = 'Told';
    perform pg_temp.must_equal('changed by ' || at, pg_temp.tell('true', at), '1');
    perform pg_temp.must_equal('time of ' || at, pg_temp.told_at(), '0');
    perform pg_temp.must_equal('changed again by ' || at, pg_temp.tell('false', at), '1');
    perform pg_temp.must_equal('time of ' || at, pg_temp.told_at(), '0');
  end loop;
  perform pg_temp.must_equal('a text', pg_temp.tell('unknown', 'soon'), '0');
end
$$;

-- subjects_are_kept_in_order_cleaned_and_rewritten_only_when_they_differ
create function pg_temp.tell_of(subjects jsonb) returns text language sql as $$
  select pg_temp.ask('service', format('select public.report_conditions(%L)', jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('other host'), 'type', 'Files', 'status', 'false',
      'reason', 'R', 'subjects', subjects))))
$$;
create function pg_temp.subjects() returns jsonb language sql as $$
  select subjects from public.agent_conditions
  where agent_id = pg_temp.id('other host') and type = 'Files'
$$;
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('[{"subject": "/b", "status": "false", "reason": "PathMissing", "message": "m"}, {"subject": "/a"}]', '1',
       '[{"reason": "PathMissing", "status": "false", "message": "m", "subject": "/b"},
         {"reason": "Unspecified", "status": "unknown", "message": "", "subject": "/a"}]'),
      ('[{"subject": "/b", "status": "false", "reason": "PathMissing", "message": "m"}, {"subject": "/a"}]', '0',
       null),
      ('[{"subject": "/\u0001a\u007f", "status": "maybe", "reason": " \n", "message": "a\tb", "more": 1}]', '1',
       '[{"reason": "Unspecified", "status": "unknown", "message": "a b", "subject": "/a"}]'),
      ('[1, null, "x", [], {}, {"subject": ""}, {"subject": null}, {"subject": "/a", "status": "true"}]', '1',
       '[{"reason": "Unspecified", "status": "true", "message": "", "subject": "/a"},
         {"reason": "Omitted", "status": "unknown", "message": "7 more are not listed", "subject": ""}]'),
      ('{"subject": "/a"}', '1', '[]'), ('"/a"', '0', '[]'), ('null', '0', '[]'), ('[]', '0', '[]')
    ) v (given, changed, kept)
  loop
    perform pg_temp.must_equal('changed by ' || c.given, pg_temp.tell_of(c.given::jsonb), c.changed);
    perform pg_temp.must_equal('kept of ' || c.given, pg_temp.subjects()::text,
      coalesce(c.kept::jsonb::text, pg_temp.subjects()::text));
  end loop;
end
$$;

-- too_many_and_too_long_subjects_are_cut_and_the_rest_counted
do $$
declare
  kept jsonb;
begin
  perform pg_temp.tell_of((select jsonb_agg(jsonb_build_object('subject', '/' || n)) from generate_series(1, 10000) n));
  kept := pg_temp.subjects();
  perform pg_temp.must_equal('many', concat_ws(' ', jsonb_array_length(kept), kept #>> '{99,subject}',
    kept #>> '{100,reason}', kept #>> '{100,message}'), '101 /100 Omitted 9900 more are not listed');
  perform pg_temp.tell_of((
    select jsonb_agg(jsonb_build_object('subject', '/' || n || repeat('"', 9000), 'message', repeat('ä', 5000)))
    from generate_series(1, 100) n
  ));
  kept := pg_temp.subjects();
  perform pg_temp.must_equal('long', concat_ws(' ', jsonb_array_length(kept),
    char_length(kept #>> '{0,subject}'), char_length(kept #>> '{0,message}'), kept -> -1 ->> 'message'),
    '6 4096 1000 95 more are not listed');
end
$$;

-- a_document_sent_as_the_text_of_a_document_is_the_same
select pg_temp.must_equal('changed', pg_temp.ask('service', format(
  'select public.report_conditions(%L)', to_jsonb(format(
    '[{"agent_id": "%s", "type": "Y", "status": "true", "reason": "R"}]', pg_temp.id('host')
  )))), '1');

-- Presence ------------------------------------------------------------------------------------

-- One report about the host, so many seconds after a time 100 seconds ago; the number of rows changed.
create function pg_temp.presence(seconds integer, online boolean, more jsonb default '{}') returns text
language sql as $$
  select pg_temp.ask('service', format('select public.record_presence(%L)', jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('host'), 'online', online,
      'age', 100 - seconds) || more)))
$$;

-- Whether the host is online, and how many seconds after that time it was seen last.
create function pg_temp.seen() returns text language sql as $$
  select format('%s %s', is_online, extract(epoch from last_seen - now())::integer + 100)
  from public.agents where id = pg_temp.id('host')
$$;

create function pg_temp.agent_version() returns text language sql as $$
  select format('%s %s', xmin, ctid) from public.agents where id = pg_temp.id('host')
$$;

-- an_online_agent_is_installed_and_its_facts_are_kept
do $$
declare
  a public.agents;
begin
  perform pg_temp.must_equal('changed', pg_temp.presence(-100, true,
    '{"hostname": "web", "os": "linux", "arch": "x86_64", "agent_version": "1"}'), '1');
  perform pg_temp.must_equal('changed by going offline', pg_temp.presence(-99, false), '1');
  select * into a from public.agents where id = pg_temp.id('host');
  perform pg_temp.must_equal('seen', pg_temp.seen(), 'f -99');
  perform pg_temp.must_equal('facts', concat_ws(' ', a.hostname, a.os, a.arch, a.agent_version),
    'web linux x86_64 1');
  perform pg_temp.must_equal('installed', (
    select is_installed::text from public.agent_stats where agent_id = a.id
  ), 'true');
end
$$;

-- an_offline_report_older_than_the_last_sign_of_life_is_ignored
do $$
begin
  perform pg_temp.must_equal('online', pg_temp.presence(-50, true), '1');
  perform pg_temp.must_equal('offline from before', pg_temp.presence(-61, false, '{"os": "other"}'), '0');
  perform pg_temp.must_equal('seen', pg_temp.seen(), 't -50');
  perform pg_temp.must_equal('offline whose sign of life was slow', pg_temp.presence(-59, false), '1');
  perform pg_temp.must_equal('online from before', pg_temp.presence(-60, true), '1');
  perform pg_temp.must_equal('last_seen never goes back', pg_temp.seen(), 't -50');
end
$$;

-- of_several_reports_in_one_call_the_youngest_wins_whatever_their_order
do $$
begin
  perform pg_temp.must_equal('changed', pg_temp.ask('service', format(
    'select public.record_presence(%L)', jsonb_build_array(
      jsonb_build_object('agent_id', pg_temp.id('host'), 'online', true, 'age', 110),
      jsonb_build_object('agent_id', pg_temp.id('host'), 'online', false, 'age', 115)
    ))), '1');
  perform pg_temp.must_equal('seen', pg_temp.seen(), 't -10');
end
$$;

-- a_mere_sign_of_life_is_written_no_more_often_than_every_25_seconds
do $$
declare
  before text := pg_temp.agent_version();
begin
  perform pg_temp.must_equal('the same again', pg_temp.presence(-10, true), '0');
  perform pg_temp.must_equal('24 seconds later', pg_temp.presence(14, true, '{"hostname": "web"}'), '0');
  perform pg_temp.must_equal('row', pg_temp.agent_version(), before);
  perform pg_temp.must_equal('25 seconds later', pg_temp.presence(15, true), '1');
  perform pg_temp.must_equal('seen', pg_temp.seen(), 't 15');
  perform pg_temp.must_equal('a new fact at once', pg_temp.presence(16, true, '{"hostname": "new"}'), '1');
  perform pg_temp.must_equal('seen', pg_temp.seen(), 't 16');
end
$$;

-- a_clock_that_jumps_does_not_keep_an_agent_alive
do $$
begin
  perform pg_temp.must_equal('a day ahead', pg_temp.presence(86400, true), '1');
  perform pg_temp.must_equal('seen', pg_temp.seen(), 't 100');
  update public.agents set last_seen = now() - interval '80 s' where id = pg_temp.id('host');
  perform pg_temp.ask('service', format('select public.record_presence(%L)', jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('host'), 'online', true, 'age', 'infinity'))));
  perform pg_temp.ask('service', format('select public.record_presence(%L)', jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('host'), 'online', true, 'age', 'NaN'))));
  perform pg_temp.must_equal('seen', pg_temp.seen(), 't 20');
end
$$;

-- a_bad_presence_costs_the_others_nothing_and_facts_are_cleaned
do $$
declare
  bad text;
begin
  foreach bad in array array[
    '1', 'null', '{}', '{"agent_id": "nobody", "online": true}',
    '{"agent_id": "HOST", "online": "perhaps"}',
    '{"agent_id": "HOST", "age": 5}',
    '{"agent_id": "HOST", "online": false, "age": "soon"}'
  ] loop
    update public.agents set is_online = false, hostname = null where id = pg_temp.id('other host');
    perform pg_temp.must_equal('beside ' || bad, pg_temp.ask('service', format(
      'select public.record_presence(%L)', replace(replace(
        '[' || bad || ', {"agent_id": "OTHER", "online": true, "hostname": "h\u0007o\u007fst\n1"}]',
        'HOST', pg_temp.id('host')::text), 'OTHER', pg_temp.id('other host')::text))), '1');
    perform pg_temp.must_equal('fact beside ' || bad, (
      select hostname from public.agents where id = pg_temp.id('other host')
    ), 'host 1');
  end loop;
  perform pg_temp.must_equal('the agent with the bad reports', pg_temp.seen(), 't 20');
  perform pg_temp.presence(60, true, jsonb_build_object('hostname', repeat('h', 1000), 'os', repeat('o', 1000),
    'arch', '', 'agent_version', e'\u0001'));
  perform pg_temp.must_equal('long and empty facts', (
    select concat_ws(' ', length(hostname), length(os), arch, agent_version)
    from public.agents where id = pg_temp.id('host')
  ), '255 100 x86_64 1');
end
$$;

-- a_restarted_daemon_starts_with_everybody_offline_and_no_condition_claims_otherwise
do $$
begin
  update public.agents set is_online = true where id in (pg_temp.id('host'), pg_temp.id('other host'));
  delete from public.agent_conditions;
  insert into public.agent_conditions (agent_id, type, status, reason, last_transition_at) values
    (pg_temp.id('host'), 'Connected', 'true', 'Connected', '2020-01-01'),
    (pg_temp.id('host'), 'FilesWatched', 'true', 'Watched', '2020-01-01'),
    (pg_temp.id('other host'), 'Connected', 'false', 'Lost', '2020-01-01');
  perform pg_temp.must_equal('reset', pg_temp.ask('service', 'select public.reset_presence()'), '2');
  perform pg_temp.must_equal('online', (select count(*)::text from public.agents where is_online), '0');
  perform pg_temp.must_equal('conditions', (
    select string_agg(concat_ws(' ', type, status, reason, message, last_transition_at = now()), ', '
      order by type, status) from public.agent_conditions
  ), 'Connected false Lost  f, Connected unknown DaemonRestarted the daemon restarted and has not heard '
    || 'from this agent yet t, FilesWatched true Watched  f');
  perform pg_temp.must_equal('again', pg_temp.ask('service', 'select public.reset_presence()'), '0');
end
$$;

-- who_was_there_when_the_last_daemon_ended_is_asked_for_page_by_page
do $$
declare
  unheard text := 'select string_agg(agent_id::text, '' '' order by agent_id) '
    || 'from public.unheard_agents(%L, 1)';
begin
  update public.agents set last_seen = now() - interval '1 hour'
  where id in (pg_temp.id('host'), pg_temp.id('other host'));
  insert into public.agent_keys (agent_id, public_key, status) values
    (pg_temp.id('host'), 'unheard 1', 'admitted'), (pg_temp.id('other host'), 'unheard 2', 'admitted')
  on conflict (agent_id) do update set status = 'admitted';
  perform pg_temp.must_equal('unknown', pg_temp.ask('service', format(unheard, null)),
    pg_temp.id('host')::text);
  perform pg_temp.must_equal('the next page',
    pg_temp.ask('service', format(unheard, pg_temp.id('host'))), null);
  update public.agent_keys set status = 'revoked' where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('revoked', pg_temp.ask('service', format(unheard, null)), null);
end
$$;

-- Usage ---------------------------------------------------------------------------------------

-- usage_is_written_beside_intent_never_over_it
do $$
declare
  s public.agent_stats;
begin
  update public.agent_stats set firewall_enabled = true where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('changed', pg_temp.ask('service', format(
    'select public.record_usage(%L)', jsonb_build_array(
      jsonb_build_object('agent_id', pg_temp.id('host'), 'cpu_usage', 12.5, 'ram_usage', 50,
        'storage_usage', 75.25, 'firewall_active', false, 'firewall_enabled', false),
      jsonb_build_object('agent_id', gen_random_uuid(), 'cpu_usage', 1)))), '1');
  select * into s from public.agent_stats where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('usage', concat_ws(' ', s.cpu_usage, s.ram_usage, s.storage_usage),
    '12.5 50 75.25');
  perform pg_temp.must_equal('desired and active', concat_ws(' ', s.firewall_enabled, s.firewall_active),
    't f');
  perform pg_temp.ask('service', format('select public.record_usage(%L)', jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('host'), 'cpu_usage', 1, 'firewall_active', null))));
  perform pg_temp.must_be_true('an unknown firewall is null', (
    select firewall_active is null from public.agent_stats where agent_id = pg_temp.id('host')
  ));
end
$$;

-- a_number_out_of_range_becomes_the_nearest_in_it
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('-1', '0'), ('100.5', '100'), ('1e300', '100'), ('-1e300', '0'), ('null', '0'), ('0.1', '0.1'),
      ('"NaN"', '0'), ('"Infinity"', '100'), ('"-Infinity"', '0'), ('"42"', '42')
    ) v (given, kept)
  loop
    perform pg_temp.must_equal('changed by ' || c.given, pg_temp.ask('service', format(
      'select public.record_usage(''[{"agent_id": "%s", "cpu_usage": %s, "ram_usage": %2$s, "storage_usage": %2$s}]'')',
      pg_temp.id('host'), c.given)), '1');
    perform pg_temp.must_equal('usage of ' || c.given, (
      select concat_ws(' ', cpu_usage, ram_usage, storage_usage) from public.agent_stats
      where agent_id = pg_temp.id('host')
    ), concat_ws(' ', c.kept, c.kept, c.kept));
  end loop;
end
$$;

-- a_bad_usage_report_costs_the_others_nothing
do $$
declare
  bad text;
begin
  foreach bad in array array[
    '1', '{}', '{"agent_id": "nobody", "cpu_usage": 1}', '{"agent_id": "HOST", "cpu_usage": "much"}',
    '{"agent_id": "HOST", "cpu_usage": 1, "firewall_active": "perhaps"}'
  ] loop
    perform pg_temp.must_equal('beside ' || bad, pg_temp.ask('service', format(
      'select public.record_usage(%L)', replace(replace(
        '[' || bad || ', {"agent_id": "OTHER", "cpu_usage": 7}]',
        'HOST', pg_temp.id('host')::text), 'OTHER', pg_temp.id('other host')::text))), '1');
  end loop;
  perform pg_temp.must_equal('the agent with the bad reports', (
    select cpu_usage::text from public.agent_stats where agent_id = pg_temp.id('host')
  ), '42');
end
$$;

rollback;
