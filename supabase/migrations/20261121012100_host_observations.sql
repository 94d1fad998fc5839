-- What a host is and what runs on it, as its agent found it: one row per agent each, replaced whole.
-- People read them and the daemon alone writes them, through the functions below. Neither is
-- published: a snapshot of a fleet every few minutes would be most of what Realtime has to do.

create table public.agent_processes (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  taken_at timestamptz not null default now(),
  -- How many there were; listed are those that take most of the host.
  total integer not null,
  -- Each {pid, name, command, user, cpu, memory_kib}; cpu in percent of one core.
  processes jsonb not null default '[]',
  constraint total_is_not_negative check (total >= 0),
  constraint processes_is_an_array_of_at_most_200 check (
    case jsonb_typeof(processes) when 'array' then jsonb_array_length(processes) <= 200 else false end
  ),
  constraint processes_is_at_most_256_kib check (octet_length(processes::text) <= 262144)
);

-- What the purge looks for.
create index agent_processes_taken_at on public.agent_processes (taken_at);

create table public.agent_facts (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  hostname text,
  os_name text,
  os_id text,
  os_version text,
  kernel text,
  arch text,
  booted_at timestamptz,
  virtualization text,
  -- Each {name, mac, up, addresses}.
  interfaces jsonb not null default '[]',
  -- Each {protocol, port, address, process}; null is unknown.
  open_ports jsonb,
  -- Null is unknown, as on hosts without the package lists the agent can read.
  pending_updates integer,
  pending_security_updates integer,
  -- When the host last fetched the lists the two numbers come from.
  update_lists_at timestamptz,
  -- Why it is not known which updates wait.
  updates_unknown text,
  antivirus_name text,
  antivirus_running boolean,
  antivirus_signatures_at timestamptz,
  time_source text,
  time_synchronized boolean,
  -- When the agent last told another value of any of these.
  updated_at timestamptz not null default now(),
  constraint interfaces_is_an_array_of_at_most_128_kib check (
    jsonb_typeof(interfaces) = 'array' and octet_length(interfaces::text) <= 131072
  ),
  constraint open_ports_is_an_array_of_at_most_128_kib check (
    jsonb_typeof(open_ports) = 'array' and octet_length(open_ports::text) <= 131072
  )
);

alter table public.agent_processes enable row level security;
alter table public.agent_facts enable row level security;
revoke all on public.agent_processes, public.agent_facts
from public, anon, authenticated, service_role;
grant select on public.agent_processes, public.agent_facts to authenticated, service_role;

create policy readers_read on public.agent_processes for select to authenticated
using (agent_id in (select private.my_agents()));

create policy readers_read on public.agent_facts for select to authenticated
using (agent_id in (select private.my_agents()));

-- Reports -------------------------------------------------------------------------------------

create type private.processes_report as (
  agent_id uuid, age double precision, total integer, processes jsonb
);

create type private.facts_report as (
  agent_id uuid, hostname text, os_name text, os_id text, os_version text, kernel text, arch text,
  booted_at timestamptz, virtualization text, interfaces jsonb, open_ports jsonb,
  pending_updates integer, pending_security_updates integer, update_lists_at timestamptz,
  updates_unknown text, antivirus_name text, antivirus_running boolean, antivirus_signatures_at timestamptz,
  time_source text, time_synchronized boolean
);

-- The elements of a list that are objects, up to a number, or null if it is no list.
create function private.clean_objects(given jsonb, most integer) returns jsonb
language sql immutable set search_path = '' as $$
  select case when jsonb_typeof(given) = 'array' then coalesce(
    (
      select jsonb_agg(e.value order by e.position)
      from jsonb_array_elements(given) with ordinality e (value, position)
      where e.position <= most and jsonb_typeof(e.value) = 'object'
    ),
    '[]'
  ) end
$$;

-- How many reports have lists that are too long to be kept; their rows stay as they are.
create function private.count_too_long(reports jsonb, list_names text[], most integer) returns integer
language sql stable set search_path = '' as $$
  select count(*)::integer from private.report_elements(reports) e (report)
  where exists (
    select from unnest(list_names) n (name)
    where octet_length((e.report -> n.name)::text) > most
  )
$$;

