-- An alert is counted once per occurrence, is one row while open, and people's decisions are stamped.

begin;
\ir ../support.sql

create function pg_temp.alert(occurrence text, more jsonb default '{}') returns jsonb language sql as $$
  select jsonb_build_object(
    'occurrence_id', md5(occurrence)::uuid, 'agent_id', pg_temp.id('host'), 'fingerprint', 'fp',
    'rule_id', 'rule', 'title', 'Title', 'message', 'Message', 'alert_type', 'login',
    'severity', 3, 'risk', 70, 'evidence', '["line"]'::jsonb, 'explanation', '{"why": 1}'::jsonb,
    'occurred_at', '2026-01-01T12:00:00Z'
  ) || more
$$;

create function pg_temp.raise_alert(occurrence text, more jsonb default '{}') returns text
language sql as $$
  select pg_temp.ask('service', format(
    'select format(''%%s %%s'', occurrences, is_new) from public.upsert_alert(%L)',
    pg_temp.alert(occurrence, more)))
$$;

create function pg_temp.the_alert() returns public.alerts language sql as $$
  select a from public.alerts a where a.agent_id = pg_temp.id('host') and not a.resolved
$$;

-- a_first_occurrence_makes_the_alert_with_everything_it_carries
do $$
declare
  a public.alerts;
begin
  perform pg_temp.must_equal('answer', pg_temp.raise_alert('one', '{"count": 3}'), '3 t');
  a := pg_temp.the_alert();
  perform pg_temp.must_equal('alert', concat_ws('|', a.fingerprint, a.rule_id, a.title, a.message,
    a.alert_type, a.severity, a.risk, a.evidence, a.explanation, a.occurrences),
    'fp|rule|Title|Message|login|3|70|["line"]|{"why": 1}|3');
  perform pg_temp.must_be_true('times', a.first_seen = '2026-01-01T12:00:00Z'
    and a.last_seen = a.first_seen);
end
$$;

-- the_same_occurrence_again_changes_nothing
do $$
begin
  perform pg_temp.must_equal('answer', pg_temp.raise_alert('one', '{"count": 3}'), '3 f');
  perform pg_temp.must_equal('answer with other content', pg_temp.raise_alert('one', '{"title": "X"}'),
    '3 f');
  perform pg_temp.must_equal('title', (pg_temp.the_alert()).title, 'Title');
end
$$;

-- another_occurrence_raises_the_counter_of_the_one_open_row
do $$
begin
  perform pg_temp.must_equal('answer', pg_temp.raise_alert('two',
    '{"occurred_at": "2026-01-01T13:00:00Z"}'), '4 f');
  perform pg_temp.must_equal('an older one arrives late', pg_temp.raise_alert('three',
    '{"occurred_at": "2026-01-01T11:00:00Z", "count": 2}'), '6 f');
  perform pg_temp.must_be_true('times span all of them',
    (pg_temp.the_alert()).first_seen = '2026-01-01T11:00:00Z'
    and (pg_temp.the_alert()).last_seen = '2026-01-01T13:00:00Z');
  perform pg_temp.must_equal('rows', (
    select count(*)::text from public.alerts where agent_id = pg_temp.id('host')
  ), '1');
end
$$;

-- a_resolved_alert_stays_closed_and_the_next_occurrence_is_a_new_one
do $$
begin
  perform pg_temp.must_equal('resolve', pg_temp.attempt('adam',
    'update public.alerts set resolved = true'), '1');
  perform pg_temp.must_equal('answer', pg_temp.raise_alert('four'), '1 t');
  perform pg_temp.must_equal('repeat of an old occurrence', pg_temp.raise_alert('one'), '6 f');
end
$$;

-- a_repeat_after_the_alert_was_deleted_does_not_bring_it_back
do $$
begin
  perform pg_temp.must_equal('delete', pg_temp.attempt('adam', 'delete from public.alerts'), '2');
  perform pg_temp.must_equal('answer', pg_temp.raise_alert('four'), '0 f');
  perform pg_temp.must_equal('rows', (
    select count(*)::text from public.alerts where agent_id = pg_temp.id('host')
  ), '0');
end
$$;

-- other_agents_and_fingerprints_are_other_alerts
do $$
begin
  perform pg_temp.raise_alert('a');
  perform pg_temp.must_equal('other fingerprint', pg_temp.raise_alert('b', '{"fingerprint": "x"}'), '1 t');
  perform pg_temp.must_equal('other agent', pg_temp.raise_alert('c',
    jsonb_build_object('agent_id', pg_temp.id('other host'))), '1 t');
end
$$;

-- the_counter_stops_at_its_greatest_value
do $$
begin
  perform pg_temp.raise_alert('huge', '{"fingerprint": "huge", "count": 2147483647}');
  perform pg_temp.must_equal('answer', pg_temp.raise_alert('more', '{"fingerprint": "huge"}'),
    '2147483647 f');
