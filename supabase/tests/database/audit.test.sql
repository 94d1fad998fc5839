-- The audit log: what gets an entry and what is in it, who reads it, that nobody changes it, and that
-- whoever does all the same is found out.

begin;
\ir ../support.sql

-- Puts what is queued into the log, as the end of a transaction does.
create function pg_temp.seal() returns void language plpgsql as $$
begin
  set constraints all immediate;
  set constraints all deferred;
end
$$;

-- The newest entry of the organization, as "kind actor action resource details".
create function pg_temp.last_entry() returns text language plpgsql as $$
declare
  found_entry text;
begin
  perform pg_temp.seal();
  select concat_ws(' ', l.actor_kind, l.actor, l.action, l.resource, l.details) into found_entry
  from public.audit_log l where l.org_id = pg_temp.id('org') order by l.seq desc limit 1;
  return found_entry;
end
$$;

create function pg_temp.must_be_told(who text, statement text, pattern text) returns void
language plpgsql as $$
begin
  perform pg_temp.must_equal(statement, pg_temp.refusal(who, statement), '');
  perform pg_temp.must_match(statement, pg_temp.last_entry(), pattern);
end
$$;

create function pg_temp.n_entries() returns bigint language plpgsql as $$
begin
  perform pg_temp.seal();
  return (select count(*) from public.audit_log);
end
$$;

create function pg_temp.verdict() returns text language sql as $$
  select concat_ws(' ', v.ok, v.broken_seq, v.fault)
  from private.check_chain(pg_temp.id('org'), null, null) v
$$;

select pg_temp.seal();

-- Acts ----------------------------------------------------------------------------------------

-- every_kind_of_act_has_its_entry_with_old_and_new
do $$
declare
  host uuid := pg_temp.id('host');
  org uuid := pg_temp.id('org');
begin
  perform pg_temp.must_be_told('adam', format(
    'update public.agent_stats set firewall_enabled = true where agent_id = %L', host),
    '^person adam@people.test firewall_switch.update agent_stats .*"new": {"firewall_enabled": true}');
  perform pg_temp.must_be_told('adam', format(
    'update public.agent_stats set firewall_enabled = false where agent_id = %L', host),
    '"new": {"firewall_enabled": false}, "old": {"firewall_enabled": true}|'
      || '"old": {"firewall_enabled": true}, "new": {"firewall_enabled": false}');
  perform pg_temp.must_be_told('adam', format(
    'insert into public.monitored_files (agent_id, file_path, added_by) values (%L, ''/etc/x'', auth.uid())',
    host), 'monitored_file.create monitored_files .*/etc/x');
  perform pg_temp.must_be_told('adam', format(
    'insert into public.firewall_rules (agent_id, action, protocol, port_from) values (%L, ''allow'', ''tcp'', 22)',
    host), 'firewall_rule.create firewall_rules .*"port_from": 22');
  perform pg_temp.must_be_told('adam', 'delete from public.firewall_rules',
    'firewall_rule.delete firewall_rules .*"old": {.*"port_from": 22');
  perform pg_temp.must_be_told('owen', format('select public.set_member_role(%L, %L, ''admin'')', org,
    pg_temp.id('uma')), 'owen.* member.change_role organization_members .*"admin".*"user"|"user".*"admin"');
  perform pg_temp.must_be_told('owen', format('select public.set_member_role(%L, %L, ''user'')', org,
    pg_temp.id('uma')), 'member.change_role');
  perform pg_temp.must_be_told('owen', format(
    'update public.organizations set settings = ''{"open_join": false}'' where id = %L', org),
    'organization.update organizations .*"open_join": false');
  perform pg_temp.must_be_told('adam', format(
    'insert into public.agent_users (agent_id, user_id) values (%L, %L)', host, pg_temp.id('otto')),
    'share.create agent_users');
  perform pg_temp.must_be_told('adam', format('insert into public.held_releases (org_id) values (%L)', org),
    'hold.release held_releases');
  perform pg_temp.must_be_told('adam', format(
    'insert into public.detection_rules (org_id, name, body) values (%L, ''R'', ''title: R'')', org),
    'detection_rule.create detection_rules .*title: R');
  perform pg_temp.must_be_told('adam', 'update public.detection_rules set enabled = false',
    'detection_rule.update detection_rules .*"enabled": false');
  perform pg_temp.must_be_told('adam', format(
    'insert into public.suppressions (org_id, rule_id, note) values (%L, ''r'', ''noise'')', org),
    'suppression.create suppressions .*noise');
  perform pg_temp.must_be_told('adam', format('update public.agents set name = ''new'' where id = %L', host),
    'agent.update agents .*"host"');
  insert into public.alerts (agent_id, title, severity) values (host, 'seen in a log', 3);
  perform pg_temp.must_be_told('adam', 'update public.alerts set resolved = true',
    'alert.resolve alerts (?!.*seen in a log)');
  perform pg_temp.must_be_told('adam', 'update public.alerts set resolved = false', 'alert.reopen');
  perform pg_temp.must_be_told('adam', 'update public.alerts set acknowledged_at = now()',
    'alert.acknowledge');
  perform pg_temp.must_be_told('adam', 'delete from public.alerts', 'alert.delete (?!.*seen in a log)');
  perform pg_temp.must_be_told('adam', format('select public.create_invite(%L)', org), 'invite.create');
  perform pg_temp.must_be_told('adam', format('select public.create_agent_token(%L, ''installer'')', org),
    'agent_token.create agent_tokens .*"name": "installer"');
  perform pg_temp.must_be_told('adam', 'update public.agent_tokens set revoked_at = now()',
    'agent_token.revoke');
