-- Which changes the audit log tells of: everything people can write, and what agents do with tokens and
-- keys. What is observed of a host is no act and is not here.
-- It decides nothing about an entry's words, which are found when the transaction ends.

-- Arguments: the noun, the columns that are not told of, and whose chain it is: that of the row itself,
-- of its organization, of its agent's, or the platform's. Rows that go with their agent or organization
-- have no entry: its own says so.
create function private.audit_change() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  thing jsonb := coalesce(after, before);
begin
  insert into private.audit_queue (org_id, resource, noun, op, untold, before, after)
  select k.org_id, tg_table_name, tg_argv[0], tg_op, string_to_array(tg_argv[1], ','), before, after
  from (
    select case tg_argv[2]
      when 'self' then (thing ->> 'id')::uuid
      when 'org' then (
        select o.id from public.organizations o where o.id = (thing ->> 'org_id')::uuid
      )
      when 'agent' then (
        select a.org_id from public.agents a where a.id = (thing ->> 'agent_id')::uuid
      )
      else private.platform()
    end as org_id
  ) k
  where k.org_id is not null and before is distinct from after;
  if found then
    insert into private.audit_seals default values on conflict do nothing;
  end if;
  return null;
end
$$;

-- One trigger for each verb. Tables that the daemon writes all the time name the columns that are acts,
-- and are looked at only where one of them is in the statement.
do $$
declare
  what record;
begin
  for what in select * from (values
    ('organizations', 'organization', '', '', 'created_at'),
    ('organization_members', 'member', '', '', 'created_at'),
    ('organization_invites', 'invite', '', '', 'created_at,created_by,prefix'),
    ('operator_looks', 'operator_look', '', '', 'operator_id'),
    ('agents', 'agent', 'name, owner_id, org_id',
      'old.name <> new.name or old.owner_id <> new.owner_id or old.org_id <> new.org_id',
      'created_at,last_seen,is_online,hostname,os,arch,agent_version,retires_keys'),
    ('agent_users', 'share', '', '', 'created_at'),
    ('agent_stats', 'firewall_switch', 'firewall_enabled',
      'old.firewall_enabled is distinct from new.firewall_enabled',
      'created_at,is_installed,cpu_usage,ram_usage,storage_usage,firewall_active,updated_at,details'),
    ('monitored_files', 'monitored_file', '', '', 'created_at,added_by'),
    ('firewall_rules', 'firewall_rule', '', '', 'created_at,created_by'),
    ('firewall_settings', 'firewall_settings', '', '', 'created_at'),
    ('collection_settings', 'collection_settings', '', '', 'created_at'),
    ('held_releases', 'hold', '', '', 'created_by,created_at'),
    ('detection_rules', 'detection_rule', 'name, body, enabled, shadow',
      '(old.name, old.body, old.enabled, old.shadow)
        is distinct from (new.name, new.body, new.enabled, new.shadow)',
      'created_by,created_at,version,status,reason,fault_line,fault_column,rule_set,observed_version,'
        || 'observed_at'),
    ('detection_overrides', 'detection_override', 'enabled, level, threshold, shadow',
      '(old.enabled, old.level, old.threshold, old.shadow)
        is distinct from (new.enabled, new.level, new.threshold, new.shadow)',
      'created_by,created_at,version,status,reason,observed_version,observed_at'),
    ('suppressions', 'suppression', 'rule_id, field, match, value, until, note',
      '(old.rule_id, old.field, old.match, old.value, old.until, old.note)
        is distinct from (new.rule_id, new.field, new.match, new.value, new.until, new.note)',
      'created_by,created_at,version,status,reason,suppressed,last_suppressed_at,observed_version,'
        || 'observed_at'),
    -- What an alert says is forgotten with the alert.
    ('alerts', 'alert', 'resolved, acknowledged_at',
      '(old.resolved, old.acknowledged_at) is distinct from (new.resolved, new.acknowledged_at)',
      'created_at,resolved_at,resolved_by,title,message,fingerprint,risk,occurrences,first_seen,'
        || 'last_seen,acknowledged_by,evidence,explanation,alert_type'),
    ('agent_keys', 'agent_key', 'status, public_key, waiting_key, retired_key',
      '(old.status, old.public_key, old.waiting_key, old.retired_key)
        is distinct from (new.status, new.public_key, new.waiting_key, new.retired_key)',
      'created_at,admitted_at,admitted_by,waiting_since,rotation_requested_at,rotation_requested_by,'
        || 'rotated_at'),
    ('agent_tokens', 'agent_token', 'revoked_at, uses',
      '(old.revoked_at, old.uses) is distinct from (new.revoked_at, new.uses)',
      'created_by,created_at,last_used_at')
  ) w (table_name, noun, columns, changes, untold)
    cross join lateral (
      select case
        when w.table_name = 'organizations' then 'self'
        when exists (
          select from pg_attribute a
          where a.attrelid = format('public.%I', w.table_name)::regclass and a.attname = 'org_id'
        ) then 'org'
        else 'agent'
      end as chain
    ) c
  loop
    execute format(
      'create trigger zz_audit_insert after insert on public.%I
        for each row %s execute function private.audit_change(%L, %L, %L)',
      what.table_name,
      -- Every agent gets its row with nothing desired, and every alert is told by itself.
      case what.table_name
        when 'agent_stats' then 'when (new.firewall_enabled is not null)'
        when 'alerts' then 'when (new.resolved)'
        else ''
      end,
      what.noun, what.untold, what.chain);
    execute format(
      'create trigger zz_audit_update after update %s on public.%I
        for each row %s execute function private.audit_change(%L, %L, %L)',
      case when what.columns <> '' then 'of ' || what.columns else '' end, what.table_name,
      case when what.changes <> '' then format('when (%s)', what.changes) else '' end,
      what.noun, what.untold, what.chain);
    execute format(
      'create trigger zz_audit_delete after delete on public.%I
        for each row execute function private.audit_change(%L, %L, %L)',
      what.table_name, what.noun, what.untold, what.chain);
  end loop;
end
$$;

-- Who runs the platform is the platform's own affair, and has its chain.
create trigger zz_audit_insert after insert on private.platform_operators
  for each row execute function private.audit_change('operator', 'created_at', 'platform');
create trigger zz_audit_delete after delete on private.platform_operators
  for each row execute function private.audit_change('operator', 'created_at', 'platform');

revoke all on all functions in schema private from public;
