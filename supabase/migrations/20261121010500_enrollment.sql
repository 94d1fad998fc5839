-- How an agent's key becomes known: by an enrollment token, by first use of a fresh agent, or by an
-- admin's approval. An agent id is an address and proves nothing.
-- Private keys and raw tokens are never stored.

-- Decisions of admins -------------------------------------------------------------------------
-- Setting status to 'admitted' admits the key that waits, if one does: filter by it, as in
-- ?agent_id=eq.…&waiting_key=eq.…, to be sure which one. Setting waiting_key to null refuses it.

create function private.stamp_key_decisions() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if auth.uid() is null then
    return new;
  end if;
  if new.waiting_key is not null and new.waiting_key is distinct from old.waiting_key then
    raise exception using errcode = '42501',
      message = 'waiting_key can only be set to null, which refuses the key that waits';
  end if;
  if new.status = 'pending' and old.status <> 'pending' then
    raise exception using errcode = '42501',
      message = 'status can be set to admitted or revoked, not back to pending';
  end if;
  if new.status = 'admitted' then
    if new.waiting_key is not null then
      new.public_key := new.waiting_key;
      new.hostname := new.waiting_hostname;
      new.created_at := new.waiting_since;
      new.waiting_key := null;
    end if;
    if old.status <> 'admitted' or new.public_key <> old.public_key then
      new.admitted_at := now();
      new.admitted_by := auth.uid();
    end if;
  end if;
  if new.waiting_key is null then
    new.waiting_hostname := null;
    new.waiting_since := null;
  end if;
  return new;
end
$$;

create trigger stamp_key_decisions before update of status, waiting_key on public.agent_keys
  for each row execute function private.stamp_key_decisions();

-- Only an admin's word on the very key takes its revocation back. Another key that is admitted in its
-- place does not.
create function private.remember_revocations() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.status = 'revoked' then
    insert into private.revoked_keys (agent_id, public_key)
    values (new.agent_id, new.public_key)
    on conflict do nothing;
  elsif new.status = 'admitted' and new.public_key = old.public_key then
    delete from private.revoked_keys r
    where r.agent_id = new.agent_id and r.public_key = new.public_key;
  end if;
  return null;
end
$$;

create trigger remember_revocations after update of status on public.agent_keys
  for each row when (new.status <> old.status)
  execute function private.remember_revocations();

create function private.stamp_token_revocation() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if old.revoked_at is not null and new.revoked_at is null then
    raise exception using errcode = '42501',
      message = 'a revoked token stays revoked; create a new one';
  end if;
  new.revoked_at := case when new.revoked_at is null then null else coalesce(old.revoked_at, now()) end;
  return new;
end
$$;

create trigger stamp_token_revocation before update of revoked_at on public.agent_tokens
  for each row execute function private.stamp_token_revocation();

-- Tokens --------------------------------------------------------------------------------------

-- Counts one use of a valid token, or refuses with 28000. Without the right secret the answer is always
-- the same; with it, the person holds the token and may know what became of it.
create function private.use_token(token text, agent public.agents) returns void
language plpgsql security definer set search_path = '' as $$
declare
  parts text[] := regexp_match(token, '^hidps_([0-9a-f]{12})_([0-9a-f]{64})$');
  t public.agent_tokens;
  expected text;
  fault text;
begin
  select k.* into t from public.agent_tokens k where k.prefix = parts[1] for update;
  select s.secret_sha256 into expected
  from private.agent_token_secrets s where s.token_id = t.id;
  -- Hashes are compared, and one is always made, so time tells nothing about the secret.
  if private.sha256_hex(coalesce(parts[2], '')) is distinct from expected
     or t.org_id <> agent.org_id
     or t.agent_id <> agent.id then
    fault := 'is not valid for this agent';
  elsif t.revoked_at is not null then
    fault := 'was revoked';
  elsif t.expires_at <= now() then
    fault := 'has expired';
  elsif t.uses >= t.max_uses then
    fault := 'is used up';
  end if;
  if fault is not null then
    perform private.refuse('28000', 403, format(
      'the enrollment token %s; create a new one for this agent''s organization and enroll again '
      'with it', fault
    ));
  end if;
  update public.agent_tokens k
  set uses = k.uses + 1, last_used_at = now()
  where k.id = t.id;
end
$$;

-- Keys ----------------------------------------------------------------------------------------

-- The key in canonical base64, or 22023.
create function private.checked_public_key(public_key text) returns text
language plpgsql immutable set search_path = '' as $$
declare
  raw bytea;
begin
  begin
    raw := decode(public_key, 'base64');
  exception when data_exception then
    raw := null;
  end;
  if octet_length(raw) is distinct from 32 then
    raise exception using errcode = '22023',
      message = 'public_key must be an Ed25519 public key: 32 bytes in base64';
  end if;
  return encode(raw, 'base64');
end
$$;

