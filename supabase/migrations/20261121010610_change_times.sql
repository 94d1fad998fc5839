-- How long a change took to reach its host: when it was written, sent, applied and seen applied, one
-- row per agent and generation. Latency is a query over them.
-- It is telemetry for people to look at: nothing is decided by it, and Realtime is not told.

create table public.desired_changes (
  agent_id uuid not null references public.agents (id) on delete cascade,
  generation bigint not null,
  -- The writer's transaction. The others are the daemon's clock.
  changed_at timestamptz,
  -- The daemon wrote it to the agent's connection.
  sent_at timestamptz,
  -- The agent said that it has accepted and applied it.
  applied_at timestamptz,
  -- Every facet was read back on the host as this generation wants it.
  observed_at timestamptz,
  recorded_at timestamptz not null default now(),
  primary key (agent_id, generation),
  constraint generation_is_positive check (generation > 0)
);

create index desired_changes_recorded_at on public.desired_changes (recorded_at);

alter table public.desired_changes enable row level security;
revoke all on public.desired_changes from public, anon, authenticated, service_role;
grant select on public.desired_changes to authenticated, service_role;

create policy readers_read on public.desired_changes for select to authenticated
using (agent_id in (select private.my_agents()));

create type private.change_report as (
  agent_id uuid, generation bigint, changed_at timestamptz, sent_at timestamptz,
  applied_at timestamptz, observed_at timestamptz
);

create function private.finite_time(at timestamptz) returns timestamptz
language sql immutable set search_path = '' as $$
  select case when isfinite(at) then at end
$$;

-- The first time told of a step wins: a generation that is sent again was sent before. When it was
-- changed is known here as long as it is the newest, whether it is told or not.
create function public.record_changes(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  with told as (
    select e.position, r.agent_id, r.generation,
      private.finite_time(r.changed_at) as changed_at, private.finite_time(r.sent_at) as sent_at,
      private.finite_time(r.applied_at) as applied_at,
      private.finite_time(r.observed_at) as observed_at
    from private.report_elements(reports) with ordinality e (report, position)
    cross join lateral private.read_report(e.report, null::private.change_report) r
    where r.generation > 0
  ),
  merged as (
    select t.agent_id, t.generation,
      (array_agg(t.changed_at order by t.position) filter (where t.changed_at is not null))[1]
        as changed_at,
      (array_agg(t.sent_at order by t.position) filter (where t.sent_at is not null))[1] as sent_at,
      (array_agg(t.applied_at order by t.position) filter (where t.applied_at is not null))[1]
        as applied_at,
      (array_agg(t.observed_at order by t.position) filter (where t.observed_at is not null))[1]
        as observed_at
    from told t
    group by t.agent_id, t.generation
  )
  insert into public.desired_changes as d (
    agent_id, generation, changed_at, sent_at, applied_at, observed_at
  )
  select m.agent_id, m.generation,
    coalesce(m.changed_at, case when g.generation = m.generation then g.changed_at end),
    m.sent_at, m.applied_at, m.observed_at
  from merged m
  join public.desired_generations g on g.agent_id = m.agent_id
  where num_nonnulls(m.changed_at, m.sent_at, m.applied_at, m.observed_at) > 0
  -- In one order, so that two daemons cannot deadlock.
  order by m.agent_id, m.generation
  on conflict (agent_id, generation) do update set
    changed_at = coalesce(d.changed_at, excluded.changed_at),
    sent_at = coalesce(d.sent_at, excluded.sent_at),
    applied_at = coalesce(d.applied_at, excluded.applied_at),
    observed_at = coalesce(d.observed_at, excluded.observed_at)
  where (d.changed_at is null and excluded.changed_at is not null)
    or (d.sent_at is null and excluded.sent_at is not null)
    or (d.applied_at is null and excluded.applied_at is not null)
    or (d.observed_at is null and excluded.observed_at is not null);
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.record_changes(jsonb) from public, anon, authenticated;
grant execute on function public.record_changes(jsonb) to service_role;
