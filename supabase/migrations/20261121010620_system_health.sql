-- What the daemon says of itself, for every frontend to show, and the canary by which it knows that
-- changes still reach it.
-- Neither holds anything of a tenant.

-- Health --------------------------------------------------------------------------------------

create table public.system_health (
  type text primary key,
  status text not null,
  reason text not null,
  message text not null default '',
  details jsonb not null default '{}',
  last_transition_at timestamptz not null default now(),
  -- When the daemon last said so; what is older than 90 seconds is only what it said once.
  updated_at timestamptz not null default now(),
  constraint type_is_1_to_100_characters check (char_length(type) between 1 and 100),
  constraint status_is_true_false_or_unknown check (status in ('true', 'false', 'unknown')),
  constraint reason_is_1_to_100_characters check (char_length(reason) between 1 and 100),
  constraint message_is_at_most_1000_characters check (char_length(message) <= 1000),
  constraint details_is_an_object_of_at_most_4_kib check (
    jsonb_typeof(details) = 'object' and octet_length(details::text) <= 4096
  )
);

alter table public.system_health enable row level security;
revoke all on public.system_health from public, anon, authenticated, service_role;
grant select on public.system_health to authenticated, service_role;

create policy everybody_reads on public.system_health for select to authenticated using (true);

create type private.health_report as (
  type text, status text, reason text, message text, details jsonb
);

-- As for conditions, the last readable report of a type wins. The table is published and everybody
-- may follow it, so what does not change status, reason or message is written no more than twice a
-- minute: a little less than 30 seconds, so that one report every 30 seconds never just misses it.
create function public.report_health(reports jsonb) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_changed integer;
begin
  insert into public.system_health as h (type, status, reason, message, details)
  select distinct on (r.type)
    r.type, r.status,
    coalesce(nullif(private.clean_text(r.reason, 100), ''), 'Unspecified'),
    coalesce(private.clean_text(r.message, 1000), ''),
    case
      when jsonb_typeof(r.details) = 'object' and octet_length(r.details::text) <= 4096
        then r.details
      else '{}'
    end
  from private.report_elements(reports) with ordinality e (report, position)
  cross join lateral private.read_report(e.report, null::private.health_report) r
  where r.status in ('true', 'false', 'unknown')
    and r.type <> '' and r.type = private.clean_text(r.type, 100)
  order by r.type, e.position desc
  on conflict (type) do update set
    status = excluded.status,
    reason = excluded.reason,
    message = excluded.message,
    details = excluded.details,
    last_transition_at =
      case when h.status = excluded.status then h.last_transition_at else now() end,
    updated_at = now()
  where (h.status, h.reason, h.message) is distinct from
      (excluded.status, excluded.reason, excluded.message)
    or h.updated_at <= now() - interval '25 seconds';
  get diagnostics n_changed = row_count;
  return n_changed;
end
$$;

-- Canary --------------------------------------------------------------------------------------

-- One row per running daemon, written every few seconds, that must come back to its writer over the
-- published table and as a broadcast.
create table public.feed_canary (
  daemon_id uuid primary key,
  beat bigint not null,
  beaten_at timestamptz not null default now()
);

alter table public.feed_canary enable row level security;
revoke all on public.feed_canary from public, anon, authenticated, service_role;
-- Realtime asks whether the subscriber may read the row.
grant select on public.feed_canary to service_role;

create function private.broadcast_canary() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.hint_daemon(
    'canary', jsonb_build_object('daemon_id', new.daemon_id, 'beat', new.beat)
  );
  return null;
end
$$;

create trigger broadcast_canary after insert or update on public.feed_canary
  for each row execute function private.broadcast_canary();

-- Gives the database's time of the beat. A daemon that is gone leaves its row for a day at most.
create function public.beat_canary(p_daemon uuid, p_beat bigint) returns timestamptz
language plpgsql volatile security definer set search_path = '' as $$
begin
  if p_daemon is null or p_beat is null then
    raise exception using errcode = '22023', message = 'p_daemon and p_beat must be given';
  end if;
  insert into public.feed_canary as c (daemon_id, beat) values (p_daemon, p_beat)
  on conflict (daemon_id) do update set beat = excluded.beat, beaten_at = now();
  delete from public.feed_canary where beaten_at < now() - interval '1 day';
  return now();
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.report_health(jsonb) from public, anon, authenticated;
revoke all on function public.beat_canary(uuid, bigint) from public, anon, authenticated;
grant execute on function public.report_health(jsonb) to service_role;
grant execute on function public.beat_canary(uuid, bigint) to service_role;