end
$$;

-- an_agent_that_uses_a_token_and_a_key_that_is_approved_are_told
do $$
declare
  token text;
  first_key text := encode(sha256('first'), 'base64');
  second_key text := encode(sha256('second'), 'base64');
begin
  token := pg_temp.ask('adam', format('select public.create_agent_token(%L, ''one'')', pg_temp.id('org')));
  perform pg_temp.must_be_told('service', format(
    'select public.enroll_agent(%L, %L, %L, ''h'', ''o'', ''a'', ''1'')', pg_temp.id('host'), token, first_key),
    '^agent new agent_key.admit agent_keys');
  perform pg_temp.must_equal('the use', (
    select l.actor_kind || ' ' || l.actor_id from public.audit_log l where l.action = 'agent_token.use'
  ), 'agent ' || pg_temp.id('host'));
  perform pg_temp.must_be_told('service', format(
    'select public.enroll_agent(%L, null, %L, ''h'', ''o'', ''a'', ''1'')', pg_temp.id('host'), second_key),
    '^agent new agent_key.wait');
  perform pg_temp.must_be_told('adam', 'update public.agent_keys set status = ''admitted''',
    '^person adam@people.test agent_key.admit');
  perform pg_temp.must_be_told('service', format('select public.rotate_agent_key(%L, %L, %L)',
    pg_temp.id('host'), second_key, first_key), '^agent new agent_key');
  update public.agents set retires_keys = true where id = pg_temp.id('host');
  perform pg_temp.must_be_told('adam', format('select public.request_key_rotation(%L)', pg_temp.id('host')),
    '^person adam@people.test agent_key.request_rotation agent_keys .*"retired_key": "' || regexp_replace(
      first_key, '([+/=])', '[\1]', 'g'));
  perform pg_temp.must_be_told('adam', format('select public.withdraw_key_rotation(%L)', pg_temp.id('host')),
    '^person adam@people.test agent_key.withdraw_rotation agent_keys');
  perform pg_temp.must_be_told('adam', 'update public.agent_keys set status = ''revoked''',
    'agent_key.revoke');
end
$$;

-- refused_agents_are_told_of_and_cannot_flood_the_log
do $$
declare
  before bigint := pg_temp.n_entries();
begin
  perform pg_temp.must_be_told('service', format(
    'select public.record_refusal(%L, ''0123456789ab'', e''bad\x07 token'')', pg_temp.id('host')),
    '^agent new agent.refused agents .*"reason": "bad token".*"token_prefix": "0123456789ab"');
  perform pg_temp.must_be_true('of that agent', (
    select agent_id = pg_temp.id('host') from public.audit_log where action = 'agent.refused'));
  perform pg_temp.must_equal('no prefix', pg_temp.ask('service', format(
    'select public.record_refusal(%L, %L, null)', pg_temp.id('host'), repeat('a', 64))), 'true');
  perform public.record_refusal(pg_temp.id('host'), null, 'x') from generate_series(1, 50);
  perform pg_temp.must_equal('entries', (pg_temp.n_entries() - before)::text, '20');
  perform pg_temp.must_match('the last', pg_temp.last_entry(), 'counted and not told');
  perform pg_temp.must_equal('nobody''s', pg_temp.ask('service',
    'select public.record_refusal(gen_random_uuid(), null, ''x'')'), 'false');
  update private.refusal_counts set hour_began = now() - interval '2 hours';
  perform pg_temp.must_be_told('service', format('select public.record_refusal(%L, null, ''x'')',
    pg_temp.id('host')), '"in_the_hour_before": 52');
