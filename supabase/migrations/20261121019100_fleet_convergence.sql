-- Which hosts are as desired, since when, and if not, why: one row per agent the caller may read.
-- It stores nothing and believes no sign of life that is older than the lease.

-- Every reason has its message at the same place and its own beginning; a host has converged if and
-- only if there is none. A facet that a host has not reported is a reason, never a pass. No facet is
-- named here but those that have to be told: whatever else a host tells of its state counts by itself.
create view public.fleet_convergence with (security_invoker = true) as
select
  a.id as agent_id,
  a.name,
  a.org_id,
  p.is_online as online,
  g.generation as desired_generation,
  g.changed_at,
  f.generation as observed_generation,
  cardinality(r.reasons) = 0 as converged,
  case
    when cardinality(r.reasons) = 0 then least(now(), greatest(
      g.changed_at, t.observed_at, f.last_transition_at,
      connected.last_transition_at, held.last_transition_at
    ))
    else least(
      case when w.never is not null then a.created_at end,
      case when w.offline is not null then a.last_seen end,
      case when w.held is not null then held.last_transition_at end,
      case when w.wide is not null then g.changed_at end,
      case when a.last_seen is not null then f.since end,
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
      || 'for an admin to release it' end
  ], null)
    || case when a.last_seen is not null then f.messages else '{}' end
    || array_remove(array[
    case when w.behind is not null then format('generation %s is desired, and %s was read back',
      g.generation, coalesce(case w.behind when 'Ahead' then f.newest else f.generation end::text, 'none')) end
  ], null) as messages
from public.agents a
join public.desired_generations g on g.agent_id = a.id
left join public.agent_conditions held
  on held.agent_id = a.id and held.type = 'Held'
left join public.agent_conditions connected
  on connected.agent_id = a.id and connected.type = 'Connected'
left join public.desired_changes t
  on t.agent_id = a.id and t.generation = g.generation
cross join lateral (
  select a.is_online and coalesce(
    a.last_seen > now() - case
      when connected.status = 'true' and connected.reason = 'Polling' then interval '15 minutes'
      else interval '90 seconds'
    end,
    false
  ) as is_online
) p
cross join lateral (
  select
    case when bool_and(c.observed_generation is not null) then min(c.observed_generation) end as generation,
    max(c.observed_generation) as newest,
    bool_and(c.observed_generation is not distinct from g.generation) as is_current,
    max(c.last_transition_at) as last_transition_at,
    min(coalesce(c.last_transition_at, g.changed_at)) filter (where c.status is distinct from 'true') as since,
    coalesce(array_agg(type || '/' || coalesce(c.reason, 'NotReported') order by owed.place, type)
      filter (where c.status is distinct from 'true'), '{}') as reasons,
    coalesce(array_agg(coalesce(c.message, 'the host has not said yet') order by owed.place, type)
      filter (where c.status is distinct from 'true'), '{}') as messages
  from (
    select d.type, d.observed_generation, d.status, d.reason, d.message, d.last_transition_at
    from public.agent_conditions d
    where d.agent_id = a.id and d.type not in ('Connected', 'Held')
  ) c
  full join (
    values ('FirewallSynced', 1), ('FilesWatched', 2)
    union all
    select 'CollectionSynced', 3
    from public.collection_settings s
    where s.agent_id = a.id and coalesce(
      s.usage_interval, s.top_processes_interval, s.facts_interval, s.network_interval,
      s.process_poll_interval, nullif(s.sampling, 1)
    ) is not null
  ) owed (type, place) using (type)
  -- All that a host says of itself is of one generation: what is older is told no more.
  where owed.type is not null or c.observed_generation >= (
    select coalesce(max(n.observed_generation), 0) from public.agent_conditions n
    where n.agent_id = a.id and n.type = 'FirewallSynced'
  )
) f
cross join lateral (
  select
    case when a.last_seen is null then 'NeverConnected' end as never,
    case when a.last_seen is not null and not p.is_online then 'Offline' end as offline,
    case when held.status = 'true' then 'Held/' || held.reason end as held,
    -- The daemon's word says the same as soon as the host is there.
    case when g.hold is not null and (held.status = 'true' and held.reason = g.hold) is not true
      then 'Held/' || g.hold end as wide,
    case
      when a.last_seen is null or f.is_current then null
      when f.generation >= g.generation then 'Ahead'
      else 'Behind'
    end as behind
) w
cross join lateral (
  select array_remove(array[w.never, w.offline, w.held, w.wide], null)
    || case when a.last_seen is not null then f.reasons else '{}' end
    || array_remove(array[w.behind], null) as reasons
) r;

revoke all on public.fleet_convergence from public, anon, authenticated, service_role;
grant select on public.fleet_convergence to authenticated, service_role;
