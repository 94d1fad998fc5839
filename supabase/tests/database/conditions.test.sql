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

-- a_bad_report_is_refused_whole_and_says_why
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('{}', 'must be a JSON array of objects'),
      ('[1]', 'must be a JSON array of objects'),
      ('null', 'must be a JSON array of objects'),
      ('[{"agent_id": "HOST", "type": "X", "status": "maybe", "reason": "R"}]', 'status_is_true'),
      ('[{"agent_id": "HOST", "type": "X", "status": "true"}]', '"reason"'),
      ('[{"agent_id": "nobody", "type": "X", "status": "true", "reason": "R"}]', 'uuid')
    ) v (reports, reason)
  loop
    perform pg_temp.must_match('refusal of ' || c.reports, pg_temp.refusal('service', format(
      'select public.report_conditions(%L)', replace(c.reports, 'HOST', pg_temp.id('host')::text)
    )), '^22023 .*' || c.reason);
  end loop;
end
$$;

-- a_document_sent_as_the_text_of_a_document_is_the_same
select pg_temp.must_equal('changed', pg_temp.ask('service', format(
  'select public.report_conditions(%L)', to_jsonb(format(
    '[{"agent_id": "%s", "type": "Y", "status": "true", "reason": "R"}]', pg_temp.id('host')
  )))), '1');

-- Presence ------------------------------------------------------------------------------------

-- an_online_agent_is_installed_and_its_facts_are_kept
do $$
declare
  a public.agents;
begin
  perform pg_temp.must_equal('changed', pg_temp.ask('service', format(
    'select public.record_presence(%L)', jsonb_build_array(jsonb_build_object(
      'agent_id', pg_temp.id('host'), 'online', true, 'at', '2026-01-02T00:00:00Z',
      'hostname', 'web', 'os', 'linux', 'arch', 'x86_64', 'agent_version', '1')))), '1');
  perform pg_temp.must_equal('changed by going offline', pg_temp.ask('service', format(
    'select public.record_presence(%L)', jsonb_build_array(jsonb_build_object(
      'agent_id', pg_temp.id('host'), 'online', false, 'at', '2026-01-01T00:00:00Z')))), '1');
  select * into a from public.agents where id = pg_temp.id('host');
  perform pg_temp.must_equal('online', a.is_online::text, 'false');
  perform pg_temp.must_equal('facts', concat_ws(' ', a.hostname, a.os, a.arch, a.agent_version),
    'web linux x86_64 1');
  perform pg_temp.must_be_true('last_seen never goes back', a.last_seen = '2026-01-02T00:00:00Z');
  perform pg_temp.must_equal('installed', (
    select is_installed::text from public.agent_stats where agent_id = a.id
  ), 'true');
end
$$;

-- the_same_presence_again_rewrites_nothing
select pg_temp.must_equal('changed', pg_temp.ask('service', format(
  'select public.record_presence(%L)', jsonb_build_array(jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'online', false, 'at', '2026-01-02T00:00:00Z')))), '0');

-- a_restarted_daemon_starts_with_everybody_offline
do $$
begin
  update public.agents set is_online = true where id in (pg_temp.id('host'), pg_temp.id('other host'));
  perform pg_temp.must_match('reset', pg_temp.ask('service', 'select public.reset_presence()'), '^\d+$');
  perform pg_temp.must_equal('online', (select count(*)::text from public.agents where is_online), '0');
  perform pg_temp.must_equal('again', pg_temp.ask('service', 'select public.reset_presence()'), '0');
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

-- a_usage_report_that_is_no_number_is_refused
select pg_temp.must_match('refusal', pg_temp.refusal('service', format(
  'select public.record_usage(''[{"agent_id": "%s", "cpu_usage": "much"}]'')', pg_temp.id('host'))),
  '^22023 bad usage report');

rollback;