end
$$;

-- what_the_daemon_observes_is_no_act
do $$
declare
  before bigint := pg_temp.n_entries();
begin
  perform pg_temp.attempt('service', format(
    'select public.record_presence(''[{"agent_id": "%s", "online": true}]'')', pg_temp.id('host')));
  perform pg_temp.attempt('service', format(
    'select public.record_usage(''[{"agent_id": "%s", "cpu_usage": 5}]'')', pg_temp.id('host')));
  perform pg_temp.attempt('service', format('select public.upsert_alert(''{"occurrence_id": "%s",
    "agent_id": "%s", "fingerprint": "f", "title": "T", "severity": 3}'')', gen_random_uuid(),
    pg_temp.id('host')));
  perform pg_temp.must_equal('entries', pg_temp.n_entries()::text, before::text);
end
$$;

-- an_act_that_changes_nothing_or_is_refused_has_no_entry
do $$
declare
  before bigint := pg_temp.n_entries();
begin
  perform pg_temp.attempt('adam', 'update public.agents set name = name');
  perform pg_temp.attempt('uma', 'update public.agents set name = ''x''');
  perform pg_temp.must_equal('entries', pg_temp.n_entries()::text, before::text);
end
$$;

-- a_look_of_an_operator_is_in_the_organizations_own_log_with_its_reason
do $$
begin
  insert into private.platform_operators values (pg_temp.make_person('opal'), 'x');
  perform pg_temp.must_be_told('opal', format(
    'select public.look_into_organization(%L, ''ticket 17'')', pg_temp.id('org')),
    '^operator opal@people.test operator_look.begin operator_looks .*ticket 17');
  perform pg_temp.must_be_told('opal', format('select public.end_look(%L)', pg_temp.id('org')),
    '^operator opal@people.test operator_look.end');
end
$$;

-- an_agent_that_is_deleted_takes_its_rows_along_in_one_entry
do $$
declare
  before bigint := pg_temp.n_entries();
begin
  insert into public.agents (id, name, owner_id, org_id)
  values (pg_temp.remember('short', gen_random_uuid()), 'short', pg_temp.id('owen'), pg_temp.id('org'));
  insert into public.monitored_files (agent_id, file_path, added_by)
  values (pg_temp.id('short'), '/x', pg_temp.id('owen'));
  delete from public.agents where id = pg_temp.id('short');
  perform pg_temp.must_equal('entries', (pg_temp.n_entries() - before)::text, '3');
  perform pg_temp.must_match('the last', pg_temp.last_entry(), '^system \S+ agent.delete agents');
end
$$;

-- an_act_on_a_whole_fleet_is_told_by_the_hundred_with_every_change_in_it
do $$
begin
  perform pg_temp.seal();
  insert into public.monitored_files (agent_id, file_path, added_by)
  select pg_temp.id('host'), '/many/' || n, pg_temp.id('owen') from generate_series(1, 250) n;
  perform pg_temp.seal();
  perform pg_temp.must_equal('entries', (
    select string_agg(l.n_changes::text, ' ' order by l.seq) from public.audit_log l
    where l.details::text like '%/many/%'
  ), '100 100 50');
  perform pg_temp.must_equal('paths in them', (
    select count(distinct c.value -> 'new' ->> 'file_path')::text
    from public.audit_log l, jsonb_array_elements(l.details -> 'changes') c
    where l.details::text like '%/many/%'
  ), '250');
end
$$;

-- Where from ----------------------------------------------------------------------------------

