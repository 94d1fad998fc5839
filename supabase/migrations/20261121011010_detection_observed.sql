-- What the daemon observed of detection: whether an organization's rows are in force, how often a rule
-- on trial matched, how many matches were kept quiet about, and the risk of each agent.
-- None of it writes an intent column, and none is executable by people.

-- Matches of rules on trial, which raise no alert: one row per organization and rule.
create table public.shadow_matches (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  rule_id text not null,
  title text not null default '',
  matches bigint not null default 0,
  first_match_at timestamptz not null default now(),
  last_match_at timestamptz not null default now(),
  constraint shadow_matches_rule_is_unique_in_its_organization unique (org_id, rule_id),
  constraint rule_id_is_1_to_200_characters check (char_length(rule_id) between 1 and 200)
);

-- How much what was seen on an agent lately says against it.
create table public.agent_risk (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  score integer not null,
  -- The length of the window that the score looks back on.
  window_secs integer not null,
  -- What weighs most: [{"rule_id", "title", "risk"}], heaviest first.
  contributions jsonb not null default '[]',
  -- Until when the score holds if nothing more is seen, by the daemon's clock. A daemon that is alive
  -- writes a new one before; current_score() is what to show.
  valid_until timestamptz not null default now(),
  observed_at timestamptz not null default now(),
  constraint score_is_0_to_100 check (score between 0 and 100),
  constraint window_secs_is_positive check (window_secs > 0),
  constraint contributions_is_an_array_of_at_most_8_kib check (
    jsonb_typeof(contributions) = 'array' and octet_length(contributions::text) <= 8192
  )
);

-- Whether what an organization wants of detection is in force as a whole; its rows say so one by one.
create table public.detection_status (
  org_id uuid primary key references public.organizations (id) on delete cascade,
  status text not null,
  reason text not null default '',
  -- Hash of the organization's rules in force, if it has any.
  rule_set text,
  -- Which of its states is in force; null for none.
  observed_generation bigint,
  observed_at timestamptz not null default now(),
  constraint status_is_known check (status in ('accepted', 'suspended', 'crowded', 'not_read'))
);

alter table public.shadow_matches enable row level security;
alter table public.agent_risk enable row level security;
alter table public.detection_status enable row level security;
revoke all on public.shadow_matches, public.agent_risk, public.detection_status
from public, anon, authenticated, service_role;
grant select on public.shadow_matches, public.agent_risk, public.detection_status
to authenticated, service_role;

create policy members_read on public.shadow_matches for select to authenticated
using (org_id in (select private.my_orgs()));
create policy readers_read on public.agent_risk for select to authenticated
using (agent_id in (select private.my_agents()));
create policy members_read on public.detection_status for select to authenticated
using (org_id in (select private.my_orgs()));

-- Whether rows are in force ---------------------------------------------------------------------

create type private.detection_verdict as (
  kind text, id uuid, version bigint, status text, reason text, line integer, col integer,
  rule_set text
);

