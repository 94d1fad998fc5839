-- Who may do what: every table of public, every kind of caller, every verb, against a list.
-- A table without a line in the list fails, so that a new one cannot be forgotten.

begin;
\ir ../support.sql

-- The row that each attempt is about.
do $$
begin
  insert into public.agent_users (agent_id, user_id, role)
  values (pg_temp.id('host'), pg_temp.make_person('shared'), 'viewer');
  insert into public.monitored_files (id, agent_id, file_path, added_by)
  values (pg_temp.remember('file', gen_random_uuid()), pg_temp.id('host'), '/etc/x', pg_temp.id('owen'));
  insert into public.firewall_rules (id, agent_id, action, protocol, port_from)
  values (pg_temp.remember('firewall rule', gen_random_uuid()), pg_temp.id('host'), 'allow', 'tcp', 22);
  insert into public.firewall_settings (agent_id) values (pg_temp.id('host'));
  insert into public.agent_conditions (id, agent_id, type, status, reason)
  values (pg_temp.remember('condition', gen_random_uuid()), pg_temp.id('host'), 'X', 'true', 'Y');
  insert into public.alerts (id, agent_id, title, severity)
  values (pg_temp.remember('alert', gen_random_uuid()), pg_temp.id('host'), 'T', 3);
  insert into public.desired_changes (agent_id, generation) values (pg_temp.id('host'), 1);
  insert into public.system_health (type, status, reason) values ('FeedHealthy', 'true', 'Healthy');
  insert into public.feed_canary (daemon_id, beat) values (gen_random_uuid(), 1);
  insert into public.held_releases (id, org_id)
  values (pg_temp.remember('release', gen_random_uuid()), pg_temp.id('org'));
  insert into public.detection_rules (id, org_id, name, body)
  values (pg_temp.remember('rule', gen_random_uuid()), pg_temp.id('org'), 'R', 'title: R');
  insert into public.detection_overrides (id, org_id, rule_id)
  values (pg_temp.remember('override', gen_random_uuid()), pg_temp.id('org'), 'r');
  insert into public.suppressions (id, org_id, rule_id, note)
  values (pg_temp.remember('suppression', gen_random_uuid()), pg_temp.id('org'), 'r', 'n');
  insert into public.shadow_matches (org_id, rule_id) values (pg_temp.id('org'), 'r');
  insert into public.detection_status (org_id, status) values (pg_temp.id('org'), 'accepted');
  insert into public.agent_risk (agent_id, score, window_secs) values (pg_temp.id('host'), 1, 3600);
  insert into public.collection_settings (agent_id) values (pg_temp.id('host'));
  insert into public.agent_processes (agent_id, total) values (pg_temp.id('host'), 0);
  insert into public.agent_facts (agent_id) values (pg_temp.id('host'));
  insert into public.agent_keys (agent_id, public_key) values (pg_temp.id('host'), 'k');
  insert into public.agent_tokens (id, org_id, name, prefix, expires_at)
  values (pg_temp.remember('token', gen_random_uuid()), pg_temp.id('org'), 'T', 'p', now());
end
$$;

