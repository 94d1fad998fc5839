-- An organization's own detection: who reads and writes it, what tells the daemon to look again, and
-- that what the daemon observed never touches what was wanted.

begin;
\ir ../support.sql

create function pg_temp.number_of(org text) returns bigint language sql as $$
  select coalesce((
    select (o ->> 'generation')::bigint
    from jsonb_array_elements(public.detection_index() -> 'organizations') o
    where o ->> 'org_id' = pg_temp.id(org)::text
  ), 0)
$$;

create function pg_temp.intent(org text) returns jsonb language sql as $$
  select pg_temp.ask('service',
    format('select public.detection_intent(%L)', pg_temp.id(org)))::jsonb
$$;

-- Reports about one row of one kind, as the daemon sends them.
create function pg_temp.judge(kind text, thing text, version bigint, status text, reason text)
returns text language sql as $$
  select pg_temp.ask('service', format('select public.report_detection(%L)', jsonb_build_array(
    jsonb_build_object('kind', kind, 'id', pg_temp.id(thing), 'version', version, 'status', status,
      'reason', reason, 'line', 3, 'col', 7, 'rule_set', 'hash'))))
$$;

create temp table kinds (name text primary key, columns text, own_values text, change text);
insert into kinds values
  ('detection_rules', 'org_id, name, body', '%L, ''R'', ''title: R''', 'enabled = not enabled'),
  ('detection_overrides', 'org_id, rule_id', '%L, ''r''', 'level = ''high'''),
  ('suppressions', 'org_id, rule_id, note', '%L, ''r'', ''n''', 'until = now()');
grant select on kinds to public;

-- nobody_of_another_organization_reads_or_writes_any_of_it
do $$
declare
  k record;
begin
  for k in select * from kinds loop
    perform pg_temp.must_equal(k.name || ': own insert', pg_temp.attempt('adam', format(
      'insert into public.%I (%s) values (' || k.own_values || ')', k.name, k.columns,
      pg_temp.id('org'))), '1');
    perform pg_temp.must_equal(k.name || ': foreign insert', pg_temp.attempt('otto', format(
      'insert into public.%I (%s) values (' || k.own_values || ')', k.name, k.columns,
      pg_temp.id('org'))), '42501');
    perform pg_temp.must_equal(k.name || ': foreign read', pg_temp.ask('otto', format(
      'select count(*) from public.%I', k.name)), '0');
    perform pg_temp.must_equal(k.name || ': foreign update', pg_temp.attempt('otto', format(
      'update public.%I set %s', k.name, k.change)), '0');
    perform pg_temp.must_equal(k.name || ': foreign delete', pg_temp.attempt('otto', format(
      'delete from public.%I', k.name)), '0');
    perform pg_temp.must_equal(k.name || ': a member reads', pg_temp.ask('uma', format(
      'select count(*) from public.%I', k.name)), '1');
    perform pg_temp.must_equal(k.name || ': a member is told', pg_temp.attempt('uma', format(
      'update public.%I set %s', k.name, k.change)), '42501');
    perform pg_temp.must_equal(k.name || ': a member deletes', pg_temp.attempt('uma', format(
      'delete from public.%I', k.name)), '42501');
    perform pg_temp.must_equal(k.name || ': an upsert into another', pg_temp.attempt('otto', format(
      'insert into public.%I (%s) values (' || k.own_values || ') on conflict do nothing', k.name,
      k.columns, pg_temp.id('org'))), '42501');
  end loop;
end
$$;

-- people_cannot_write_what_was_observed_nor_the_daemon_what_is_wanted
do $$
declare
  statement text;
begin
  foreach statement in array array[
    'update public.detection_rules set status = ''accepted''',
    'update public.detection_rules set version = 9',
    'update public.detection_rules set org_id = org_id',
    'update public.detection_overrides set reason = ''x''',
    'update public.suppressions set suppressed = 0',
    'update public.suppressions set agent_id = null',
    'insert into public.detection_rules (org_id, name, body, status) values '
      || '(pg_temp.id(''org''), ''S'', ''x'', ''accepted'')'
  ] loop
    perform pg_temp.must_equal(statement, pg_temp.attempt('adam', statement), '42501');
  end loop;
  foreach statement in array array[
    'update public.detection_rules set body = ''x''', 'delete from public.detection_overrides',
    'update public.suppressions set until = null', 'update public.detection_rules set status = ''x'''
  ] loop
    perform pg_temp.must_equal(statement, pg_temp.attempt('service', statement), '42501');
  end loop;