-- A verdict about a version that is not the row's any more is left out: another one is on its way.
create function public.report_detection(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  verdict private.detection_verdict;
  n_changed integer := 0;
  n_one integer;
begin
  for verdict in
    select r.* from private.report_elements(reports) with ordinality e (report, position)
    cross join lateral private.read_report(e.report, null::private.detection_verdict) r
    where r.status in ('accepted', 'refused', 'suspended', 'disabled', 'crowded', 'not_read')
    order by r.id, e.position
  loop
    verdict.reason := coalesce(private.clean_text(verdict.reason, 1000), '');
    if verdict.kind = 'rule'
      and verdict.status in ('accepted', 'refused', 'suspended', 'disabled') then
      update public.detection_rules d
      set status = verdict.status, reason = verdict.reason, fault_line = verdict.line,
        fault_column = verdict.col, rule_set = left(verdict.rule_set, 64),
        observed_version = verdict.version, observed_at = now()
      where d.id = verdict.id and d.version = verdict.version
        and (d.status, d.reason, d.fault_line, d.fault_column, d.rule_set, d.observed_version)
          is distinct from (
            verdict.status, verdict.reason, verdict.line, verdict.col, left(verdict.rule_set, 64),
            verdict.version
          );
    elsif verdict.kind = 'override' and verdict.status in ('accepted', 'refused') then
      update public.detection_overrides d
      set status = verdict.status, reason = verdict.reason, observed_version = verdict.version,
        observed_at = now()
      where d.id = verdict.id and d.version = verdict.version
        and (d.status, d.reason, d.observed_version)
          is distinct from (verdict.status, verdict.reason, verdict.version);
    elsif verdict.kind = 'suppression' and verdict.status in ('accepted', 'refused') then
      update public.suppressions d
      set status = verdict.status, reason = verdict.reason, observed_version = verdict.version,
        observed_at = now()
      where d.id = verdict.id and d.version = verdict.version
        and (d.status, d.reason, d.observed_version)
          is distinct from (verdict.status, verdict.reason, verdict.version);
    elsif verdict.kind = 'organization'
      and verdict.status in ('accepted', 'suspended', 'crowded', 'not_read') then
      insert into public.detection_status as d
        (org_id, status, reason, rule_set, observed_generation)
      select o.id, verdict.status, verdict.reason, left(verdict.rule_set, 64),
        nullif(verdict.version, 0)
      from public.organizations o where o.id = verdict.id
      on conflict (org_id) do update set
        status = excluded.status, reason = excluded.reason,
        -- What cannot be read leaves in force what was.
        rule_set = case when excluded.status = 'not_read' then d.rule_set else excluded.rule_set end,
        observed_generation = excluded.observed_generation, observed_at = now()
      where (d.status, d.reason, d.observed_generation)
          is distinct from (excluded.status, excluded.reason, excluded.observed_generation)
        or (excluded.status <> 'not_read' and d.rule_set is distinct from excluded.rule_set);
    else
      continue;
    end if;
    get diagnostics n_one = row_count;
    n_changed := n_changed + n_one;
  end loop;
  return n_changed;
end
$$;

-- Counts ----------------------------------------------------------------------------------------
-- Told are matches since the last time. An answer that was lost is told again, so a count may be
-- too high by one telling, and never too low.

create type private.shadow_report as (agent_id uuid, rule_id text, title text, matches bigint);
create type private.suppressed_report as (id uuid, agent_id uuid, matches bigint);

create function public.record_shadow_matches(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.shadow_matches as s (org_id, rule_id, title, matches)
  select a.org_id, left(r.rule_id, 200),
    coalesce(max(private.clean_text(r.title, 300)), ''), sum(r.matches)
  from private.report_elements(reports) e (report)
  cross join lateral private.read_report(e.report, null::private.shadow_report) r
  join public.agents a on a.id = r.agent_id
  where r.matches > 0 and r.rule_id <> ''
  group by a.org_id, left(r.rule_id, 200)
  order by 1, 2
  on conflict (org_id, rule_id) do update set
    title = excluded.title, matches = s.matches + excluded.matches, last_match_at = now();
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

-- Only on agents of the suppression's own organization.
create function public.record_suppressed(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  update public.suppressions s
  set suppressed = s.suppressed + told.matches, last_suppressed_at = now()
  from (
    select r.id, a.org_id, sum(r.matches) as matches
    from private.report_elements(reports) e (report)
    cross join lateral private.read_report(e.report, null::private.suppressed_report) r
    join public.agents a on a.id = r.agent_id
    where r.matches > 0
    group by r.id, a.org_id
  ) told
  where s.id = told.id and s.org_id = told.org_id;
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

-- Risk ------------------------------------------------------------------------------------------

create type private.risk_report as (
  agent_id uuid, score integer, window_secs integer, contributions jsonb, valid_until timestamptz
);

create function public.record_risk(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.agent_risk as k (agent_id, score, window_secs, contributions, valid_until)
  select distinct on (r.agent_id) r.agent_id, r.score, r.window_secs,
    case
      when jsonb_typeof(r.contributions) = 'array'
        and octet_length(r.contributions::text) <= 8192 then r.contributions
      else '[]'
    end,
    least(coalesce(r.valid_until, now()), now() + make_interval(secs => r.window_secs))
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral private.read_report(e.report, null::private.risk_report) r
  join public.agents a on a.id = r.agent_id
  where r.score between 0 and 100 and r.window_secs between 1 and 604800
  order by r.agent_id, e.position desc
  on conflict (agent_id) do update set
    score = excluded.score, window_secs = excluded.window_secs,
    contributions = excluded.contributions, valid_until = excluded.valid_until,
    observed_at = now()
  where (k.score, k.window_secs, k.contributions)
      is distinct from (excluded.score, excluded.window_secs, excluded.contributions)
    -- A score that lasts is written again only when it lasts noticeably longer.
    or excluded.valid_until > k.valid_until + make_interval(secs => excluded.window_secs) / 10;
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

-- The score as it is now, as a computed column: that of a daemon that died fades by itself.
create function public.current_score(public.agent_risk) returns integer
language sql stable set search_path = '' as $$
  select case when $1.valid_until > now() then $1.score else 0 end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.current_score(public.agent_risk) from public, anon;
grant execute on function public.current_score(public.agent_risk) to authenticated, service_role;
revoke all on function public.report_detection(jsonb) from public, anon, authenticated;
revoke all on function public.record_shadow_matches(jsonb) from public, anon, authenticated;
revoke all on function public.record_suppressed(jsonb) from public, anon, authenticated;
revoke all on function public.record_risk(jsonb) from public, anon, authenticated;
grant execute on function public.report_detection(jsonb) to service_role;
grant execute on function public.record_shadow_matches(jsonb) to service_role;
grant execute on function public.record_suppressed(jsonb) to service_role;
grant execute on function public.record_risk(jsonb) to service_role;

alter publication supabase_realtime add table
  public.shadow_matches, public.agent_risk, public.detection_status;