-- One letter per caller, in the order anon, stranger, user, admin, service:
-- R = rows, N = none and no error, D = denied (42501), C = conflict (23505), V = a view (55000).
create temp table rights (
  table_name text primary key, can_select text, can_insert text, can_update text, can_delete text,
  target text, insert_columns text, insert_values text, update_set text
);
insert into rights values
  ('organizations', 'DNRRR', 'DDDDR', 'DNDRR', 'DDDDR',
    'id = pg_temp.id(''org'')', 'name', '''new''', 'name = ''renamed'''),
  ('organization_members', 'DNRRR', 'DDDDR', 'DDDDR', 'DDDDR',
    'org_id = pg_temp.id(''org'') and user_id = pg_temp.id(''uma'')', 'org_id, user_id',
    'pg_temp.id(''org''), pg_temp.id(''otto'')', 'role = ''admin'''),
  ('agents', 'DNRRR', 'DDDRR', 'DNDRR', 'DNDRR',
    'id = pg_temp.id(''host'')', 'name, owner_id, org_id',
    '''new'', coalesce(auth.uid(), pg_temp.id(''owen'')), pg_temp.id(''org'')', 'name = ''renamed'''),
  ('agent_users', 'DNRRR', 'DDDRR', 'DNDRR', 'DNDRR',
    'agent_id = pg_temp.id(''host'') and user_id = pg_temp.id(''shared'')',
    'agent_id, user_id, role', 'pg_temp.id(''host''), pg_temp.id(''otto''), ''admin''',
    'role = ''admin'''),
  -- An admin's repeated insert is skipped; the service may not touch intent.
  ('agent_stats', 'DNRRR', 'DDDNC', 'DNDRD', 'DDDDD',
    'agent_id = pg_temp.id(''host'')', 'agent_id', 'pg_temp.id(''host'')',
    'firewall_enabled = true'),
  ('monitored_files', 'DNRRR', 'DDDRD', 'DNDRD', 'DNDRD',
    'id = pg_temp.id(''file'')', 'agent_id, file_path, added_by',
    'pg_temp.id(''host''), ''/etc/y'', auth.uid()', 'file_path = ''/etc/z'''),
  ('firewall_rules', 'DNRRR', 'DDDRD', 'DNDRD', 'DNDRD',
    'id = pg_temp.id(''firewall rule'')', 'agent_id, action, protocol, port_from',
    'pg_temp.id(''host''), ''deny'', ''udp'', 53', 'enabled = false'),
  ('firewall_settings', 'DNRRR', 'DDDCD', 'DNDRD', 'DNDRD',
    'agent_id = pg_temp.id(''host'')', 'agent_id', 'pg_temp.id(''host'')', 'logging = true'),
  ('desired_generations', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'agent_id = pg_temp.id(''host'')', 'agent_id', 'pg_temp.id(''host'')', 'generation = 9'),
  ('desired_changes', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'agent_id = pg_temp.id(''host'')', 'agent_id, generation', 'pg_temp.id(''host''), 2',
    'sent_at = now()'),
  ('system_health', 'DRRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'type = ''FeedHealthy''', 'type, status, reason', '''X'', ''true'', ''Y''', 'status = ''true'''),
  ('feed_canary', 'DDDDR', 'DDDDD', 'DDDDD', 'DDDDD',
    'true', 'daemon_id, beat', 'gen_random_uuid(), 1', 'beat = 2'),
  ('fleet_convergence', 'DNRRR', 'VVVVV', 'VVVVV', 'VVVVV',
    'agent_id = pg_temp.id(''host'')', 'agent_id', 'pg_temp.id(''host'')', 'name = ''renamed'''),
  ('held_releases', 'DNRRR', 'DDDRD', 'DDDDD', 'DDDDD',
    'id = pg_temp.id(''release'')', 'org_id, agent_id',
    'pg_temp.id(''org''), pg_temp.id(''host'')', 'note = ''other'''),
  ('agent_conditions', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'id = pg_temp.id(''condition'')', 'agent_id, type, status, reason',
    'pg_temp.id(''host''), ''Z'', ''true'', ''Y''', 'status = ''true'''),
  ('alerts', 'DNRRR', 'DDDDR', 'DNDRR', 'DNDRR',
    'id = pg_temp.id(''alert'')', 'agent_id, title', 'pg_temp.id(''host''), ''T''',
    'resolved = true'),
  -- The target was sent to the owner, so the read-only user does not see it.
  ('alert_notifications', 'DNNRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'alert_id = pg_temp.id(''alert'') and recipient_id = pg_temp.id(''owen'')',
    'alert_id, agent_id, recipient', 'pg_temp.id(''alert''), pg_temp.id(''host''), ''x@y''',
    'status = ''sent'''),
  ('detection_rules', 'DNRRR', 'DDDRD', 'DNDRD', 'DNDRD',
    'id = pg_temp.id(''rule'')', 'org_id, name, body', 'pg_temp.id(''org''), ''S'', ''title: S''',
    'enabled = false'),
  ('detection_overrides', 'DNRRR', 'DDDRD', 'DNDRD', 'DNDRD',
    'id = pg_temp.id(''override'')', 'org_id, rule_id', 'pg_temp.id(''org''), ''s''',
    'enabled = false'),
  ('suppressions', 'DNRRR', 'DDDRD', 'DNDRD', 'DNDRD',
    'id = pg_temp.id(''suppression'')', 'org_id, rule_id, note',
    'pg_temp.id(''org''), ''s'', ''n''', 'note = ''other'''),
  ('shadow_matches', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'org_id = pg_temp.id(''org'')', 'org_id, rule_id', 'pg_temp.id(''org''), ''s''', 'matches = 0'),
  ('detection_status', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'org_id = pg_temp.id(''org'')', 'org_id, status', 'pg_temp.id(''org''), ''accepted''',
    'reason = ''x'''),
  ('agent_risk', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'agent_id = pg_temp.id(''host'')', 'agent_id, score, window_secs',
    'pg_temp.id(''host''), 0, 1', 'score = 0'),
  -- The row of each agent is there already in this test.
  ('collection_settings', 'DNRRR', 'DDDCD', 'DNDRD', 'DNDRD',
    'agent_id = pg_temp.id(''host'')', 'agent_id', 'pg_temp.id(''host'')', 'usage_interval = 10'),
  ('agent_processes', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'agent_id = pg_temp.id(''host'')', 'agent_id, total', 'pg_temp.id(''other host''), 0',
    'total = 1'),
  ('agent_facts', 'DNRRR', 'DDDDD', 'DDDDD', 'DDDDD',
    'agent_id = pg_temp.id(''host'')', 'agent_id', 'pg_temp.id(''other host'')',
    'kernel = ''other'''),
  ('agent_keys', 'DNRRR', 'DDDDD', 'DNDRD', 'DDDDD',
    'agent_id = pg_temp.id(''host'')', 'agent_id, public_key', 'pg_temp.id(''host''), ''k''',
    'status = ''admitted'''),
  ('agent_tokens', 'DNRRR', 'DDDDD', 'DNDRD', 'DDDDD',
    'id = pg_temp.id(''token'')', 'org_id, name, prefix, expires_at',
    'pg_temp.id(''org''), ''T'', ''q'', now()', 'revoked_at = now()');

