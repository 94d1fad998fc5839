-- How an agent gives up its key for a new one without a token and without an admin.
-- It verifies no signature: the daemon calls it only for whoever signed with the present key.

-- Refuses one more: each leaves a row that no time takes away, because a former key never comes back.
create function private.check_replaced_keys(p_agent_id uuid) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_lately bigint;
  n_ever bigint;
begin
  select count(*) filter (where r.revoked_at > now() - interval '1 hour'), count(*)
  into n_lately, n_ever
  from private.revoked_keys r where r.agent_id = p_agent_id;
  if n_ever >= 1000 then
    perform private.refuse('54000', 429,
      'this agent has had 1,000 keys, and none comes back; create another agent for this host');
  end if;
  if n_lately >= 10 then
    perform private.refuse('54000', 429,
      'this agent has replaced its key ten times within the hour; try again later');
  end if;
end
$$;

-- The present key is named, so that of two rotations at once one is refused, and one that was decided on
-- before a revocation or another enrollment does nothing. A key that waits for an admin goes on waiting.
create function private.replace_key(p_agent_id uuid, p_present_key text, p_new_key text) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  held public.agent_keys;
  present text := private.checked_public_key(p_present_key);
  successor text := private.checked_public_key(p_new_key);
begin
  if present = successor then
    raise exception using errcode = '22023',
      message = 'the new key is the present one; make another key';
  end if;
  perform from public.agents a where a.id = p_agent_id for no key update;
  select k.* into held from public.agent_keys k where k.agent_id = p_agent_id for update;
  if held.public_key is distinct from present or held.status <> 'admitted' then
    perform private.refuse('28000', 403,
      'this key is not, or no longer, the agent''s key; enroll the agent again with a new token');
  end if;
  if exists (
    select from private.revoked_keys r where r.agent_id = p_agent_id and r.public_key = successor
  ) then
    -- Another word than for a key that is the agent's no longer: the agent forgets this one for good.
    perform private.refuse('22023', 409,
      'the new key was in use before and was revoked or replaced; make another key');
  end if;
  perform private.check_replaced_keys(p_agent_id);
  update public.agent_keys k
  set public_key = successor, created_at = now(), admitted_at = now(), admitted_by = null
  where k.agent_id = p_agent_id;
  -- Whoever stole the old one comes too late, with a token too.
  insert into private.revoked_keys (agent_id, public_key)
  values (p_agent_id, present)
  on conflict do nothing;
end
$$;

-- The agent acts, and the daemon hands it on: that is what the audit log is to say.
create function public.rotate_agent_key(p_agent_id uuid, p_present_key text, p_new_key text) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  perform set_config('hidps.acting_agent', p_agent_id::text, true);
  perform private.replace_key(p_agent_id, p_present_key, p_new_key);
  perform set_config('hidps.acting_agent', '', true);
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.rotate_agent_key(uuid, text, text) from public, anon, authenticated;
grant execute on function public.rotate_agent_key(uuid, text, text) to service_role;