end
$$;

-- every_change_of_what_is_wanted_raises_the_organizations_number_and_nothing_else_does
do $$
declare
  before bigint;
  other bigint := pg_temp.number_of('other org');
  step record;
begin
  for step in
    select * from (values
      (1, 'adam', 'insert into public.detection_rules (org_id, name, body) values '
        || '(pg_temp.id(''org''), ''T'', ''x'')', 1),
      (2, 'adam', 'update public.detection_rules set body = ''y'' where name = ''T''', 1),
      (3, 'adam', 'update public.detection_rules set body = ''y'' where name = ''T''', 0),
      (4, 'adam', 'update public.suppressions set note = ''only words''', 0),
      (5, 'adam', 'update public.suppressions set value = ''x'', field = ''f''', 1),
      (6, 'adam', 'update public.detection_overrides set threshold = 7', 1),
      (7, 'adam', 'delete from public.detection_rules where name = ''T''', 1),
      (8, 'adam', 'delete from public.detection_rules where false', 0),
      (9, 'owner', 'insert into public.agents (id, name, owner_id, org_id) values '
        || '(pg_temp.remember(''second'', gen_random_uuid()), ''second'', pg_temp.id(''owen''), '
        || 'pg_temp.id(''org''))', 1),
      (10, 'owner', 'update public.agents set name = ''renamed'' where name = ''second''', 0),
      (11, 'owner', 'delete from public.agents where name = ''renamed''', 1)
    ) v (position, who, statement, raised) order by position
  loop
    before := pg_temp.number_of('org');
    perform pg_temp.must_match(step.statement, pg_temp.attempt(step.who, step.statement), '^\d$');
    perform pg_temp.must_equal(step.statement, (pg_temp.number_of('org') - before)::text,
      step.raised::text);
  end loop;
  perform pg_temp.must_equal('the other organization', pg_temp.number_of('other org')::text,
    other::text);
end
$$;

-- an_agent_that_moves_counts_in_both_organizations
do $$
declare
  before bigint;
begin
  insert into public.detection_overrides (org_id, rule_id) values (pg_temp.id('other org'), 'r');
  before := pg_temp.number_of('org') + pg_temp.number_of('other org');
  update public.agents set org_id = pg_temp.id('other org') where id = pg_temp.id('host');
  perform pg_temp.must_equal('raised',
    (pg_temp.number_of('org') + pg_temp.number_of('other org') - before)::text, '2');
  perform pg_temp.must_equal('of the new', (pg_temp.intent('other org') -> 'agents')::text,
    (select jsonb_agg(a order by a)::text
      from unnest(array[pg_temp.id('host'), pg_temp.id('other host')]) a));
  update public.agents set org_id = pg_temp.id('org') where id = pg_temp.id('host');
end
$$;

-- the_daemon_reads_one_organization_whole_and_the_index_counts_itself
do $$
declare
  intent jsonb := pg_temp.intent('org');
  index jsonb := public.detection_index();