-- the_addresses_and_the_program_that_a_request_claims_are_noted_as_such
do $$
begin
  perform set_config('request.headers', '{"x-forwarded-for": "203.0.113.7, 10.0.0.1",
    "user-agent": "=cmd|calc\u001b[31m", "x-hidps-reported-ip": "198.51.100.1"}', true);
  perform pg_temp.attempt('adam', 'update public.agents set name = ''from'' where name = ''new''');
  perform pg_temp.seal();
  perform pg_temp.must_equal('a person''s', (
    select concat_ws(' | ', l.reported_ips, l.user_agent) from public.audit_log l order by l.seq desc limit 1
  ), '203.0.113.7, 10.0.0.1 | =cmd|calc[31m');
  perform pg_temp.must_equal('as a spreadsheet reads it', pg_temp.ask('adam',
    'select user_agent from public.audit_readout order by seq desc limit 1'), '''=cmd|calc[31m');
  perform pg_temp.attempt('service', format(
    'update public.organizations set name = ''by script'' where id = %L', pg_temp.id('org')));
  perform pg_temp.seal();
  perform pg_temp.must_equal('the daemon''s', (
    select concat_ws(' | ', l.actor_kind, l.reported_ips) from public.audit_log l
    where l.org_id = pg_temp.id('org') order by l.seq desc limit 1
  ), 'daemon | 198.51.100.1');
  perform set_config('request.headers', 'not json', true);
  perform pg_temp.must_be_told('adam', 'update public.agents set name = ''new'' where name = ''from''',
    'agent.update');
  perform set_config('request.headers', '', true);
end
$$;

-- Secrets -------------------------------------------------------------------------------------

-- secrets_are_masked_at_any_depth_and_long_texts_are_cut
do $$
begin
  perform pg_temp.attempt('owen', format(
    'update public.organizations set settings = jsonb_build_object(''smtp'', jsonb_build_array(
      jsonb_build_object(''password'', ''hunter2'', ''host'', ''mail'')), ''api_key'', ''hunter2'',
      ''long'', repeat(''x'', 9000)) where id = %L', pg_temp.id('org')));
  perform pg_temp.must_match('the entry', pg_temp.last_entry(), '"password": "\(secret\)"');
  perform pg_temp.must_match('the entry', pg_temp.last_entry(), '"host": "mail"');
  perform pg_temp.must_match('the entry', pg_temp.last_entry(), 'xxx… \(9002 bytes, SHA-256 [0-9a-f]{64}\)');
  perform pg_temp.must_be_true('no secret is anywhere', not exists (
    select from public.audit_log l where l::text like '%hunter2%'
  ));
end
$$;

-- the_raw_token_of_an_agent_is_nowhere_in_the_log
do $$
declare
  token text := pg_temp.ask('adam', format('select public.create_agent_token(%L, ''x'')', pg_temp.id('org')));
begin
  perform pg_temp.seal();
  perform pg_temp.must_be_true('neither it nor its hash', not exists (
    select from public.audit_log l
    where l::text like '%' || right(token, 64) || '%'
      or l::text like '%' || private.sha256_hex(right(token, 64)) || '%'
  ));
end
$$;

-- a_column_that_sounds_like_a_secret_has_a_verdict
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', c.relname, a.attname), ', ') into odd
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.relkind = 'r'
    and exists (
      select from pg_trigger t where t.tgrelid = c.oid and t.tgfoid = 'private.audit_change'::regproc
    )
    and private.sounds_secret(a.attname)
    and not exists (
      select from private.secret_columns s
      where s.table_name = c.relname and s.column_name = a.attname
    );
  perform pg_temp.must_equal('columns without a verdict in private.secret_columns', odd, null);
end
$$;

-- Completeness --------------------------------------------------------------------------------

-- every_right_of_people_to_write_is_audited
do $$
declare
  odd text;
begin
  select string_agg(format('%s of %s', v.name, c.relname), ', ') into odd
  from pg_class c
  cross join (values ('INSERT', 4), ('DELETE', 8), ('UPDATE', 16)) v (name, bit)
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
    and case v.name when 'DELETE' then has_table_privilege('authenticated', c.oid, 'delete')
      else has_any_column_privilege('authenticated', c.oid, v.name) end
    and not exists (
      select from pg_trigger t
      where t.tgrelid = c.oid and t.tgfoid = 'private.audit_change'::regproc and t.tgtype & v.bit <> 0
    );
  perform pg_temp.must_equal('rights to write without an entry', odd, null);
end
$$;