create function private.is_in_first_use(agent public.agents) returns boolean
language sql stable security definer set search_path = '' as $$
  select agent.created_at + make_interval(
    secs => (60 * private.setting_number(o.settings, 'first_use_minutes', 15))::double precision
  ) > now()
  from public.organizations o where o.id = agent.org_id
$$;

-- Makes this key the agent's only one.
create function private.admit_key(agent uuid, key text, host text) returns text
language sql volatile security definer set search_path = '' as $$
  insert into public.agent_keys as k (agent_id, public_key, status, hostname, admitted_at)
  values (agent, key, 'admitted', host, now())
  on conflict (agent_id) do update set
    public_key = excluded.public_key, status = 'admitted', hostname = excluded.hostname,
    created_at = now(), admitted_at = now(), admitted_by = null,
    waiting_key = null, waiting_hostname = null, waiting_since = null
  returning k.status
$$;

-- Leaves the key for an admin to decide. The first that waits goes on waiting: if a later one could
-- take its place, an admin might approve a key that nobody looked at.
create function private.queue_key(agent uuid, key text, host text) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  held public.agent_keys;
begin
  insert into public.agent_keys (agent_id, public_key, status, hostname)
  values (agent, key, 'pending', host)
  on conflict (agent_id) do nothing;
  if found then
    return 'pending';
  end if;
  select k.* into held from public.agent_keys k where k.agent_id = agent;
  if held.status = 'pending' or coalesce(held.waiting_key, key) <> key then
    perform private.refuse('28000', 403,
      'another key is already waiting for this agent; ask an admin to decide about it, or enroll '
      'with a token');
  end if;
  update public.agent_keys k
  set waiting_key = key, waiting_hostname = host, waiting_since = coalesce(k.waiting_since, now())
  where k.agent_id = agent and k.waiting_key is null;
  return 'pending';
end
$$;

create function private.settle_enrollment(
  p_agent_id uuid, p_token text, p_public_key text, p_hostname text, p_os text, p_arch text,
  p_agent_version text
) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  agent public.agents;
  held public.agent_keys;
  key text := private.checked_public_key(p_public_key);
  host text := left(p_hostname, 255);
begin
  -- Enrollments of one agent come one after the other; telemetry's foreign keys are not blocked.
  select a.* into agent from public.agents a where a.id = p_agent_id for no key update;
  if not found then
    perform private.refuse('P0002', 404, format(
      'there is no agent %s; check the id, or create the agent first', p_agent_id
    ));
  end if;
  -- Locked, so that a revocation is either seen here or waits for what is decided here.
  select k.* into held from public.agent_keys k where k.agent_id = p_agent_id for update;
  if exists (
    select from private.revoked_keys r where r.agent_id = p_agent_id and r.public_key = key
  ) then
    perform private.refuse('28000', 403,
      'this key was revoked; make a new key and enroll that one with a token');
  end if;
  if held.public_key = key and held.status = 'admitted' then
    return 'admitted';
  end if;

  if p_token is not null then
    perform private.use_token(p_token, agent);
    perform private.admit_key(p_agent_id, key, host);
  elsif held.public_key = key and held.status = 'pending' then
    return 'pending';
  elsif held.agent_id is null and private.is_in_first_use(agent) then
    perform private.admit_key(p_agent_id, key, host);
  else
    return private.queue_key(p_agent_id, key, host);
  end if;

  update public.agents a
  set hostname = coalesce(host, a.hostname),
      os = coalesce(left(p_os, 100), a.os),
      arch = coalesce(left(p_arch, 100), a.arch),
      agent_version = coalesce(left(p_agent_version, 100), a.agent_version)
  where a.id = p_agent_id;
  return 'admitted';
end
$$;

-- The agent acts, and the daemon hands it on: that is what the audit log is to say.
create function public.enroll_agent(
  p_agent_id uuid, p_token text, p_public_key text, p_hostname text, p_os text, p_arch text,
  p_agent_version text
) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  status text;
begin
  perform set_config('hidps.acting_agent', p_agent_id::text, true);
  status := private.settle_enrollment(
    p_agent_id, p_token, p_public_key, p_hostname, p_os, p_arch, p_agent_version
  );
  perform set_config('hidps.acting_agent', '', true);
  return status;
end
$$;

-- The keys that may connect, whether they may, and the organization of each agent. A key that waits
-- behind one is not shown, and an agent without a key has no row.
create function public.agent_credentials(agent_ids uuid[])
returns table (agent_id uuid, org_id uuid, public_key text, status text)
language sql stable security definer set search_path = '' as $$
  select k.agent_id, a.org_id, k.public_key, k.status from public.agent_keys k
  join public.agents a on a.id = k.agent_id
  where k.agent_id = any (agent_ids)
$$;

revoke all on all functions in schema private from public;
revoke all on function public.enroll_agent(uuid, text, text, text, text, text, text)
  from public, anon, authenticated;
revoke all on function public.agent_credentials(uuid[]) from public, anon, authenticated;
grant execute on function public.enroll_agent(uuid, text, text, text, text, text, text)
  to service_role;
grant execute on function public.agent_credentials(uuid[]) to service_role;