begin
  perform pg_temp.must_equal('rules', jsonb_array_length(intent -> 'rules')::text, '1');
  perform pg_temp.must_equal('the body', intent #>> '{rules,0,body}', 'title: R');
  perform pg_temp.must_equal('the override', intent #>> '{overrides,0,threshold}', '7');
  perform pg_temp.must_equal('the suppression', intent #>> '{suppressions,0,value}', 'x');
  perform pg_temp.must_equal('agents', intent #>> '{agents,0}', pg_temp.id('host')::text);
  perform pg_temp.must_equal('the count', index ->> 'n_organizations',
    jsonb_array_length(index -> 'organizations')::text);
  perform pg_temp.must_equal('nobody', pg_temp.ask('service',
    format('select public.detection_intent(%L)', gen_random_uuid())), null);
end
$$;

-- a_verdict_stands_in_the_row_once_and_says_which_version_it_means
do $$
declare
  version bigint;
  number bigint := pg_temp.number_of('org');
begin
  perform pg_temp.remember('rule', (select id from public.detection_rules where name = 'R'));
  version := (select r.version from public.detection_rules r where name = 'R');
  perform pg_temp.must_equal('first', pg_temp.judge('rule', 'rule', version, 'refused', 'why'), '1');
  perform pg_temp.must_equal('row', (select concat_ws(' ', status, reason, fault_line, fault_column,
    rule_set, observed_version = r.version) from public.detection_rules r where name = 'R'),
    'refused why 3 7 hash t');
  perform pg_temp.must_equal('again', pg_temp.judge('rule', 'rule', version, 'refused', 'why'), '0');
  perform pg_temp.must_equal('no new look', pg_temp.number_of('org')::text, number::text);
  perform pg_temp.attempt('adam', 'update public.detection_rules set body = ''z''');
  perform pg_temp.must_equal('too late', pg_temp.judge('rule', 'rule', version, 'accepted', ''), '0');
  perform pg_temp.must_equal('seen to be old', (select (observed_version = r.version)::text
    from public.detection_rules r where name = 'R'), 'false');
  perform pg_temp.must_equal('a word nobody knows',
    pg_temp.judge('rule', 'rule', version + 1, 'fine', ''), '0');
  perform pg_temp.must_equal('another table', pg_temp.judge('override', 'rule', version + 1,
    'accepted', ''), '0');
end
$$;

-- an_organization_sees_whether_its_rows_are_read_and_in_force
do $$
declare
  said text := 'select concat_ws('' '', status, reason, rule_set, observed_generation) '
    || 'from public.detection_status';
begin
  perform pg_temp.must_equal('first', pg_temp.judge('organization', 'org', 4, 'accepted', ''), '1');
  perform pg_temp.must_equal('in force', pg_temp.ask('uma', said), 'accepted  hash 4');
  perform pg_temp.must_equal('again', pg_temp.judge('organization', 'org', 4, 'accepted', ''), '0');
  perform pg_temp.must_equal('unread', pg_temp.judge('organization', 'org', 4, 'not_read', 'why'), '1');
  perform pg_temp.must_equal('what was stays', pg_temp.ask('uma', said), 'not_read why hash 4');
  perform pg_temp.must_equal('theirs', pg_temp.ask('otto', said), null);
  perform pg_temp.must_equal('no word for a rule',
    pg_temp.judge('organization', 'org', 4, 'disabled', ''), '0');
  perform pg_temp.must_equal('nobody', pg_temp.judge('organization', 'rule', 1, 'accepted', ''), '0');
end
$$;

-- counts_of_trials_and_of_silence_stay_in_their_organization
do $$
declare
  suppression uuid := (select id from public.suppressions);
  trial jsonb := jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('host'), 'rule_id', 'r', 'title', 'T', 'matches', 3),
    jsonb_build_object('agent_id', pg_temp.id('host'), 'rule_id', 'r', 'title', 'T', 'matches', 4),
    jsonb_build_object('agent_id', pg_temp.id('other host'), 'rule_id', 'r', 'matches', 5),
    jsonb_build_object('agent_id', gen_random_uuid(), 'rule_id', 'r', 'matches', 5),
    jsonb_build_object('agent_id', pg_temp.id('host'), 'rule_id', 'r', 'matches', -1));
  silence jsonb := jsonb_build_array(
    jsonb_build_object('id', suppression, 'agent_id', pg_temp.id('host'), 'matches', 2),
    jsonb_build_object('id', suppression, 'agent_id', pg_temp.id('other host'), 'matches', 90));
begin
  perform pg_temp.ask('service', format('select public.record_shadow_matches(%L)', trial));
  perform pg_temp.ask('service', format('select public.record_shadow_matches(%L)', trial));
  perform pg_temp.ask('service', format('select public.record_suppressed(%L)', silence));
  perform pg_temp.must_equal('ours', pg_temp.ask('uma',
    'select string_agg(rule_id || matches, '','') from public.shadow_matches'), 'r14');
  perform pg_temp.must_equal('theirs', pg_temp.ask('otto',
    'select string_agg(rule_id || matches, '','') from public.shadow_matches'), 'r10');
  perform pg_temp.must_equal('silenced', (select suppressed::text from public.suppressions), '2');
end
$$;

-- the_risk_of_an_agent_is_written_when_it_changes_and_read_by_its_readers
do $$
declare
  told jsonb := jsonb_build_array(
    jsonb_build_object('agent_id', pg_temp.id('host'), 'score', 70, 'window_secs', 3600,
      'contributions', '[{"rule_id": "r", "risk": 70}]'::jsonb,
      'valid_until', now() + interval '50 minutes'),
    jsonb_build_object('agent_id', pg_temp.id('other host'), 'score', 101, 'window_secs', 3600),
    jsonb_build_object('agent_id', gen_random_uuid(), 'score', 1, 'window_secs', 3600));
begin
  perform pg_temp.must_equal('first',
    pg_temp.ask('service', format('select public.record_risk(%L)', told)), '1');
  perform pg_temp.must_equal('again',
    pg_temp.ask('service', format('select public.record_risk(%L)', told)), '0');
  perform pg_temp.must_equal('ours', pg_temp.ask('uma', 'select score from public.agent_risk'), '70');
  told := jsonb_set(told, '{0,valid_until}', to_jsonb(now() + interval '55 minutes'));
  perform pg_temp.must_equal('a little longer',
    pg_temp.ask('service', format('select public.record_risk(%L)', told)), '0');
  told := jsonb_set(told, '{0,valid_until}', to_jsonb(now() + interval '57 minutes'));
  perform pg_temp.must_equal('noticeably longer',
    pg_temp.ask('service', format('select public.record_risk(%L)', told)), '1');
  perform pg_temp.must_equal('now', pg_temp.ask('uma',
    'select r.current_score from public.agent_risk r'), '70');
  update public.agent_risk set valid_until = now();
  perform pg_temp.must_equal('faded', pg_temp.ask('uma',
    'select r.current_score from public.agent_risk r'), '0');
  perform pg_temp.must_equal('theirs', pg_temp.ask('otto', 'select score from public.agent_risk'), null);
end
$$;

-- whoever_may_delete_an_agent_deletes_what_hangs_on_it
do $$
begin
  insert into public.agents (id, name, owner_id, org_id) values
    (pg_temp.remember('umas', gen_random_uuid()), 'umas', pg_temp.id('uma'), pg_temp.id('org'));
  insert into public.suppressions (org_id, agent_id, note)
  values (pg_temp.id('org'), pg_temp.id('umas'), 'n');
  perform pg_temp.must_equal('only the suppression', pg_temp.attempt('uma',
    'delete from public.suppressions where agent_id = pg_temp.id(''umas'')'), '42501');
  perform pg_temp.must_equal('the agent', pg_temp.attempt('uma',
    'delete from public.agents where id = pg_temp.id(''umas'')'), '1');
end
$$;

-- what_cannot_be_meant_is_refused
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('detection_rules (org_id, name, body) values (%L, ''B'', repeat(''x'', 32769))', '23514'),
      ('detection_rules (org_id, name, body) values (%L, ''E'', '''')', '23514'),
      ('detection_rules (org_id, name, body) values (%L, ''R'', ''twice'')', '23505'),
      ('detection_overrides (org_id, rule_id, level) values (%L, ''x'', ''severe'')', '23514'),
      ('detection_overrides (org_id, rule_id, threshold) values (%L, ''x'', 0)', '23514'),
      ('detection_overrides (org_id, rule_id) values (%L, ''r'')', '23505'),
      ('suppressions (org_id, note) values (%L, ''all'')', '23514'),
      ('suppressions (org_id, rule_id, field, note) values (%L, ''x'', ''f'', ''n'')', '23514'),
      ('suppressions (org_id, rule_id, until, note) values (%L, ''x'', ''infinity'', ''n'')', '23514'),
      ('suppressions (org_id, rule_id, until, note) values (%L, ''x'', ''12026-11-21'', ''n'')', '23514'),
      ('suppressions (org_id, rule_id, until, note) values (%L, ''x'', ''0044-03-15 BC'', ''n'')', '23514'),
      ('suppressions (org_id, agent_id, note) values (%L, pg_temp.id(''other host''), ''n'')', '22023')
    ) v (statement, expected)
  loop
    perform pg_temp.must_equal(c.statement, pg_temp.attempt('adam',
      format('insert into public.' || c.statement, pg_temp.id('org'))), c.expected);
  end loop;
end
$$;

-- more_rows_than_a_daemon_would_hold_are_refused
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('detection_rules (org_id, name, body) select %L, n, ''x'' from generate_series(1, 200) n'),
      ('detection_overrides (org_id, rule_id) select %L, n from generate_series(1, 1000) n'),
      ('suppressions (org_id, rule_id, note) select %L, n, ''n'' from generate_series(1, 500) n')
    ) v (statement)
  loop
    perform pg_temp.must_match(c.statement, pg_temp.refusal('adam',
      format('insert into public.' || c.statement, pg_temp.id('org'))), 'an organization may have');
  end loop;
end
$$;

-- an_organization_that_goes_takes_all_of_it_along
do $$
begin
  delete from public.organizations where id = pg_temp.id('org');
  perform pg_temp.must_equal('number', pg_temp.number_of('org')::text, '0');
  perform pg_temp.must_equal('rows', (select count(*)::text from public.detection_rules), '0');
end
$$;

rollback;
