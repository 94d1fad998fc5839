-- What the daemon reports: conditions, presence and usage.
-- None of these writes an intent column, and none is executable by people.

-- One report of each kind, as the daemon sends it. Tenants share calls, so one element that cannot be
-- read must not cost the others theirs: it is left out.
create type private.condition_report as (
  agent_id uuid, type text, status text, reason text, message text, observed_generation bigint,
  subjects jsonb, transition_at timestamptz
);
create type private.presence_report as (
  agent_id uuid, online boolean, age double precision, hostname text, os text, arch text,
  agent_version text, retires_keys boolean
);
create type private.usage_report as (
  agent_id uuid, cpu_usage numeric, ram_usage numeric, storage_usage numeric,
  firewall_active boolean, details jsonb
);

-- The elements of a JSON array, or 22023.
create function private.report_elements(given jsonb) returns setof jsonb
language plpgsql immutable set search_path = '' as $$
declare
  reports jsonb;
begin
  begin
    reports := private.json_argument(given);
  exception when data_exception then
    reports := null;
  end;
  if jsonb_typeof(reports) is distinct from 'array' then
    raise exception using errcode = '22023', message = 'reports must be a JSON array of objects';
  end if;
  return query select e.value from jsonb_array_elements(reports) e;
end
$$;

-- An element in the given shape, or nulls if a value does not fit.
create function private.read_report(report jsonb, shape anyelement) returns anyelement
language plpgsql stable set search_path = '' as $$
begin
  if jsonb_typeof(report) <> 'object' then
    return null;
  end if;
  return jsonb_populate_record(shape, report);
exception when data_exception then
  return null;
end
$$;

-- The things a condition names, in one shape and small enough for a row: a hundred at most, and of
-- those as many as fit into 60 KiB. How many were left out is said in a last one.
create function private.clean_subjects(given jsonb) returns jsonb
language sql immutable set search_path = '' as $$
  with elements as (
    select case jsonb_typeof(given) when 'array' then given else '[]' end as list
  ),
  cleaned as (
    select e.position,
      jsonb_build_object(
        'subject', private.clean_text(e.value ->> 'subject', 4096),
        'status', case when e.value ->> 'status' in ('true', 'false') then e.value ->> 'status'
          else 'unknown' end,
        'reason', coalesce(nullif(private.clean_text(e.value ->> 'reason', 100), ''), 'Unspecified'),
        'message', coalesce(private.clean_text(e.value ->> 'message', 1000), '')
      ) as subject
    from elements, jsonb_array_elements(elements.list) with ordinality e (value, position)
    where e.position <= 100 and private.clean_text(e.value ->> 'subject', 4096) <> ''
  ),
  fitting as (
    select * from (
      select *, sum(octet_length(c.subject::text) + 2) over (order by c.position) as n_bytes
      from cleaned c
    ) measured
    where measured.n_bytes <= 61440
  ),
  kept as (
    select coalesce(jsonb_agg(f.subject order by f.position), '[]') as list from fitting f
  )
  select kept.list || case jsonb_array_length(elements.list) - jsonb_array_length(kept.list)
    when 0 then '[]'
    else jsonb_build_array(jsonb_build_object(
      'subject', '', 'status', 'unknown', 'reason', 'Omitted', 'message', format(
        '%s more are not listed', jsonb_array_length(elements.list) - jsonb_array_length(kept.list)
      )
    ))
  end
  from kept, elements
$$;

