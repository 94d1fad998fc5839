-- How an admin asks an agent for another key: the present one is named as a key that is not to be the
-- agent's any more, which is desired state like any other.
-- It replaces no key: only who holds the present one can do that, and by the same call as ever.

-- A key that is not the agent's any more is what was asked for, whoever did it and however.
create function private.stamp_rotation() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.retired_key = old.public_key then
    new.rotated_at := now();
  end if;
  return new;
end
$$;

-- Behind stamp_key_decisions, which may put the key that waits in the place of the present one.
create trigger stamp_rotation before update on public.agent_keys
  for each row when (new.public_key <> old.public_key)
  execute function private.stamp_rotation();

create function private.on_retired_key_changed() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_generations(array[old.agent_id]);
  return null;
end
$$;

create trigger on_retired_key_updated after update on public.agent_keys
  for each row when (new.retired_key is distinct from old.retired_key)
  execute function private.on_retired_key_changed();
create trigger on_retired_key_deleted after delete on public.agent_keys
  for each row when (old.retired_key is not null)
  execute function private.on_retired_key_changed();

-- Only for a program that knows the word: another one would refuse the document whole, and all that
-- come after it.
create function private.desired_retirement(agent uuid) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(
    (
      select jsonb_build_object('retired_key', k.retired_key)
      from public.agent_keys k
      join public.agents a on a.id = k.agent_id
      where k.agent_id = agent and k.retired_key is not null and a.retires_keys
    ),
    '{}'
  )
$$;

-- Agents of which another program says now whether it gives up keys: what is desired of them has the
-- word, or has it no more. It takes nothing from a host, so that a fleet that is updated, or put back,
-- within a minute is not held for it.
create function private.on_other_programs(agents uuid[]) returns void
language plpgsql security definer set search_path = '' as $$
declare
  bumped record;
  n_bumped integer := 0;
begin
  if coalesce(cardinality(agents), 0) = 0 then
    return;
  end if;
  for bumped in
    -- In the order of whoever changes several.
    with locked as materialized (
      select g.agent_id
      from unnest(agents) o (agent_id)
      join public.agent_keys k on k.agent_id = o.agent_id and k.retired_key is not null
      join public.desired_generations g on g.agent_id = o.agent_id
      order by g.agent_id
      for update of g
    )
    update public.desired_generations g
    set generation = g.generation + 1, changed_at = now()
    from locked l
    where g.agent_id = l.agent_id
    returning g.agent_id, g.generation
  loop
    n_bumped := n_bumped + 1;
    perform private.announce_change(n_bumped, to_jsonb(bumped));
  end loop;
end
$$;

-- Asking again for what is asked for changes nothing.
create function private.retire_key(agent uuid) returns timestamptz
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  known public.agents;
  held public.agent_keys;
begin
  if agent is null or agent not in (select private.my_admin_agents()) then
    raise exception using errcode = '42501',
      message = 'asking an agent for another key takes the right to change the agent';
  end if;
  -- Many times what somebody does by hand, and enough for a fleet.
  if private.count_attempt(person, 'rotation') > 1000 then
    perform private.refuse('54000', 429,
      'you asked agents for another key 1000 times within an hour; try again later');
  end if;
  -- In the order of whoever replaces a key.
  select a.* into known from public.agents a where a.id = agent for no key update;
  select k.* into held from public.agent_keys k where k.agent_id = agent for update;
  if held.status is distinct from 'admitted' then
    raise exception using errcode = '22023',
      message = 'this agent has no key that is admitted, so there is none to replace; decide about '
        'the key that waits, or enroll the agent with a token';
  end if;
  if held.retired_key = held.public_key then
    return held.rotation_requested_at;
  end if;
  if not known.retires_keys then
    raise exception using errcode = '22023',
      message = 'the program on this host has not said that it replaces its key when asked, as older '
        'agents and hosts that ask over HTTP do not; update it and let it connect, or run '
        '"hidps-agent rotate-key" on the host';
  end if;
  -- What the agent would be refused is refused now.
  perform private.check_replaced_keys(agent);
  update public.agent_keys k
  set retired_key = k.public_key, rotation_requested_at = now(), rotation_requested_by = person,
      rotated_at = null
  where k.agent_id = agent;
  return now();