end
$$;

-- long_texts_are_cut
do $$
begin
  perform pg_temp.raise_alert('long', jsonb_build_object('fingerprint', 'long',
    'title', repeat('t', 9999), 'message', repeat('m', 9999)));
  perform pg_temp.must_equal('lengths', (
    select concat_ws(' ', char_length(title), char_length(message)) from public.alerts
    where fingerprint = 'long'
  ), '300 4000');
end
$$;

-- control_characters_are_left_out_of_words
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('control', e'Bad\u0001 \u001b[1mtitle\r\nBcc: x', e'one\ntwo\u007f', 'Bad [1mtitle  Bcc: x', 'one two'),
      ('nothing left', e'\u0001\u0002', e'\u0003', 'Alert without a readable title', ''),
      ('nothing to do', 'Grün "quoted"', '日本', 'Grün "quoted"', '日本')
    ) v (fingerprint, title, message, kept_title, kept_message)
  loop
    perform pg_temp.must_equal('answer', pg_temp.raise_alert(c.fingerprint, jsonb_build_object(
      'fingerprint', c.fingerprint, 'title', c.title, 'message', c.message)), '1 t');
    perform pg_temp.must_equal('again', pg_temp.raise_alert(c.fingerprint, jsonb_build_object(
      'fingerprint', c.fingerprint, 'title', c.title, 'message', c.message)), '1 f');
    perform pg_temp.must_equal('words', (
      select title || '|' || message from public.alerts where fingerprint = c.fingerprint
    ), c.kept_title || '|' || c.kept_message);
  end loop;
end
$$;

-- a_nul_inside_the_text_of_a_document_is_left_out
do $$
begin
  perform pg_temp.must_equal('answer', pg_temp.ask('service', format(
    'select occurrences from public.upsert_alert(%L)', to_jsonb(replace(
      pg_temp.alert('nul', '{"fingerprint": "nul", "title": "a NUL b"}')::text, ' NUL ', '\u0000')))), '1');
  perform pg_temp.must_equal('title', (select title from public.alerts where fingerprint = 'nul'), 'ab');
end
$$;

-- a_bad_alert_is_refused_with_the_reason_and_not_remembered
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('{"severity": 5}'::jsonb, '^22023 .*severity_is_1_to_4'),
      ('{"severity": 0}', '^22023 .*severity_is_1_to_4'),
      ('{"severity": "high"}', '^22023 .*smallint'),
      ('{"severity": 99999}', '^22023 .*out of range'),
      ('{"risk": 101}', '^22023 .*risk_is_0_to_100'),
      ('{"count": 0}', '^22023 .*count is below 1'),
      ('{"count": -5}', '^22023 .*count is below 1'),
      ('{"occurred_at": "yesterday-ish"}', '^22023 .*timestamp'),
      ('{"agent_id": "nobody"}', '^22023 .*uuid'),
      ('{"agent_id": null}', '^22023 .*has no agent_id'),
      ('{"title": ""}', '^22023 .*has no title'),
      ('{"fingerprint": null}', '^22023 .*has no fingerprint'),
      ('{"occurrence_id": null}', '^22023 .*has no occurrence_id'),
      ('{"agent_id": "00000000-0000-0000-0000-000000000000"}', '^23503 there is no agent'),
      (jsonb_build_object('evidence', jsonb_build_array(repeat('x', 20000))), '^22023 .*16_kib')
    ) v (more, reason)
  loop
    perform pg_temp.must_match('refusal of ' || left(c.more::text, 60), pg_temp.refusal('service', format(
      'select public.upsert_alert(%L)', pg_temp.alert('bad', c.more))), c.reason);
  end loop;
  perform pg_temp.must_match('no object', pg_temp.refusal('service',
    'select public.upsert_alert(''[]'')'), '^22023 .*JSON object');
  perform pg_temp.must_equal('the good one still counts', pg_temp.raise_alert('bad',
    '{"fingerprint": "good"}'), '1 t');
end
$$;

-- an_alert_sent_as_the_text_of_a_document_is_the_same
select pg_temp.must_equal('answer', pg_temp.ask('service', format(
  'select occurrences from public.upsert_alert(%L)',
  to_jsonb(pg_temp.alert('text', '{"fingerprint": "text"}')::text))), '1');

-- two_open_rows_of_one_fingerprint_are_impossible
select pg_temp.must_equal('insert', pg_temp.rehearse('service', format(
  'insert into public.alerts (agent_id, title, fingerprint) values (%L, ''T'', ''text'')',
  pg_temp.id('host'))), '23505');

-- Decisions -----------------------------------------------------------------------------------

-- who_resolved_and_when_is_the_databases_word
do $$
declare
  a public.alerts;
