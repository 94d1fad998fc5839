-- Properties of the schema as a whole, read from the catalog, so that new objects obey them too.

begin;
\ir ../support.sql

-- every_table_of_public_has_row_level_security
do $$
declare
  odd text;
begin
  select string_agg(relname, ', ') into odd from pg_class
  where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relrowsecurity;
  perform pg_temp.must_equal('tables without row level security', odd, null);
end
$$;

-- every_foreign_key_is_indexed
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', k.conrelid::regclass, k.conname), ', ') into odd
  from pg_constraint k
  where k.contype = 'f' and k.connamespace in ('public'::regnamespace, 'private'::regnamespace)
    and not exists (
      select from pg_index i
      where i.indrelid = k.conrelid
        and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] operator(pg_catalog.@>) k.conkey
        -- A partial index serves the key only where it leaves out nothing but nulls.
        and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) ~ '^\(\w+ IS NOT NULL\)$')
    );
  perform pg_temp.must_equal('foreign keys without an index', odd, null);
end
$$;

-- every_function_has_a_fixed_search_path
do $$
declare
  odd text;
begin
  select string_agg(oid::regprocedure::text, ', ') into odd from pg_proc
  where pronamespace in ('public'::regnamespace, 'private'::regnamespace)
    and not coalesce(proconfig @> array['search_path=""'], false);
  perform pg_temp.must_equal('functions with a mutable search_path', odd, null);
end
$$;

-- no_function_is_executable_by_everyone_or_anon
do $$
declare
  odd text;
begin
  select string_agg(p.oid::regprocedure::text, ', ') into odd from pg_proc p
  where p.pronamespace in ('public'::regnamespace, 'private'::regnamespace)
    and (
      has_function_privilege('anon', p.oid, 'execute')
      or exists (
        select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where a.grantee = 0
      )
    );
  perform pg_temp.must_equal('functions open to everyone', odd, null);
end
$$;

-- what_people_can_call_runs_as_themselves_or_asks_who_calls
-- A function that runs as its owner and can be reached over the Data API is one forgotten check away
-- from everybody's rows. Those stand in schema private, behind calls that run as the caller.
do $$
declare
  odd text;
begin
  select string_agg(p.oid::regprocedure::text, ', ') into odd from pg_proc p
  where p.pronamespace = 'public'::regnamespace and p.prosecdef
    and (
      has_function_privilege('anon', p.oid, 'execute')
      or has_function_privilege('authenticated', p.oid, 'execute')
    );
  perform pg_temp.must_equal('exposed definer functions', odd, null);
  select string_agg(p.oid::regprocedure::text, ', ') into odd from pg_proc p
  where p.pronamespace = 'private'::regnamespace and p.prosecdef
    and has_function_privilege('authenticated', p.oid, 'execute')
    and p.prosrc !~ 'private\.(caller|require_person|require_admin|require_operator|my_\w+)\(|auth\.uid\(\)';
  perform pg_temp.must_equal('unchecked definer functions', odd, null);
end
$$;

-- no_policy_believes_what_people_write_about_themselves
-- user_metadata is the person's own to change.
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', tablename, policyname), ', ') into odd
  from pg_policies
  where schemaname = 'public' and concat(qual, with_check) ~* 'user_?meta_?data';
  perform pg_temp.must_equal('policies on user_metadata', odd, null);
end
$$;

-- no_policy_lets_everybody_write
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', tablename, policyname), ', ') into odd
  from pg_policies
  where schemaname = 'public' and cmd <> 'SELECT' and (qual = 'true' or with_check = 'true');
  perform pg_temp.must_equal('policies that are always true', odd, null);
end
$$;

-- a_table_without_a_policy_is_for_the_service_key_alone_and_says_so_in_its_grants
-- And the other way round: a policy on a table nobody was granted is a mistake of one of the two.
do $$
declare
  odd text;
begin
  select string_agg(c.relname, ', ') into odd from pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    and exists (select from pg_policy p where p.polrelid = c.oid)
      is distinct from has_any_column_privilege('authenticated', c.oid, 'select, insert, update');
  perform pg_temp.must_equal('tables with grants or policies alone', odd, null);
end
$$;

-- columns_named_like_a_secret_are_out_of_the_data_api
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', c.relname, a.attname), ', ' order by c.relname, a.attname) into odd
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
    and a.attname ~* 'secret|token|passw|passphrase|private_?key|api_?key|credential|_sha256|card|ssn|otp';
  perform pg_temp.must_equal('columns named like a secret', odd, null);
