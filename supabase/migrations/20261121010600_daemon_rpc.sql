-- What the daemon reads and reports: desired state out, conditions, presence and usage in.
-- None of these writes an intent column, and none is executable by people.

-- Everything desired of the agents asked for, one row per agent that exists. The text of a jsonb is
-- canonical, so equal documents have equal hashes.
create function public.desired_state(agent_ids uuid[])
returns table (agent_id uuid, generation bigint, content_hash text, document jsonb)
language sql stable security definer set search_path = '' as $$
  select g.agent_id, g.generation, private.sha256_hex(d.document::text), d.document
  from public.desired_generations g
  left join public.agent_stats s on s.agent_id = g.agent_id
  cross join lateral (
    select jsonb_build_object(
      'firewall_enabled', s.firewall_enabled,
      'monitored_files', coalesce(
        (
          select jsonb_agg(m.file_path order by m.file_path collate "C")
          from public.monitored_files m where m.agent_id = g.agent_id
        ),
        '[]'
      )
    ) as document
  ) d
  where g.agent_id = any (agent_ids)
$$;

-- The elements of a JSON array of objects, or 22023.
create function private.report_elements(given jsonb) returns setof jsonb
language plpgsql immutable set search_path = '' as $$
declare
  reports jsonb := private.json_argument(given);
begin
  if jsonb_typeof(reports) is distinct from 'array'
     or jsonb_path_exists(reports, '$[*] ? (@.type() != "object")') then
    raise exception using errcode = '22023', message = 'reports must be a JSON array of objects';
  end if;
  return query select e.value from jsonb_array_elements(reports) e;
end
$$;

-- The last report of a facet wins; equal rows are left alone, because every write of a published
-- table costs Realtime.
create function public.report_conditions(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.agent_conditions as c (
    agent_id, type, status, reason, message, observed_generation
  )
  select distinct on (r.agent_id, r.type)
    r.agent_id, r.type, r.status, r.reason, coalesce(left(r.message, 1000), ''),
    r.observed_generation
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral jsonb_to_record(e.report) r (
    agent_id uuid, type text, status text, reason text, message text, observed_generation bigint
  )
  join public.agents a on a.id = r.agent_id
  order by r.agent_id, r.type, e.position desc
  on conflict (agent_id, type) do update set
    status = excluded.status,
    reason = excluded.reason,
    message = excluded.message,
    observed_generation = excluded.observed_generation,
    last_transition_at =
      case when c.status = excluded.status then c.last_transition_at else now() end
  where (c.status, c.reason, c.message, c.observed_generation)
    is distinct from
    (excluded.status, excluded.reason, excluded.message, excluded.observed_generation);
  get diagnostics n_changed = row_count;
  return n_changed;
exception when check_violation or not_null_violation or data_exception then
  raise exception using errcode = '22023', message = format('bad condition: %s', sqlerrm);
end
$$;

create function public.record_presence(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  with latest as materialized (
    select distinct on (r.agent_id)
      r.agent_id, coalesce(r.online, false) as online, coalesce(r.at, now()) as at,
      left(r.hostname, 255) as hostname, left(r.os, 100) as os, left(r.arch, 100) as arch,
      left(r.agent_version, 100) as agent_version
    from private.report_elements(reports) with ordinality e (report, position)
    cross join lateral jsonb_to_record(e.report) r (
      agent_id uuid, online boolean, at timestamptz, hostname text, os text, arch text,
      agent_version text
    )
    order by r.agent_id, e.position desc
  ),
  locked as materialized (
    -- In one order, so that two daemons cannot deadlock.
    select a.id from public.agents a
    join latest l on l.agent_id = a.id
    order by a.id
    for no key update of a
  ),
  installed as (
    update public.agent_stats s set is_installed = true, updated_at = now()
    from locked join latest l on l.agent_id = locked.id
    where s.agent_id = locked.id and l.online and not s.is_installed
  )
  update public.agents a
  set is_online = l.online,
      last_seen = greatest(a.last_seen, l.at),
      hostname = coalesce(l.hostname, a.hostname),
      os = coalesce(l.os, a.os),
      arch = coalesce(l.arch, a.arch),
      agent_version = coalesce(l.agent_version, a.agent_version)
  from locked join latest l on l.agent_id = locked.id
  where a.id = locked.id
    and (
      a.is_online <> l.online
      or a.last_seen is null
      or a.last_seen < l.at
      or a.hostname is distinct from coalesce(l.hostname, a.hostname)
      or a.os is distinct from coalesce(l.os, a.os)
      or a.arch is distinct from coalesce(l.arch, a.arch)
      or a.agent_version is distinct from coalesce(l.agent_version, a.agent_version)
    );
  get diagnostics n_changed = row_count;
  return n_changed;
exception when data_exception then
  raise exception using errcode = '22023', message = format('bad presence report: %s', sqlerrm);
end
$$;

-- A daemon that has just started holds no connection, whatever its predecessor wrote last.
create function public.reset_presence() returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  update public.agents set is_online = false where is_online;
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

create function public.record_usage(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.agent_stats as s (
    agent_id, cpu_usage, ram_usage, storage_usage, firewall_active, updated_at
  )
  select distinct on (r.agent_id)
    r.agent_id, coalesce(r.cpu_usage, 0), coalesce(r.ram_usage, 0), coalesce(r.storage_usage, 0),
    r.firewall_active, now()
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral jsonb_to_record(e.report) r (
    agent_id uuid, cpu_usage numeric, ram_usage numeric, storage_usage numeric,
    firewall_active boolean
  )
  join public.agents a on a.id = r.agent_id
  order by r.agent_id, e.position desc
  on conflict (agent_id) do update set
    cpu_usage = excluded.cpu_usage,
    ram_usage = excluded.ram_usage,
    storage_usage = excluded.storage_usage,
    firewall_active = excluded.firewall_active,
    updated_at = excluded.updated_at;
  get diagnostics n_changed = row_count;
  return n_changed;
exception when data_exception then
  raise exception using errcode = '22023', message = format('bad usage report: %s', sqlerrm);
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.desired_state(uuid[]) from public, anon, authenticated;
revoke all on function public.report_conditions(jsonb) from public, anon, authenticated;
revoke all on function public.record_presence(jsonb) from public, anon, authenticated;
revoke all on function public.reset_presence() from public, anon, authenticated;
revoke all on function public.record_usage(jsonb) from public, anon, authenticated;
grant execute on function public.desired_state(uuid[]) to service_role;
grant execute on function public.report_conditions(jsonb) to service_role;
grant execute on function public.record_presence(jsonb) to service_role;
grant execute on function public.reset_presence() to service_role;
grant execute on function public.record_usage(jsonb) to service_role;