-- every_column_that_people_may_change_is_audited
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', c.relname, a.attname), ', ') into odd
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where t.tgfoid = 'private.audit_change'::regproc and t.tgtype & 16 <> 0
    and t.tgattr::text <> '' and a.attnum <> all (t.tgattr::int2[])
    and has_column_privilege('authenticated', c.oid, a.attnum, 'update')
    -- Stamps that the database sets beside the decision itself.
    and (c.relname, a.attname) not in (
      ('alerts', 'resolved_at'), ('alerts', 'resolved_by'), ('alerts', 'acknowledged_by')
    );
  perform pg_temp.must_equal('columns without an entry', odd, null);
end
$$;

-- Readers -------------------------------------------------------------------------------------

-- admins_read_their_own_organizations_log_and_nobody_else_does
do $$
begin
  perform pg_temp.must_be_true('adam reads', pg_temp.ask('adam',
    'select count(*) from public.audit_log')::integer > 20);
  perform pg_temp.must_equal('of this organization', pg_temp.ask('adam',
    'select count(distinct org_id) from public.audit_log'), '1');
  perform pg_temp.must_equal('uma', pg_temp.ask('uma', 'select count(*) from public.audit_log'), '0');
  perform pg_temp.must_equal('otto reads of this one', pg_temp.ask('otto', format(
    'select count(*) from public.audit_log where org_id = %L', pg_temp.id('org'))), '0');
end
$$;

-- Append-only ---------------------------------------------------------------------------------

-- nobody_changes_an_entry_not_even_the_owner_of_the_database
do $$
declare
  who text;
  statement text;
begin
  foreach who in array array['owen', 'service', 'owner'] loop
    foreach statement in array array[
      'update public.audit_log set actor = ''nobody''', 'delete from public.audit_log',
      'truncate public.audit_log'
    ] loop
      perform pg_temp.must_match(who || ': ' || statement, pg_temp.refusal(who, statement), '^42501');
    end loop;
  end loop;
  set local session_replication_role = replica;
  perform pg_temp.must_match('as a replica', pg_temp.refusal('owner', 'delete from public.audit_log'),
    '^42501 the audit log is only added to');
  set local session_replication_role = origin;
end
$$;

-- Whoever disables the triggers ---------------------------------------------------------------

-- Tampers, says what the verification finds, and takes it back.
create function pg_temp.tamper(statement text) returns text language plpgsql as $$
declare
  found_fault text;
begin
  alter table public.audit_log disable trigger all;
  execute statement;
  found_fault := pg_temp.verdict();
  raise exception using errcode = 'TBACK';
exception when sqlstate 'TBACK' then
  return found_fault;
end
$$;

-- tampering_is_found_and_where
do $$
declare
  n bigint;
begin
  perform pg_temp.seal();
  select max(seq) into n from public.audit_log where org_id = pg_temp.id('org');
  perform pg_temp.must_equal('untouched', pg_temp.verdict(), 't');
  perform pg_temp.must_equal('a changed actor', pg_temp.tamper(format(
    'update public.audit_log set actor = ''nobody'' where seq = 7 and org_id = %L', pg_temp.id('org'))),
    'f 7 the entry was changed');
  perform pg_temp.must_equal('changed details', pg_temp.tamper(format(
    'update public.audit_log set details = ''{}'' where seq = 3 and org_id = %L', pg_temp.id('org'))),
    'f 3 the entry was changed');
  perform pg_temp.must_equal('with a new hash', pg_temp.tamper(format(
    'update public.audit_log l set actor = ''nobody'', hash = private.audit_hash(jsonb_populate_record(l,
      ''{"actor": "nobody"}'')) where seq = 7 and org_id = %L', pg_temp.id('org'))),
    'f 8 the entry does not continue the one before it');
  perform pg_temp.must_equal('taken out', pg_temp.tamper(format(
    'delete from public.audit_log where seq in (5, 6) and org_id = %L', pg_temp.id('org'))),
    'f 7 entries 5 to 6 are missing');
  perform pg_temp.must_equal('the first taken', pg_temp.tamper(format(
    'delete from public.audit_log where seq = 1 and org_id = %L', pg_temp.id('org'))),
    'f 2 entries 1 to 1 are missing');
  perform pg_temp.must_equal('the last taken', pg_temp.tamper(format(
    'delete from public.audit_log where seq = %s and org_id = %L', n, pg_temp.id('org'))),
    format('f %s entries at the end are missing or were added', n));
  perform pg_temp.must_equal('all taken', pg_temp.tamper(format(
    'delete from public.audit_log where org_id = %L', pg_temp.id('org'))),
    'f 1 entries at the end are missing or were added');
  perform pg_temp.must_equal('one added', pg_temp.tamper(format(
    'insert into public.audit_log select (jsonb_populate_record(l, jsonb_build_object(''id'',
      gen_random_uuid(), ''seq'', l.seq + 1, ''prev_hash'', l.hash))).* from public.audit_log l
      where seq = %s and org_id = %L', n, pg_temp.id('org'))),
    format('f %s the entry was changed', n + 1));