-- every_table_has_a_line_and_every_line_a_table
do $$
declare
  odd text;
begin
  select string_agg(coalesce(c.relname, r.table_name), ', ') into odd
  from (
    select relname::text from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
  ) c
  full join rights r on r.table_name = c.relname
  where c.relname is null or r.table_name is null;
  perform pg_temp.must_equal('tables without a line, or lines without a table', odd, null);
end
$$;

-- every_caller_gets_exactly_the_listed_verdict
do $$
declare
  r record;
  caller record;
  verb record;
  verdict text;
begin
  for r in select * from rights order by table_name loop
    for caller in
      select * from unnest(array['anon', 'otto', 'uma', 'adam', 'service']) with ordinality
        c (who, position)
    loop
      for verb in
        select * from (values
          ('select', r.can_select, format('select from public.%I where %s', r.table_name, r.target)),
          ('insert', r.can_insert, format('insert into public.%I (%s) values (%s)', r.table_name,
            r.insert_columns, r.insert_values)),
          ('update', r.can_update, format('update public.%I set %s where %s', r.table_name,
            r.update_set, r.target)),
          ('delete', r.can_delete, format('delete from public.%I where %s', r.table_name, r.target))
        ) v (name, expected, statement)
      loop
        verdict := pg_temp.rehearse(caller.who, verb.statement);
        verdict := case
          when verdict = '0' then 'N'
          when verdict ~ '^[1-9][0-9]*$' and length(verdict) < 5 then 'R'
          when verdict = '42501' then 'D'
          when verdict = '23505' then 'C'
          when verdict = '55000' then 'V'
          else verdict
        end;
        perform pg_temp.must_equal(format('%s %s %s', caller.who, verb.name, r.table_name),
          verdict, substr(verb.expected, caller.position::integer, 1));
      end loop;
    end loop;
  end loop;
end
$$;

-- people_may_write_exactly_the_listed_columns
do $$
declare
  odd text;
