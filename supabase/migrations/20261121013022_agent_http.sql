-- Tokens of agents that speak plain HTTP: each use of one is counted, as with an enrollment.
-- Whether the agent's key may connect is not decided here; the daemon looks at that first.

-- How many uses are left. Without the right secret the answer is that of an enrollment.
create function public.use_agent_token(p_agent_id uuid, p_token text) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
declare
  agent public.agents;
  n_left bigint;
begin
  if p_token !~ '^hidps_[0-9a-f]{12}_[0-9a-f]{64}$' is not false then
    raise exception using errcode = '22023', message = 'this is no token as create_agent_token gives it';
  end if;
  perform set_config('hidps.acting_agent', p_agent_id::text, true);
  select a.* into agent from public.agents a where a.id = p_agent_id for no key update;
  if not found then
    perform private.refuse('P0002', 404, format(
      'there is no agent %s; check the id, or create the agent first', p_agent_id
    ));
  end if;
  perform private.use_token(p_token, agent);
  select k.max_uses - k.uses into n_left from public.agent_tokens k
  where k.prefix = (regexp_match(p_token, '^hidps_([0-9a-f]{12})_'))[1];
  perform set_config('hidps.acting_agent', '', true);
  return n_left;
end
$$;

revoke all on function public.use_agent_token(uuid, text) from public, anon, authenticated;
grant execute on function public.use_agent_token(uuid, text) to service_role;
