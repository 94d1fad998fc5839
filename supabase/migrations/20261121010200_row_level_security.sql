-- Every right of people and of the daemon on the tables made before this file: grants first, then one
-- policy per table, role and command. Tables made later bring theirs along. No function is granted
-- here, and nothing is ever granted to anon.
--
-- Law: intent and observation never share a writer. People may write intent columns and nothing
-- that was observed; the daemon (service_role) may write no intent. What the daemon writes goes
-- through functions, so it holds hardly any right on tables.
--
-- Update policies let in whoever may see the row and check for whoever may change it: a read-only
-- person gets 42501 (HTTP 403) instead of a silent zero rows. Deletes have no check, so a trigger
-- at the end of this file raises the same error.

-- Projects made before 2026 grant everything in public by default.
revoke all on
  public.organizations, public.organization_members, public.operator_looks, public.agents,
  public.agent_users,
  public.agent_stats, public.monitored_files, public.desired_generations,
  public.agent_conditions, public.alerts, public.alert_notifications, public.account_notifications,
  public.agent_keys,
  public.agent_tokens
from public, anon, authenticated, service_role;

grant select on
  public.organizations, public.organization_members, public.operator_looks, public.agents,
  public.agent_users,
  public.agent_stats, public.monitored_files, public.desired_generations,
  public.agent_conditions, public.alerts, public.alert_notifications, public.account_notifications,
  public.agent_keys,
  public.agent_tokens
to authenticated, service_role;

-- People --------------------------------------------------------------------------------------

grant update (name, settings) on public.organizations to authenticated;

grant insert (id, name, owner_id, org_id), update (name, owner_id), delete
on public.agents to authenticated;

grant insert (agent_id, user_id, role), update (role), delete on public.agent_users
to authenticated;

-- Without firewall_enabled on insert: the row exists already, and an upsert whose insert is skipped
-- would lose the intent silently. Intent is an update.
grant insert (agent_id), update (firewall_enabled) on public.agent_stats to authenticated;

grant insert (id, agent_id, file_path, added_by), update (file_path), delete
on public.monitored_files to authenticated;

grant update (resolved, resolved_at, resolved_by, acknowledged_at, acknowledged_by), delete
on public.alerts to authenticated;

grant update (status, waiting_key) on public.agent_keys to authenticated;

grant update (revoked_at) on public.agent_tokens to authenticated;

-- Operators' scripts with the secret key ------------------------------------------------------

grant insert, update, delete on public.organizations, public.organization_members, public.agents,
  public.agent_users, public.alerts
to service_role;

grant insert (agent_id, is_installed, cpu_usage, ram_usage, storage_usage, firewall_active),
  update (is_installed, cpu_usage, ram_usage, storage_usage, firewall_active, updated_at)
on public.agent_stats to service_role;

-- Organizations -------------------------------------------------------------------------------

create policy members_read on public.organizations for select to authenticated
using (id in (select private.my_orgs()));

create policy admins_update on public.organizations for update to authenticated
using (id in (select private.my_orgs()))
with check (id in (select private.my_admin_orgs()));

create policy members_read on public.organization_members for select to authenticated
using (org_id in (select private.my_orgs()));

-- Whoever is looked at is told who looks.
create policy admins_and_operators_read on public.operator_looks for select to authenticated
using (
  org_id in (select private.my_admin_orgs())
  or operator_id = (select private.caller())
);

-- Agents --------------------------------------------------------------------------------------
-- By the row's own columns, not by my_agents(): a row just inserted is not in any set yet, and
-- "insert … returning" has to show it, even if its organization was made in the same statement.

create policy readers_read on public.agents for select to authenticated
using (
  org_id in (select private.my_orgs())
  or id in (select private.my_shared_agents())
  or (owner_id = (select private.caller()) and org_id in (select private.my_admin_orgs_now()))
);

create policy admins_insert on public.agents for insert to authenticated
with check (
  owner_id = (select private.caller())
  and org_id in (select private.my_admin_orgs_now())
);

create policy admins_update on public.agents for update to authenticated
using (id in (select private.my_agents()))
with check (id in (select private.my_admin_agents()));

create policy readers_delete on public.agents for delete to authenticated
using (id in (select private.my_agents()));

create policy readers_read on public.agent_users for select to authenticated
using (agent_id in (select private.my_agents()));

create policy admins_insert on public.agent_users for insert to authenticated
with check (agent_id in (select private.my_admin_agents()));

create policy admins_update on public.agent_users for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));

create policy readers_delete on public.agent_users for delete to authenticated
using (agent_id in (select private.my_agents()));

create policy readers_read on public.agent_stats for select to authenticated
using (agent_id in (select private.my_agents()));

create policy admins_insert on public.agent_stats for insert to authenticated
with check (agent_id in (select private.my_admin_agents()));

create policy admins_update on public.agent_stats for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));

-- Desired and observed state ------------------------------------------------------------------

create policy readers_read on public.monitored_files for select to authenticated
using (agent_id in (select private.my_agents()));