begin
  perform pg_temp.must_equal('resolve', pg_temp.attempt('adam', format(
    'update public.alerts set resolved = true, resolved_at = ''2001-01-01'', resolved_by = %L
     where fingerprint = ''text''', pg_temp.id('uma'))), '1');
  select * into a from public.alerts where fingerprint = 'text';
  perform pg_temp.must_be_true('when', a.resolved_at = now());
  perform pg_temp.must_equal('who', a.resolved_by::text, pg_temp.id('adam')::text);
  perform pg_temp.attempt('owen', 'update public.alerts set resolved_at = ''2001-01-01'',
    resolved_by = null, resolved = true where fingerprint = ''text''');
  select * into a from public.alerts where fingerprint = 'text';
  perform pg_temp.must_equal('who, for good', a.resolved_by::text, pg_temp.id('adam')::text);
  perform pg_temp.attempt('owen', 'update public.alerts set resolved = false where fingerprint = ''text''');
  select * into a from public.alerts where fingerprint = 'text';
  perform pg_temp.must_be_true('reopened', a.resolved_at is null and a.resolved_by is null);
end
$$;

-- acknowledging_is_stamped_and_can_be_taken_back
do $$
declare
  a public.alerts;
begin
  perform pg_temp.attempt('adam', 'update public.alerts set acknowledged_at = ''2001-01-01''
    where fingerprint = ''text''');
  select * into a from public.alerts where fingerprint = 'text';
  perform pg_temp.must_be_true('when', a.acknowledged_at = now());
  perform pg_temp.must_equal('who', a.acknowledged_by::text, pg_temp.id('adam')::text);
  perform pg_temp.attempt('owen', 'update public.alerts set acknowledged_at = null
    where fingerprint = ''text''');
  select * into a from public.alerts where fingerprint = 'text';
  perform pg_temp.must_be_true('nobody any more', a.acknowledged_by is null);
end
$$;

-- people_cannot_change_what_was_observed
select pg_temp.must_equal('severity', pg_temp.rehearse('adam', 'update public.alerts set severity = 1'),
  '42501');
select pg_temp.must_equal('occurrences', pg_temp.rehearse('adam',
  'update public.alerts set occurrences = 1'), '42501');

-- Retention -----------------------------------------------------------------------------------

-- resolved_alerts_are_forgotten_after_their_organizations_days_and_open_ones_never
do $$
begin
  delete from public.alerts;
  insert into public.alerts (agent_id, title, fingerprint, resolved, resolved_at) values
    (pg_temp.id('host'), 'old', '1', true, now() - interval '31 days'),
    (pg_temp.id('host'), 'young', '2', true, now() - interval '29 days'),
    (pg_temp.id('host'), 'open', '3', false, null),
    (pg_temp.id('other host'), 'other old', '4', true, now() - interval '8 days');
  update public.organizations set settings = '{"retention_days": 7}' where id = pg_temp.id('other org');
  perform pg_temp.must_match('purge', pg_temp.ask('service', 'select public.purge()'), '^\d+$');
  perform pg_temp.must_equal('left', (
    select string_agg(title, ' ' order by title) from public.alerts
    where agent_id in (pg_temp.id('host'), pg_temp.id('other host'))
  ), 'open young');
end
$$;

-- a_purge_is_bounded_and_ends
do $$
begin
  update public.alerts set resolved = true, resolved_at = now() - interval '90 days';
  update private.alert_occurrences set recorded_at = now() - interval '90 days';
  perform pg_temp.must_match('a step', pg_temp.ask('service', 'select public.purge(30, 1)'), '^[12]$');
  perform pg_temp.ask('service', 'select public.purge()');
  perform pg_temp.must_equal('the last step', pg_temp.ask('service', 'select public.purge()'), '0');
  perform pg_temp.must_equal('remembered', (select count(*)::text from private.alert_occurrences), '0');
end
$$;

-- counts_of_trials_and_releases_are_forgotten_after_their_organizations_days
do $$
begin
  insert into public.shadow_matches (org_id, rule_id, last_match_at) values
    (pg_temp.id('org'), 'old', now() - interval '31 days'),
    (pg_temp.id('org'), 'young', now() - interval '29 days'),
    (pg_temp.id('other org'), 'other old', now() - interval '8 days');
  insert into public.held_releases (org_id, note, created_at) values
    (pg_temp.id('org'), 'old', now() - interval '31 days'),
    (pg_temp.id('org'), 'young', now() - interval '29 days');
  perform pg_temp.ask('service', 'select public.purge()');
  perform pg_temp.must_equal('trials', (
    select string_agg(rule_id, ' ' order by rule_id) from public.shadow_matches
    where org_id in (pg_temp.id('org'), pg_temp.id('other org'))
  ), 'young');
  perform pg_temp.must_equal('releases', (
    select string_agg(note, ' ' order by note) from public.held_releases
    where org_id = pg_temp.id('org')
  ), 'young');
end
$$;

-- a_purge_of_less_than_a_day_is_refused
select pg_temp.must_match('refusal', pg_temp.refusal('service', 'select public.purge(0)'), '^22023');

rollback;
