-- Which hosts are as desired, since when, and if not, why: one row per agent the caller may read.
-- It stores nothing and believes no sign of life that is older than the lease.

-- Every reason has its message at the same place and its own beginning; a host has converged if and
-- only if there is none. A facet that a host has not reported is a reason, never a pass.
create view public.fleet_convergence with (security_invoker = true) as
select
  a.id as agent_id,
  a.name,
  a.org_id,
  p.is_online as online,
  g.generation as desired_generation,
  g.changed_at,
  o.generation as observed_generation,
  cardinality(r.reasons) = 0 as converged,
  case
    when cardinality(r.reasons) = 0 then least(now(), greatest(
      g.changed_at, t.observed_at, firewall.last_transition_at, files.last_transition_at,
      connected.last_transition_at, held.last_transition_at
    ))
    else least(
      case when w.never is not null then a.created_at end,
      case when w.offline is not null then a.last_seen end,
      case when w.held is not null then held.last_transition_at end,
      case when w.wide is not null then g.changed_at end,
      case when w.firewall is not null then coalesce(firewall.last_transition_at, g.changed_at) end,
      case when w.files is not null then coalesce(files.last_transition_at, g.changed_at) end,
      case when w.behind is not null then g.changed_at end
    )
  end as since,
  r.reasons,
  array_remove(array[
    case when w.never is not null then 'the agent has never connected' end,
    case when w.offline is not null then 'last heard of at '
      || to_char(a.last_seen at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') end,
    case when w.held is not null then held.message end,
    case when w.wide is not null then 'the change reached too many hosts within a minute and waits '
      || 'for an admin to release it' end,
    case when w.firewall is not null then coalesce(firewall.message, 'the host has not said yet') end,
    case when w.files is not null then coalesce(files.message, 'the host has not said yet') end,
    case when w.behind is not null then format('generation %s is desired, and %s was read back',
      g.generation, coalesce(case w.behind
        when 'Ahead' then greatest(firewall.observed_generation, files.observed_generation)
        else o.generation
      end::text, 'none')) end
  ], null) as messages
from public.agents a
join public.desired_generations g on g.agent_id = a.id
left join public.agent_conditions firewall
  on firewall.agent_id = a.id and firewall.type = 'FirewallSynced'
left join public.agent_conditions files
  on files.agent_id = a.id and files.type = 'FilesWatched'
left join public.agent_conditions held
  on held.agent_id = a.id and held.type = 'Held'
left join public.agent_conditions connected
  on connected.agent_id = a.id and connected.type = 'Connected'
left join public.desired_changes t
  on t.agent_id = a.id and t.generation = g.generation
cross join lateral (
  select a.is_online and coalesce(a.last_seen > now() - interval '90 seconds', false) as is_online
) p
cross join lateral (
  select case
    when firewall.observed_generation is not null and files.observed_generation is not null
      then least(firewall.observed_generation, files.observed_generation)
  end as generation
) o
cross join lateral (
  select
    case when a.last_seen is null then 'NeverConnected' end as never,
    case when a.last_seen is not null and not p.is_online then 'Offline' end as offline,
    case when held.status = 'true' then 'Held/' || held.reason end as held,
    -- The daemon's word says the same as soon as the host is there.
    case when g.hold is not null and (held.status = 'true' and held.reason = g.hold) is not true
      then 'Held/' || g.hold end as wide,
    case when a.last_seen is not null and firewall.status is distinct from 'true'
      then 'FirewallSynced/' || coalesce(firewall.reason, 'NotReported') end as firewall,
    case when a.last_seen is not null and files.status is distinct from 'true'
      then 'FilesWatched/' || coalesce(files.reason, 'NotReported') end as files,
    case
      when a.last_seen is null then null
      when firewall.observed_generation is not distinct from g.generation
        and files.observed_generation is not distinct from g.generation then null
      when o.generation >= g.generation then 'Ahead'
      else 'Behind'
    end as behind
) w
cross join lateral (
  select array_remove(
    array[w.never, w.offline, w.held, w.wide, w.firewall, w.files, w.behind], null
  ) as reasons
) r;

revoke all on public.fleet_convergence from public, anon, authenticated, service_role;
grant select on public.fleet_convergence to authenticated, service_role;