create policy admins_insert on public.monitored_files for insert to authenticated
with check (
  agent_id in (select private.my_admin_agents())
  and added_by = (select private.caller())
);

create policy admins_update on public.monitored_files for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));

create policy readers_delete on public.monitored_files for delete to authenticated
using (agent_id in (select private.my_agents()));

create policy readers_read on public.desired_generations for select to authenticated
using (agent_id in (select private.my_agents()));

create policy readers_read on public.agent_conditions for select to authenticated
using (agent_id in (select private.my_agents()));

-- Alerts --------------------------------------------------------------------------------------

create policy readers_read on public.alerts for select to authenticated
using (agent_id in (select private.my_agents()));

create policy admins_update on public.alerts for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));

create policy readers_delete on public.alerts for delete to authenticated
using (agent_id in (select private.my_agents()));

-- Addresses of colleagues are for admins; everybody sees what was sent to them.
create policy recipients_and_admins_read on public.alert_notifications for select to authenticated
using (
  recipient_id = (select private.caller())
  or agent_id in (select private.my_admin_agents())
);

create policy recipients_read on public.account_notifications for select to authenticated
using (user_id = (select private.caller()));

-- Identity of agents --------------------------------------------------------------------------

create policy readers_read on public.agent_keys for select to authenticated
using (agent_id in (select private.my_agents()));

create policy admins_update on public.agent_keys for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));

create policy members_read on public.agent_tokens for select to authenticated
using (org_id in (select private.my_orgs()));

create policy admins_update on public.agent_tokens for update to authenticated
using (org_id in (select private.my_orgs()))
with check (org_id in (select private.my_admin_orgs()));

-- Handing an agent over ------------------------------------------------------------------------
-- The policy above lets in everybody who may change the agent; naming its owner takes more.

create function private.check_new_owner() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.owner_id is not distinct from old.owner_id then
    return new;
  end if;
  if auth.uid() is not null and new.org_id not in (select private.my_admin_orgs()) then
    raise exception using errcode = '42501',
      message = 'naming another owner of an agent takes the role owner or admin in its organization';
  end if;
  if not exists (
    select from public.organization_members m
    where m.org_id = new.org_id and m.user_id = new.owner_id
  ) then
    raise exception using errcode = '22023',
      message = 'the owner of an agent must be a member of its organization';
  end if;
  return new;
end
$$;

create trigger check_new_owner before update of owner_id on public.agents
  for each row execute function private.check_new_owner();

-- Deletes by read-only people -----------------------------------------------------------------
-- After the statement and over all its rows at once: a row trigger would ask for the caller's
-- agents once per row. row_security_active() is false for owners and the daemon, which may not even
-- look into schema private; hence a statement of its own.

-- Agents that are gone took their rows with them: whoever deleted the agent was checked there.
create function private.may_change_all(agents uuid[]) returns boolean
language sql stable security definer set search_path = '' as $$
  select not exists (
    select from public.agents a
    where a.id = any (agents) and a.id not in (select private.my_admin_agents())
  )
$$;

create function private.refuse_read_only_delete() returns trigger
language plpgsql set search_path = '' as $$
begin
  if not row_security_active(tg_relid) then
    return null;
  end if;
  if not private.may_change_all(array(select distinct agent_id from deleted)) then
    raise exception using errcode = '42501',
      message = format('you may read these rows of %s but not delete them', tg_table_name),
      hint = 'Ask an owner or admin of the organization.';
  end if;
  return null;
end
$$;

create trigger refuse_read_only_delete after delete on public.monitored_files
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_delete();

create trigger refuse_read_only_delete after delete on public.alerts
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_delete();

-- An agent that is gone is in no set any more, so its own columns are asked.
create function private.refuse_read_only_agent_delete() returns trigger
language plpgsql set search_path = '' as $$
begin
  if not row_security_active(tg_relid) then
    return null;
  end if;
  if exists (
    select from deleted
    where deleted.org_id not in (select private.my_admin_orgs())
      and not (
        deleted.owner_id = (select private.caller())
        and deleted.org_id in (select private.my_member_orgs())
      )
  ) then
    raise exception using errcode = '42501',
      message = 'you may read these agents but not delete them',
      hint = 'Ask the owner of the agent or an owner or admin of its organization.';
  end if;
  return null;
end
$$;

create trigger refuse_read_only_delete after delete on public.agents
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_agent_delete();

-- Anybody may give up their own access.
create function private.refuse_read_only_unsharing() returns trigger
language plpgsql set search_path = '' as $$
begin
  if not row_security_active(tg_relid) then
    return null;
  end if;
  if not private.may_change_all(
    array(select distinct agent_id from deleted where user_id <> (select private.caller()))
  ) then
    raise exception using errcode = '42501',
      message = 'you may end your own access to an agent but not that of others',
      hint = 'Ask the owner of the agent or an owner or admin of its organization.';
  end if;
  return null;
end
$$;

create trigger refuse_read_only_delete after delete on public.agent_users
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_unsharing();

revoke all on all functions in schema private from public;
grant execute on function private.may_change_all(uuid[]) to authenticated;