-- The newest readable snapshot of an agent wins. One of the same moment changes nothing.
create function public.record_processes(reports jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.agent_processes as p (agent_id, taken_at, total, processes)
  select distinct on (r.agent_id)
    r.agent_id, private.report_time(r.age), greatest(coalesce(r.total, 0), 0), c.list
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral private.read_report(e.report, null::private.processes_report) r
  cross join lateral private.clean_objects(r.processes, 200) c (list)
  join public.agents a on a.id = r.agent_id
  where octet_length(c.list::text) <= 262144
  order by r.agent_id, private.report_time(r.age) desc, e.position desc
  on conflict (agent_id) do update set
    taken_at = excluded.taken_at, total = excluded.total, processes = excluded.processes
  where p.taken_at < excluded.taken_at;
  get diagnostics n_changed = row_count;
  return jsonb_build_object('changed', n_changed,
    'too_long', private.count_too_long(reports, array['processes'], 262144));
end
$$;

-- The last readable report of an agent wins; equal rows are left alone, because every agent tells
-- its facts at every connect.
create function public.record_facts(reports jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.agent_facts as f (
    agent_id, hostname, os_name, os_id, os_version, kernel, arch, booted_at, virtualization,
    interfaces, open_ports, pending_updates, pending_security_updates, update_lists_at,
    updates_unknown, antivirus_name, antivirus_running, antivirus_signatures_at, time_source, time_synchronized
  )
  select distinct on (r.agent_id)
    r.agent_id, nullif(private.clean_text(r.hostname, 255), ''),
    nullif(private.clean_text(r.os_name, 128), ''), nullif(private.clean_text(r.os_id, 64), ''),
    nullif(private.clean_text(r.os_version, 64), ''), nullif(private.clean_text(r.kernel, 128), ''),
    nullif(private.clean_text(r.arch, 32), ''), r.booted_at,
    nullif(private.clean_text(r.virtualization, 64), ''),
    coalesce(i.list, '[]'), o.list,
    r.pending_updates, r.pending_security_updates, r.update_lists_at,
    nullif(private.clean_text(r.updates_unknown, 200), ''),
    nullif(private.clean_text(r.antivirus_name, 64), ''), r.antivirus_running,
    r.antivirus_signatures_at, nullif(private.clean_text(r.time_source, 64), ''),
    r.time_synchronized
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral private.read_report(e.report, null::private.facts_report) r
  cross join lateral private.clean_objects(r.interfaces, 64) i (list)
  cross join lateral private.clean_objects(r.open_ports, 256) o (list)
  join public.agents a on a.id = r.agent_id
  where octet_length(coalesce(i.list, '[]')::text) <= 131072
    and octet_length(coalesce(o.list, '[]')::text) <= 131072
  order by r.agent_id, e.position desc
  on conflict (agent_id) do update set
    hostname = excluded.hostname, os_name = excluded.os_name, os_id = excluded.os_id,
    os_version = excluded.os_version, kernel = excluded.kernel, arch = excluded.arch,
    booted_at = excluded.booted_at, virtualization = excluded.virtualization,
    interfaces = excluded.interfaces, open_ports = excluded.open_ports,
    pending_updates = excluded.pending_updates,
    pending_security_updates = excluded.pending_security_updates,
    update_lists_at = excluded.update_lists_at, updates_unknown = excluded.updates_unknown,
    antivirus_name = excluded.antivirus_name,
    antivirus_running = excluded.antivirus_running,
    antivirus_signatures_at = excluded.antivirus_signatures_at,
    time_source = excluded.time_source, time_synchronized = excluded.time_synchronized,
    updated_at = now()
  where (to_jsonb(f) - 'updated_at') is distinct from (to_jsonb(excluded) - 'updated_at');
  get diagnostics n_changed = row_count;
  return jsonb_build_object('changed', n_changed,
    'too_long', private.count_too_long(reports, array['interfaces', 'open_ports'], 131072));
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.record_processes(jsonb) from public, anon, authenticated;
revoke all on function public.record_facts(jsonb) from public, anon, authenticated;
grant execute on function public.record_processes(jsonb) to service_role;
grant execute on function public.record_facts(jsonb) to service_role;