end
$$;

-- views_obey_the_policies_of_whoever_reads_them
do $$
declare
  odd text;
begin
  select string_agg(relname, ', ') into odd from pg_class
  where relnamespace = 'public'::regnamespace and relkind = 'v'
    and not coalesce(reloptions && array['security_invoker=true', 'security_invoker=on'], false);
  perform pg_temp.must_equal('views that bypass policies', odd, null);
end
$$;

-- policies_are_for_signed_in_people_one_per_command_and_checked_on_update
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', tablename, policyname), ', ') into odd
  from (
    select *, count(*) over (partition by tablename, cmd) as n_of_command
    from pg_policies where schemaname = 'public'
  ) p
  where roles <> '{authenticated}'
    or cmd = 'ALL'
    or permissive <> 'PERMISSIVE'
    or n_of_command > 1
    or (cmd = 'UPDATE' and with_check is null);
  perform pg_temp.must_equal('odd policies', odd, null);
end
$$;

-- policies_compare_with_sets_and_never_ask_row_by_row
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', tablename, policyname), ', ') into odd
  from pg_policies
  where schemaname = 'public'
    and concat(qual, with_check) ~
      'private\.\w+\([^)]|(?<!SELECT )(auth\.(uid|jwt|role|email)|private\.caller)\(\)|current_setting';
  perform pg_temp.must_equal('policies evaluated per row', odd, null);
end
$$;

-- a_members_read_of_alerts_computes_its_agents_once
do $$
declare
  line text;
  plan text := '';
begin
  perform pg_temp.become('uma');
  for line in execute 'explain select count(*) from public.alerts' loop
    plan := plan || line || e'\n';
  end loop;
  perform pg_temp.become('owner');
  perform pg_temp.must_match('the plan of a count of alerts', plan, 'hashed SubPlan');
end
$$;

-- people_cannot_move_a_row_to_another_agent_or_organization
-- The update pattern checks the new row only, so a key that people could write would let a reader of
-- one agent take its rows to an agent of their own. agents.owner_id gives no right without membership,
-- and a trigger decides who may name whom.
do $$
declare
  odd text;
begin
  select string_agg(format('%s.%s', c.relname, a.attname), ', ') into odd
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
    and a.attname in ('id', 'agent_id', 'org_id', 'user_id', 'alert_id')
    and has_column_privilege('authenticated', c.oid, a.attnum, 'update');
  perform pg_temp.must_equal('keys that people can write', odd, null);
end
$$;

-- exactly_these_tables_are_published_and_their_keys_say_nothing
do $$
declare
  published text;
  odd text;
begin
  select string_agg(tablename, ', ' order by tablename) into published from pg_publication_tables
  where pubname = 'supabase_realtime';
  perform pg_temp.must_equal('published tables', published,
    'agent_conditions, agent_risk, agent_stats, agents, alerts, collection_settings, desired_generations, '
      || 'detection_overrides, detection_rules, detection_status, feed_canary, firewall_rules, '
      || 'firewall_settings, monitored_files, shadow_matches, suppressions, system_health');
  select string_agg(format('%s.%s', t.tablename, a.attname), ', ') into odd
  from pg_publication_tables t
  join pg_index i on i.indrelid = format('%I.%I', t.schemaname, t.tablename)::regclass and i.indisprimary
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
  where t.pubname = 'supabase_realtime' and a.atttypid <> 'uuid'::regtype
    -- Its keys are words of the daemon about itself.
    and t.tablename <> 'system_health';
  perform pg_temp.must_equal('published keys that are not opaque', odd, null);
end
$$;

-- the_local_rest_server_can_start
-- @supabase/lite says "grant all on all tables and sequences" in every schema with policies, and
-- fails where service_role holds nothing at all on one of them.
do $$
declare
  odd text;
begin
  select string_agg(c.relname, ', ') into odd from pg_class c
  where c.relnamespace = 'public'::regnamespace
    and case c.relkind
      when 'r' then not has_table_privilege('service_role', c.oid, 'select')
      when 'S' then not has_sequence_privilege('service_role', c.oid, 'usage')
      else false
    end;
  perform pg_temp.must_equal('objects that stop the local REST server', odd, null);
end
$$;

rollback;