begin
  with listed (grantee, table_name, verb, columns) as (values
    ('authenticated', 'agent_keys', 'UPDATE', 'status, waiting_key'),
    ('authenticated', 'agent_stats', 'INSERT', 'agent_id'),
    ('authenticated', 'agent_stats', 'UPDATE', 'firewall_enabled'),
    ('authenticated', 'agent_tokens', 'UPDATE', 'revoked_at'),
    ('authenticated', 'agent_users', 'INSERT', 'agent_id, role, user_id'),
    ('authenticated', 'agent_users', 'UPDATE', 'role'),
    ('authenticated', 'agents', 'INSERT', 'id, name, org_id, owner_id'),
    ('authenticated', 'agents', 'UPDATE', 'name, owner_id'),
    ('authenticated', 'alerts', 'UPDATE',
      'acknowledged_at, acknowledged_by, resolved, resolved_at, resolved_by'),
    ('authenticated', 'collection_settings', 'INSERT',
      'agent_id, facts_interval, processes_interval, usage_interval'),
    ('authenticated', 'collection_settings', 'UPDATE',
      'facts_interval, processes_interval, usage_interval'),
    ('authenticated', 'detection_overrides', 'INSERT', 'enabled, level, org_id, rule_id, shadow, threshold'),
    ('authenticated', 'detection_overrides', 'UPDATE', 'enabled, level, shadow, threshold'),
    ('authenticated', 'detection_rules', 'INSERT', 'body, enabled, name, org_id, shadow'),
    ('authenticated', 'detection_rules', 'UPDATE', 'body, enabled, name, shadow'),
    ('authenticated', 'firewall_rules', 'INSERT',
      'action, agent_id, comment, destination, direction, enabled, id, port_from, port_to, position, '
        'protocol, source'),
    ('authenticated', 'firewall_rules', 'UPDATE',
      'action, comment, destination, direction, enabled, port_from, port_to, position, protocol, '
        'source'),
    ('authenticated', 'firewall_settings', 'INSERT',
      'agent_id, default_incoming, default_outgoing, logging'),
    ('authenticated', 'firewall_settings', 'UPDATE',
      'default_incoming, default_outgoing, logging'),
    ('authenticated', 'held_releases', 'INSERT', 'agent_id, note, org_id'),
    ('authenticated', 'monitored_files', 'INSERT', 'added_by, agent_id, file_path, id'),
    ('authenticated', 'monitored_files', 'UPDATE', 'file_path'),
    ('authenticated', 'organizations', 'UPDATE', 'name, settings'),
    ('authenticated', 'suppressions', 'INSERT',
      'agent_id, field, match, note, org_id, rule_id, until, value'),
    ('authenticated', 'suppressions', 'UPDATE', 'field, match, note, rule_id, until, value'),
    ('service_role', 'agent_stats', 'INSERT',
      'agent_id, cpu_usage, firewall_active, is_installed, ram_usage, storage_usage'),
    ('service_role', 'agent_stats', 'UPDATE',
      'cpu_usage, firewall_active, is_installed, ram_usage, storage_usage, updated_at')
  ),
  real (grantee, table_name, verb, columns) as (
    select grantee.name, c.relname::text, verb.name,
      string_agg(a.attname, ', ' order by a.attname)
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    cross join (values ('anon'), ('authenticated'), ('service_role')) grantee (name)
    cross join (values ('INSERT'), ('UPDATE'), ('REFERENCES')) verb (name)
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
      and has_column_privilege(grantee.name, c.oid, a.attnum, verb.name)
      and not has_table_privilege(grantee.name, c.oid, verb.name)
    group by 1, 2, 3
  )
  select string_agg(format('%s: %s', side, t), '; ') into odd from (
    select 'not listed' as side, t from (select * from real except select * from listed) t
    union all
    select 'not granted', t from (select * from listed except select * from real) t
  ) differences;
  perform pg_temp.must_equal('column rights', odd, null);
end
$$;

-- nobody_holds_truncate_references_or_trigger
do $$
declare
  odd text;