-- The last readable report of a facet wins; equal rows are left alone, because every write of a
-- published table costs Realtime. A report that tells of a transition moves the time also where the
-- status is the row's again: what lay between was over before it could be written.
create function public.report_conditions(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.agent_conditions as c (
    agent_id, type, status, reason, message, observed_generation, subjects, last_transition_at
  )
  select distinct on (r.agent_id, r.type)
    r.agent_id, r.type, r.status,
    coalesce(nullif(private.clean_text(r.reason, 100), ''), 'Unspecified'),
    coalesce(private.clean_text(r.message, 1000), ''),
    r.observed_generation,
    case when r.subjects is null then '[]' else private.clean_subjects(r.subjects) end,
    -- What is told lies before now(), so that now() itself says that nothing was told.
    case
      when isfinite(r.transition_at) then least(r.transition_at, now() - interval '1 microsecond')
      else now()
    end
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral private.read_report(e.report, null::private.condition_report) r
  join public.agents a on a.id = r.agent_id
  where r.status in ('true', 'false', 'unknown')
    -- A type is an identity: one that would have to be cleaned is not one we know.
    and r.type <> '' and r.type = private.clean_text(r.type, 100)
  order by r.agent_id, r.type, e.position desc
  on conflict (agent_id, type) do update set
    status = excluded.status,
    reason = excluded.reason,
    message = excluded.message,
    observed_generation = excluded.observed_generation,
    subjects = excluded.subjects,
    last_transition_at = case
      when excluded.last_transition_at < now()
        and excluded.last_transition_at > c.last_transition_at then excluded.last_transition_at
      when c.status <> excluded.status then now()
      else c.last_transition_at
    end
  where (c.status, c.reason, c.message, c.observed_generation, c.subjects)
    is distinct from (
      excluded.status, excluded.reason, excluded.message, excluded.observed_generation,
      excluded.subjects
    )
    or (
      excluded.last_transition_at < now() and excluded.last_transition_at > c.last_transition_at
    );
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

-- When a report was made. Its age is told, not its time: the daemon's clock may be wrong, and one
-- that runs behind would let everybody's lease expire. What is infinite or no number is old.
create function private.report_time(age double precision) returns timestamptz
language sql stable set search_path = '' as $$
  select now() - make_interval(secs => least(greatest(coalesce(age, 0), 0), 1e9))
$$;

create function public.record_presence(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
  differing uuid[];
begin
  with latest as materialized (
    select distinct on (r.agent_id)
      r.agent_id, r.online, private.report_time(r.age) as at,
      nullif(private.clean_text(r.hostname, 255), '') as hostname,
      nullif(private.clean_text(r.os, 100), '') as os,
      nullif(private.clean_text(r.arch, 100), '') as arch,
      nullif(private.clean_text(r.agent_version, 100), '') as agent_version,
      r.retires_keys
    from private.report_elements(reports) with ordinality e (report, position)
    cross join lateral private.read_report(e.report, null::private.presence_report) r
    where r.online is not null
    order by r.agent_id, private.report_time(r.age) desc, e.position desc
  ),
  news as materialized (
    -- In one order, so that two daemons cannot deadlock.
    select l.*,
      (a.is_online, a.hostname, a.os, a.arch, a.agent_version, a.retires_keys) is distinct from (
        l.online, coalesce(l.hostname, a.hostname), coalesce(l.os, a.os),
        coalesce(l.arch, a.arch), coalesce(l.agent_version, a.agent_version),
        coalesce(l.retires_keys, a.retires_keys)
      ) as differs,
      l.retires_keys <> a.retires_keys as is_other_program
    from public.agents a
    join latest l on l.agent_id = a.id
    -- The end of a connection that another daemon has replaced already. Ages do not count how long a
    -- report was under way, so a few seconds say nothing; one daemon tells its own in order.
    where l.online or a.last_seen is null or l.at >= a.last_seen - interval '10 seconds'
    order by a.id
    for no key update of a
  ),
  installed as (
    update public.agent_stats s set is_installed = true, updated_at = now()
    from news n
    where s.agent_id = n.agent_id and n.online and not s.is_installed
  ),
  -- What expire_presence() said is taken back; the daemon itself says it once, at the connect. With
  -- every sign of life, because an expiry at the same moment is not seen here.
  heard_again as (
    update public.agent_conditions c
    set status = 'true',
        reason = case c.reason
          when 'LeaseExpired' then 'Connected' when 'PollingLapsed' then 'Polling' else c.reason
        end,
        message = case c.reason
          when 'LeaseExpired' then 'the agent is connected; for a while nothing was heard of it'
          else 'the agent asks over HTTP; for a while nothing was heard of it'
        end,
        last_transition_at = now()
    from news n
    where c.agent_id = n.agent_id and n.online and c.type = 'Connected'
      and (
        c.reason in ('LeaseExpired', 'PollingLapsed') or c.reason = 'Polled' and c.status = 'false'
      )
  ),
  changed as (
    update public.agents a
    set is_online = n.online,
        last_seen = greatest(a.last_seen, n.at),
        hostname = coalesce(n.hostname, a.hostname),
        os = coalesce(n.os, a.os),
        arch = coalesce(n.arch, a.arch),
        agent_version = coalesce(n.agent_version, a.agent_version),
        retires_keys = coalesce(n.retires_keys, a.retires_keys)
    from news n
    where a.id = n.agent_id
      -- The table is published, so a mere sign of life is written no more than twice a minute: a
      -- little less than 30 seconds, so that one report every 30 seconds never just misses it.
      and (
        n.differs or a.last_seen is null or n.at >= a.last_seen + interval '25 seconds'
      )
    returning a.id, n.is_other_program
  )
  select count(*), array_agg(c.id) filter (where c.is_other_program)
  into n_changed, differing
  from changed c;
  perform private.on_other_programs(differing);
  return n_changed;
end
$$;

-- What becomes of Connected where nobody says any more that it is so. Of a host that asks now and then,
-- and not regularly, nothing is unknown: it is not there.
create function private.unheard_status(reason text) returns text
language sql immutable set search_path = '' as $$
  select case reason when 'Polled' then 'false' else 'unknown' end
$$;

create function private.unheard_reason(reason text, otherwise text) returns text
language sql immutable set search_path = '' as $$
  select case reason when 'Polled' then 'Polled' when 'Polling' then 'PollingLapsed' else otherwise end
$$;

-- A daemon that has just started holds no connection, whatever its predecessor wrote last.
create function public.reset_presence() returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  update public.agent_conditions
  set status = private.unheard_status(reason),
      reason = private.unheard_reason(reason, 'DaemonRestarted'),
      message = 'the daemon restarted and has not heard from this agent yet',
      last_transition_at = now()
  where type = 'Connected' and status = 'true';
  update public.agents set is_online = false where is_online;
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

-- The agents that may connect and of which it is not known whether they live, with the time at which
-- each was last heard of, and whether it holds no connection and asks regularly instead: those that
-- were there when the last daemon stopped or died. One page, in the order of ids, behind the one named.
create function public.unheard_agents(after uuid, max_rows integer)
returns table (agent_id uuid, last_seen timestamptz, polls boolean)
language sql stable security definer set search_path = '' as $$
  select a.id, a.last_seen, c.reason = 'PollingLapsed'
  from public.agents a
  join public.agent_keys k on k.agent_id = a.id and k.status = 'admitted'
  join public.agent_conditions c
    on c.agent_id = a.id and c.type = 'Connected' and c.status = 'unknown'
  where a.last_seen is not null and (after is null or a.id > after)
  order by a.id
  limit least(max_rows, 1000)
$$;

-- A share of the whole in percent. Not-a-number says nothing, so it is no load.
create function private.percentage(value numeric) returns numeric
language sql immutable set search_path = '' as $$
  select case when value = 'NaN' then 0 else least(greatest(coalesce(value, 0), 0), 100) end
$$;

create function public.record_usage(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.agent_stats as s (
    agent_id, cpu_usage, ram_usage, storage_usage, firewall_active, details, updated_at
  )
  select distinct on (r.agent_id)
    r.agent_id, private.percentage(r.cpu_usage), private.percentage(r.ram_usage),
    private.percentage(r.storage_usage), r.firewall_active,
    case
      when jsonb_typeof(r.details) = 'object' and octet_length(r.details::text) <= 32768
        then r.details
      else '{}'
    end,
    now()
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral private.read_report(e.report, null::private.usage_report) r
  join public.agents a on a.id = r.agent_id
  order by r.agent_id, e.position desc
  on conflict (agent_id) do update set
    cpu_usage = excluded.cpu_usage,
    ram_usage = excluded.ram_usage,
    storage_usage = excluded.storage_usage,
    firewall_active = excluded.firewall_active,
    details = excluded.details,
    updated_at = excluded.updated_at;
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.report_conditions(jsonb) from public, anon, authenticated;
revoke all on function public.record_presence(jsonb) from public, anon, authenticated;
revoke all on function public.reset_presence() from public, anon, authenticated;
revoke all on function public.unheard_agents(uuid, integer) from public, anon, authenticated;
revoke all on function public.record_usage(jsonb) from public, anon, authenticated;
grant execute on function public.report_conditions(jsonb) to service_role;
grant execute on function public.record_presence(jsonb) to service_role;
grant execute on function public.reset_presence() to service_role;
grant execute on function public.unheard_agents(uuid, integer) to service_role;
grant execute on function public.record_usage(jsonb) to service_role;