end
$$;

-- When it was asked for. What becomes of it is in key_rotations.
create function public.request_key_rotation(agent_id uuid) returns timestamptz
language sql volatile security invoker set search_path = '' as $$
  select private.retire_key(request_key_rotation.agent_id)
$$;

-- Takes back a request that is not fulfilled; what is done stays done, and stays readable.
create function private.keep_key(agent uuid) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  perform private.require_person();
  if agent is null or agent not in (select private.my_admin_agents()) then
    raise exception using errcode = '42501',
      message = 'taking back a request for another key takes the right to change the agent';
  end if;
  perform from public.agents a where a.id = agent for no key update;
  update public.agent_keys k
  set retired_key = null, rotation_requested_at = null, rotation_requested_by = null
  where k.agent_id = agent and k.retired_key = k.public_key;
  return found;
end
$$;

-- Whether there was one. An agent that has begun may finish all the same.
create function public.withdraw_key_rotation(agent_id uuid) returns boolean
language sql volatile security invoker set search_path = '' as $$
  select private.keep_key(withdraw_key_rotation.agent_id)
$$;

-- What became of each agent's last request, for whoever may read the agent: rotated is what the database
-- knows by itself, and the reason, where it is not yet, is of now.
create view public.key_rotations with (security_invoker = true) as
select
  k.agent_id,
  a.name,
  a.org_id,
  k.retired_key,
  k.rotation_requested_at as requested_at,
  k.rotation_requested_by as requested_by,
  k.public_key <> k.retired_key as rotated,
  k.rotated_at,
  case
    when k.public_key <> k.retired_key then 'Rotated'
    when k.status <> 'admitted' then 'NotAdmitted'
    when not a.retires_keys then 'NotSupported'
    when g.hold is not null then g.hold
    when held.status = 'true' then held.reason
    when not public.online(a) then 'Offline'
    else coalesce(told.reason, 'Sent')
  end as reason,
  case
    when k.public_key <> k.retired_key then 'the key was replaced'
    when k.status <> 'admitted' then 'the key may not connect any more; enroll the agent with a token'
    when not a.retires_keys then 'the program on this host does not replace its key when asked; '
      || 'update it, or run "hidps-agent rotate-key" on the host'
    when g.hold is not null then 'the change reached too many hosts within a minute and waits for an '
      || 'admin to release it'
    when held.status = 'true' then held.message
    when not public.online(a) then 'the agent is not connected, and is told when it is back'
    else coalesce(told.message, 'the agent is being told')
  end as message
from public.agent_keys k
join public.agents a on a.id = k.agent_id
join public.desired_generations g on g.agent_id = k.agent_id
left join public.agent_conditions held
  on held.agent_id = k.agent_id and held.type = 'Held'
-- What a host said of an earlier request is of an earlier generation.
left join public.agent_conditions told
  on told.agent_id = k.agent_id and told.type = 'KeyRotated' and told.status <> 'true'
    and told.observed_generation = g.generation
where k.retired_key is not null;

revoke all on all functions in schema private from public;
revoke all on function public.request_key_rotation(uuid) from public, anon, service_role;
revoke all on function public.withdraw_key_rotation(uuid) from public, anon, service_role;
revoke all on public.key_rotations from public, anon, authenticated, service_role;
grant execute on function public.request_key_rotation(uuid) to authenticated;
grant execute on function public.withdraw_key_rotation(uuid) to authenticated;
grant execute on function private.retire_key(uuid) to authenticated;
grant execute on function private.keep_key(uuid) to authenticated;
grant select on public.key_rotations to authenticated, service_role;
