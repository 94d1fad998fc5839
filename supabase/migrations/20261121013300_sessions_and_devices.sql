-- A person's own sessions, to look at and to end, and the devices they were seen with. Of a new one, and of
-- what others decide about their membership, the person gets a mail.
-- Nobody sees or ends another one's, and nothing here can keep anybody from signing in.

-- Devices -------------------------------------------------------------------------------------

create table public.known_devices (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  -- What makes it this one: the program without its version, and the network.
  fingerprint text not null,
  user_agent text not null default '',
  network text not null default '',
  first_seen_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  constraint known_devices_fingerprint_is_unique_for_its_person unique (user_id, fingerprint)
);

alter table public.known_devices enable row level security;
revoke all on public.known_devices from public, anon, authenticated, service_role;
grant select on public.known_devices to authenticated, service_role;

create policy persons_read on public.known_devices for select to authenticated
using (user_id = (select private.caller()));

-- The network of an address, as wide as one household or office may change its address; null for none.
create function private.network_of(address text) returns text
language plpgsql immutable set search_path = '' as $$
declare
  ip inet := split_part(address, ',', 1)::inet;
begin
  return network(set_masklen(ip, case family(ip) when 4 then 24 else 48 end))::text;
exception when data_exception then
  return null;
end
$$;

-- Notes the device somebody was seen with, and says whether it is a new one of theirs. The first one is
-- no news.
create function private.meet_device(who uuid, program text, address text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  named text := coalesce(private.clean_text(program, 300), '');
  network text := coalesce(private.network_of(private.clean_text(address, 100)), '');
  -- Programs update themselves every few weeks.
  mark text := private.sha256_hex(
    regexp_replace(lower(named), '[0-9]+([._][0-9]+)*', '', 'g') || '|' || network
  );
  is_first boolean;
  device public.known_devices;
begin
  if named = '' and network = '' then
    return false;
  end if;
  -- Sign-ins of one person come one after the other, or two would both be the first.
  perform pg_advisory_xact_lock(hashtextextended('hidps devices of ' || who, 0));
  update public.known_devices d
  set last_seen_at = now(), user_agent = named
  where d.user_id = who and d.fingerprint = mark;
  if found then
    return false;
  end if;
  select not exists (select from public.known_devices d where d.user_id = who) into is_first;
  insert into public.known_devices as d (user_id, fingerprint, user_agent, network)
  values (who, mark, named, network)
  returning d.* into device;
  if is_first then
    return false;
  end if;
  perform private.tell_of_device(device);
  -- A hundred are more than anybody has.
  delete from public.known_devices where id in (
    select d.id from public.known_devices d where d.user_id = who
    order by d.last_seen_at desc, d.id offset 100
  );
  return true;
end
$$;

-- Queues a mail to a person about their account: not to an address that was never confirmed, and of each
-- kind no more than ten a day, for nobody is to fill a mailbox, nor to keep mail of another kind away.
create function private.tell_person(
  who uuid, what_kind text, title text, message text, advice text, subject text
) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  is_too_many boolean := (
    select count(*) >= 10 from public.account_notifications n
    where n.user_id = who and n.kind = what_kind and n.created_at > now() - interval '1 day'
      and not n.suppressed
  );
begin
  insert into public.account_notifications (
    user_id, recipient, kind, title, message, advice, subject, status, suppressed, error
  )
  select u.id, u.email, what_kind, tell_person.title, tell_person.message, tell_person.advice,
    tell_person.subject, case when is_too_many then 'failed' else 'pending' end, is_too_many,
    case when is_too_many then 'suppressed: more than 10 such mails within a day' end
  from auth.users u
  where u.id = who and u.email like '%_@_%' and u.deleted_at is null
    and u.email_confirmed_at is not null
    -- One record of what is not sent is enough for an hour.
    and not (is_too_many and exists (
      select from public.account_notifications n
      where n.user_id = who and n.kind = what_kind and n.suppressed
        and n.created_at > now() - interval '1 hour'
    ));
end
$$;

create function private.tell_of_device(device public.known_devices) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  perform private.audit_of_person(device.user_id, 'device.new', 'known_devices',
    jsonb_build_object('new', jsonb_build_object('device', device.id)), nullif(device.network, ''),
    nullif(device.user_agent, ''));
  perform private.tell_person(device.user_id, 'new_device', 'New sign-in to your account',
    format('Your account was used with a device or from a place that was not seen before: %s, from %s.',
      coalesce(nullif(device.user_agent, ''), 'an unnamed program'),
      coalesce(nullif(device.network, ''), 'an unknown network')),
    'If this was you, there is nothing to do. If not, change your password and end your other '
      || 'sessions.',
    coalesce(nullif(device.network, ''), 'an unknown network'));
end
$$;

-- Membership ----------------------------------------------------------------------------------

-- Whoever is given another role or removed by somebody else hears of it, and by whom.
create function private.tell_of_membership() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  org text;
  by_whom text := coalesce(
    nullif(private.clean_text(auth.jwt() ->> 'email', 320), ''), 'whoever runs the platform'
  );
begin
  -- What goes with its organization was no decision about the person.
  select private.clean_text(o.name, 200) into org from public.organizations o where o.id = old.org_id;
  if org is null or old.user_id is not distinct from auth.uid() then
    return null;
  end if;
  if tg_op = 'DELETE' then
    perform private.tell_person(old.user_id, 'membership', 'You were removed from an organization',
      format('You are no member of %s any more; this was done by %s.', org, by_whom),
      'If this is a surprise, ask them.', org);
  else
    perform private.tell_person(old.user_id, 'membership', 'Your role in an organization has changed',
      format('Your role in %s was %s and is %s now; this was done by %s.', org, old.role, new.role,
        by_whom),
      'If this is a surprise, ask them.', org);
  end if;
  return null;
end
$$;

create trigger tell_of_role after update of role on public.organization_members
  for each row when (old.role <> new.role) execute function private.tell_of_membership();
create trigger tell_of_removal after delete on public.organization_members
  for each row execute function private.tell_of_membership();

-- For projects whose Auth server's tables take no triggers: a frontend calls it after signing in.
create function private.touch_device() returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
begin
  if private.count_attempt(person, 'device') > 60 then
    return private.refusal_answer('54000', 429, 'this was asked 60 times within an hour; try again later');
  end if;
  return jsonb_build_object('is_new', private.meet_device(
    person, private.header(current_setting('request.headers', true), 'user-agent'),
    private.header(current_setting('request.headers', true), 'x-forwarded-for')
  ));
end
$$;

create function private.drop_device(device uuid) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
begin
  delete from public.known_devices d where d.id = device and d.user_id = person;
  return found;
end
$$;

-- Sessions ------------------------------------------------------------------------------------

create type private.session_row as (
  id uuid, created_at timestamptz, refreshed_at timestamptz, not_after timestamptz,
  user_agent text, ip text, is_current boolean
);

-- The columns of Auth servers differ, so what is there is taken.
create function private.sessions_of_caller() returns setof private.session_row
language plpgsql stable security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
begin
  return query
    select (r.session ->> 'id')::uuid, (r.session ->> 'created_at')::timestamptz,
      -- Without a time zone, and meant in UTC.
      (r.session ->> 'refreshed_at')::timestamp at time zone 'utc',
      (r.session ->> 'not_after')::timestamptz,
      private.clean_text(r.session ->> 'user_agent', 300), r.session ->> 'ip',
      r.session ->> 'id' = coalesce(auth.jwt() ->> 'session_id', '')
    from (
      select to_jsonb(s) as session from auth.sessions s where s.user_id = person
      order by s.created_at desc
      limit 500
    ) r;
end
$$;

-- Ends the caller's session with this id, or with none given, all but the one that asks.
create function private.end_sessions(session uuid) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  n_ended integer;
begin
  delete from auth.sessions s
  where s.user_id = person and case
    when session is null then s.id::text <> coalesce(auth.jwt() ->> 'session_id', '')
    else s.id = session
  end;
  get diagnostics n_ended = row_count;
  if n_ended > 0 then
    perform private.audit_of_person(person, 'session.revoke', 'sessions', jsonb_build_object(
      'n_ended', n_ended, 'session', session
    ), private.header(current_setting('request.headers', true), 'x-forwarded-for'),
    private.header(current_setting('request.headers', true), 'user-agent'));
  end if;
  return n_ended;
end
$$;

-- Calls ---------------------------------------------------------------------------------------

create function public.my_sessions() returns table (
  id uuid, created_at timestamptz, refreshed_at timestamptz, not_after timestamptz,
  user_agent text, ip text, is_current boolean
)
language sql stable security invoker set search_path = '' as $$
  select * from private.sessions_of_caller()
$$;

create function public.revoke_session(session uuid) returns boolean
language sql volatile security invoker set search_path = '' as $$
  -- Null would be all others.
  select private.end_sessions(coalesce(
    revoke_session.session, '00000000-0000-0000-0000-000000000000'
  )) > 0
$$;

create function public.revoke_other_sessions() returns integer
language sql volatile security invoker set search_path = '' as $$
  select private.end_sessions(null)
$$;

-- {"is_new": …}, or with status 429 {"code": …, "message": …}.
create function public.touch_session() returns jsonb
language sql volatile security invoker set search_path = '' as $$
  select private.touch_device()
$$;

create function public.forget_device(device uuid) returns boolean
language sql volatile security invoker set search_path = '' as $$
  select private.drop_device(forget_device.device)
$$;

-- What the Auth server does --------------------------------------------------------------------

-- Tells of a session that begins or ends. Whatever goes wrong here must not keep anybody from signing in
-- or out.
create function private.on_session() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  session jsonb := to_jsonb(case tg_op when 'INSERT' then new else old end);
  person uuid := (session ->> 'user_id')::uuid;
begin
  perform private.audit_of_person(person,
    case tg_op when 'INSERT' then 'session.begin' else 'session.end' end, 'sessions',
    jsonb_build_object('session', session -> 'id'), session ->> 'ip', session ->> 'user_agent');
  if tg_op = 'INSERT' then
    perform private.meet_device(person, session ->> 'user_agent', session ->> 'ip');
  end if;
  return null;
exception when others then
  raise warning 'a session is not in the audit log: %', sqlerrm;
  return null;
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.my_sessions() from public, anon, service_role;
revoke all on function public.revoke_session(uuid) from public, anon, service_role;
revoke all on function public.revoke_other_sessions() from public, anon, service_role;
revoke all on function public.touch_session() from public, anon, service_role;
revoke all on function public.forget_device(uuid) from public, anon, service_role;
grant execute on function public.my_sessions() to authenticated;
grant execute on function public.revoke_session(uuid) to authenticated;
grant execute on function public.revoke_other_sessions() to authenticated;
grant execute on function public.touch_session() to authenticated;
grant execute on function public.forget_device(uuid) to authenticated;
grant execute on function private.sessions_of_caller() to authenticated;
grant execute on function private.end_sessions(uuid) to authenticated;
grant execute on function private.touch_device() to authenticated;
grant execute on function private.drop_device(uuid) to authenticated;

do $$
begin
  if to_regclass('auth.sessions') is not null then
    drop trigger if exists hidps_on_session on auth.sessions;
    create trigger hidps_on_session after insert or delete on auth.sessions
      for each row execute function private.on_session();
  end if;
exception when insufficient_privilege then
  raise notice 'sessions are not in the audit log here (%); frontends call touch_session()', sqlerrm;
end
$$;
