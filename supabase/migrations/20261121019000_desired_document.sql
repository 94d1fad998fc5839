-- The desired document of an agent: the one place where what several tables desire becomes one value.
-- It writes nothing, and no piece of it knows another.

create function private.desired_firewall(agent uuid) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object(
    'firewall_enabled',
    (select s.firewall_enabled from public.agent_stats s where s.agent_id = agent)
  )
$$;

create function private.desired_files(agent uuid) returns jsonb
language sql stable set search_path = '' as $$
  select jsonb_build_object('monitored_files', coalesce(
    (
      select jsonb_agg(m.file_path order by m.file_path collate "C")
      from public.monitored_files m where m.agent_id = agent
    ),
    '[]'
  ))
$$;

-- One line for each piece. A piece that came later is an empty object while nobody uses it, so that
-- agents that do not know its keys go on.
create function private.desired_document(agent uuid) returns jsonb
language sql stable set search_path = '' as $$
  select private.desired_firewall(agent)
    || private.desired_files(agent)
    || private.desired_recursion(agent)
    || private.desired_firewall_rules(agent)
    || private.desired_collection(agent)
    || private.desired_retirement(agent)
$$;

-- Everything desired of the agents asked for, one row per agent that exists. The text of a jsonb is
-- canonical, so equal documents have equal hashes.
create function public.desired_state(agent_ids uuid[])
returns table (
  agent_id uuid, generation bigint, content_hash text, document jsonb, changed_at timestamptz,
  hold text, released boolean
)
language sql stable security definer set search_path = '' as $$
  select g.agent_id, g.generation, private.sha256_hex(d.document::text), d.document, g.changed_at,
    g.hold, coalesce(g.released_generation = g.generation, false)
  from public.desired_generations g
  -- Once per agent: the hash and the document are of one and the same reading.
  cross join lateral (
    select private.desired_document(g.agent_id) as document offset 0
  ) d
  where g.agent_id = any (agent_ids)
$$;

revoke all on all functions in schema private from public;
revoke all on function public.desired_state(uuid[]) from public, anon, authenticated;
grant execute on function public.desired_state(uuid[]) to service_role;
