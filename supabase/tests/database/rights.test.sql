-- Who may do what: every table and function of public, every kind of caller, every verb, against the
-- lists in ../rights. A table or function without a line fails, so that a new one cannot be forgotten.

begin;
\ir ../support.sql

\ir ../rights/world.sql
\ir ../rights/tables.sql
\ir ../rights/calls.sql

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
  odd text := '';
begin
  for r in select * from rights order by table_name loop
    for caller in
      select * from unnest(pg_temp.callers()) with ordinality c (who, position)
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
        if verdict is distinct from substr(verb.expected, caller.position::integer, 1) then
          odd := odd || format(e'\n%s %s %s: expected %s, got %s', caller.who, verb.name,
            r.table_name, substr(verb.expected, caller.position::integer, 1), verdict);
        end if;
      end loop;
    end loop;
  end loop;
  perform pg_temp.must_equal('verdicts', odd, '');
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
      'agent_id, facts_interval, network_interval, process_poll_interval, sampling, top_processes_interval, '
        'usage_interval'),
    ('authenticated', 'collection_settings', 'UPDATE',
      'facts_interval, network_interval, process_poll_interval, sampling, top_processes_interval, '
        'usage_interval'),
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
    ('authenticated', 'monitored_files', 'INSERT', 'added_by, agent_id, file_path, id, recursive'),
    ('authenticated', 'monitored_files', 'UPDATE', 'file_path, recursive'),
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

-- every_function_has_a_line_and_every_line_a_function
do $$
declare
  odd text;
begin
  select string_agg(coalesce(f.signature, c.signature), ', ') into odd
  from (
    select p.proname || '(' || replace(oidvectortypes(p.proargtypes), ', ', ',') || ')' as signature
    from pg_proc p where p.pronamespace = 'public'::regnamespace
  ) f
  full join calls c on c.signature = f.signature
  where f.signature is null or c.signature is null;
  perform pg_temp.must_equal('functions without a line, or lines without a function', odd, null);
end
$$;

-- every_caller_gets_exactly_the_listed_verdict_of_a_call
do $$
declare
  c record;
  caller record;
  verdict text;
  odd text := '';
begin
  for c in select * from calls order by signature loop
    for caller in select * from unnest(pg_temp.callers()) with ordinality c (who, position) loop
      verdict := pg_temp.rehearse_call(caller.who, c.statement);
      if verdict is distinct from substr(c.verdicts, caller.position::integer, 1) then
        odd := odd || format(e'\n%s %s: expected %s, got %s', caller.who, c.signature,
          substr(c.verdicts, caller.position::integer, 1), verdict);
      end if;
    end loop;
  end loop;
  perform pg_temp.must_equal('verdicts', odd, '');
end
$$;

-- people_reach_exactly_these_functions_behind_the_calls
do $$
declare
  reached text;
begin
  select string_agg(p.proname, ' ' order by p.proname) into reached from pg_proc p
  where p.pronamespace = 'private'::regnamespace
    and has_function_privilege('authenticated', p.oid, 'execute');
  perform pg_temp.must_equal('reached by people', reached,
    'begin_look caller change_member_role drop_device end_membership end_sessions '
      || 'enter_open_organization find_person finish_look found_organization give_up_organization is_operator issue_agent_token '
      || 'issue_invite keep_key may_change_all my_admin_agents my_admin_orgs my_admin_orgs_now my_agents '
      || 'my_audited_orgs my_looked_orgs my_member_orgs my_orgs my_shared_agents organizations_like '
      || 'redeem_invite retire_key sessions_of_caller touch_device verified_chain withdraw_invite');
  select string_agg(p.proname, ' ') into reached from pg_proc p
  where p.pronamespace = 'private'::regnamespace
    and (
      has_function_privilege('anon', p.oid, 'execute')
      or has_function_privilege('service_role', p.oid, 'execute')
    );
  perform pg_temp.must_equal('reached by nobody and the service key', reached, null);
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