begin
  select string_agg(format('%s %s %s', g.name, v.name, c.relname), ', ') into odd
  from pg_class c
  cross join (values ('anon'), ('authenticated'), ('service_role')) g (name)
  cross join (values ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')) v (name)
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
    and has_table_privilege(g.name, c.oid, v.name);
  perform pg_temp.must_equal('rights beyond the four verbs', odd, null);
end
$$;

-- every_function_is_executable_by_exactly_those_listed
do $$
declare
  odd text;
begin
  with listed (signature, callers) as (values
    ('agent_access(uuid[])', 'authenticated'),
    ('agent_credentials(uuid[])', 'service_role'),
    ('beat_canary(uuid,bigint)', 'service_role'),
    ('claim_notifications(integer,integer)', 'service_role'),
    ('create_agent(text,uuid)', 'authenticated'),
    ('create_agent_token(uuid,text,uuid,interval,integer)', 'authenticated'),
    ('current_score(agent_risk)', 'authenticated, service_role'),
    ('desired_state(uuid[])', 'service_role'),
    ('detection_index()', 'service_role'),
    ('detection_intent(uuid)', 'service_role'),
    ('enroll_agent(uuid,text,text,text,text,text,text)', 'service_role'),
    ('expire_presence()', 'service_role'),
    ('finish_notification(uuid,text,text,integer)', 'service_role'),
    ('get_user_id_by_email(text)', 'authenticated'),
    ('me()', 'authenticated'),
    ('online(agents)', 'authenticated, service_role'),
    ('purge(integer,integer)', 'service_role'),
    ('record_changes(jsonb)', 'service_role'),
    ('record_facts(jsonb)', 'service_role'),
    ('record_presence(jsonb)', 'service_role'),
    ('record_processes(jsonb)', 'service_role'),
    ('record_risk(jsonb)', 'service_role'),
    ('record_shadow_matches(jsonb)', 'service_role'),
    ('record_suppressed(jsonb)', 'service_role'),
    ('record_usage(jsonb)', 'service_role'),
    ('register_organization(text)', 'authenticated'),
    ('report_conditions(jsonb)', 'service_role'),
    ('report_detection(jsonb)', 'service_role'),
    ('report_health(jsonb)', 'service_role'),
    ('reset_presence()', 'service_role'),
    ('unheard_agents(uuid,integer)', 'service_role'),
    ('upsert_alert(jsonb)', 'service_role'),
    ('private.may_change_all(uuid[])', 'authenticated'),
    ('private.my_admin_agents()', 'authenticated'),
    ('private.my_admin_orgs()', 'authenticated'),
    ('private.my_admin_orgs_now()', 'authenticated'),
    ('private.my_agents()', 'authenticated'),
    ('private.my_orgs()', 'authenticated'),
    ('private.my_shared_agents()', 'authenticated')
  ),
  real (signature, callers) as (
    select case p.pronamespace when 'private'::regnamespace then 'private.' else '' end
        || p.proname || '(' || replace(oidvectortypes(p.proargtypes), ', ', ',') || ')',
      (
        select string_agg(r.name, ', ' order by r.name)
        from (values ('anon'), ('authenticated'), ('service_role')) r (name)
        where has_function_privilege(r.name, p.oid, 'execute')
      )
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      or (
        p.pronamespace = 'private'::regnamespace
        and (
          has_function_privilege('anon', p.oid, 'execute')
          or has_function_privilege('authenticated', p.oid, 'execute')
          or has_function_privilege('service_role', p.oid, 'execute')
        )
      )
  )
  select string_agg(format('%s: %s', side, t), '; ') into odd from (
    select 'not listed' as side, t from (select * from real except select * from listed) t
    union all
    select 'not granted', t from (select * from listed except select * from real) t
  ) differences;
  perform pg_temp.must_equal('executable functions', odd, null);
end
$$;

-- secrets_and_helpers_are_out_of_reach
do $$
declare
  odd text;
begin
  select string_agg(format('%s on %s', r.name, c.relname), ', ') into odd
  from pg_class c
  cross join (values ('anon'), ('authenticated'), ('service_role')) r (name)
  where c.relnamespace = 'private'::regnamespace and c.relkind = 'r'
    and (
      has_table_privilege(r.name, c.oid, 'select, insert, update, delete, truncate')
      or has_any_column_privilege(r.name, c.oid, 'select, insert, update')
    );
  perform pg_temp.must_equal('rights on private tables', odd, null);
  perform pg_temp.must_equal('anon uses schema private',
    has_schema_privilege('anon', 'private', 'usage')::text, 'false');
end
$$;

rollback;