end
$$;

-- a_hash_that_was_noted_elsewhere_tells_a_chain_that_was_written_anew
do $$
declare
  noted text;
begin
  select hash into noted from public.audit_log where org_id = pg_temp.id('org') and seq = 9;
  perform pg_temp.must_equal('the same', pg_temp.ask('adam', format(
    'select ok from public.verify_audit(%L, 9, %L)', pg_temp.id('org'), noted)), 'true');
  perform pg_temp.must_equal('another', pg_temp.ask('adam', format(
    'select concat_ws('' '', ok, broken_seq, fault) from public.verify_audit(%L, 9, %L)', pg_temp.id('org'),
    repeat('0', 64))), 'f 9 the entry is not the one that was noted elsewhere');
  perform pg_temp.must_equal('missing', pg_temp.ask('adam', format(
    'select concat_ws('' '', ok, broken_seq, fault) from public.verify_audit(%L, 99999, %L)',
    pg_temp.id('org'), noted)), 'f 99999 the noted entry is missing');
end
$$;

-- Retention -----------------------------------------------------------------------------------

-- what_is_too_old_goes_and_the_chain_holds
do $$
declare
  n_before bigint;
  n_gone integer;
begin
  perform pg_temp.must_equal('nothing is old', private.purge_audit(1000)::text, '0');
  -- As if the first ten were from before: their times are part of the chain, so it is made anew.
  alter table public.audit_log disable trigger all;
  update public.audit_log set at = now() - interval '400 days' where org_id = pg_temp.id('org') and seq <= 10;
  declare
    entry public.audit_log;
    before text := '';
  begin
    for entry in select * from public.audit_log where org_id = pg_temp.id('org') order by seq loop
      entry.prev_hash := before;
      before := private.audit_hash(entry);
      update public.audit_log set prev_hash = entry.prev_hash, hash = before where id = entry.id;
    end loop;
    update private.audit_chains set hash = before where org_id = pg_temp.id('org');
  end;
  alter table public.audit_log enable trigger all;
  alter table public.audit_log enable always trigger append_only;
  perform pg_temp.must_equal('before', pg_temp.verdict(), 't');
  select count(*) into n_before from public.audit_log where org_id = pg_temp.id('org');
  n_gone := private.purge_audit(4);
  perform pg_temp.must_equal('a bounded step', n_gone::text, '4');
  perform pg_temp.must_match('the forgetting is told', pg_temp.last_entry(),
    '^system \S+ audit_log.forget audit_log .*"up_to_seq": 10');
  perform pg_temp.must_equal('in between', pg_temp.verdict(), 't');
  perform pg_temp.must_equal('the rest', private.purge_audit(1000)::text, '6');
  perform pg_temp.must_equal('no more', private.purge_audit(1000)::text, '0');
  perform pg_temp.must_equal('after', pg_temp.verdict(), 't');
  perform pg_temp.must_equal('left', (
    select (n_before + 1 - count(*))::text from public.audit_log where org_id = pg_temp.id('org')
  ), '10');
  perform pg_temp.must_match('what lies after the checkpoint stays', pg_temp.refusal('owner', format(
    'delete from public.audit_log where seq = 11 and org_id = %L', pg_temp.id('org'))), '^42501');
end
$$;

-- an_organization_says_how_long_its_log_is_kept_and_no_less_than_30_days
do $$
begin
  perform pg_temp.must_match('a week', pg_temp.refusal('owen', format(
    'update public.organizations set settings = ''{"audit_retention_days": 7}'' where id = %L',
    pg_temp.id('org'))), '^23514');
end
$$;

-- the_log_of_an_organization_that_is_gone_stays
do $$
begin
  delete from public.organizations where id = pg_temp.id('org');
  perform pg_temp.must_match('its end', pg_temp.last_entry(), 'organization.delete organizations');
  perform pg_temp.must_equal('the chain', pg_temp.verdict(), 't');
end
$$;

rollback;
