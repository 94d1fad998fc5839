-- Tokens of agents that speak plain HTTP: each use of one is counted, as with an enrollment.
-- Only a token that was made for the agent itself is good. Whether the agent's key may connect is not
-- decided here; the daemon looks at that.

-- How many uses are left. Without the right secret the answer is that of an enrollment.
create function public.use_agent_token(p_agent_id uuid, p_token text) returns bigint
language plpgsql volatile security definer set search_path = '' as $$
declare
  agent public.agents;
  n_left bigint;
  is_own boolean;
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
  select k.max_uses - k.uses, k.agent_id is not distinct from agent.id into n_left, is_own
  from public.agent_tokens k
  where k.prefix = (regexp_match(p_token, '^hidps_([0-9a-f]{12})_'))[1];
  -- A fleet's token enrolls whoever holds it as an agent of its own; here it would make its holder any
  -- agent that is enrolled already. The refusal takes the counted use back.
  if not is_own then
    perform private.refuse('28000', 403,
      'the token was made for no one agent, so it only enrolls; create one with this agent''s id');
  end if;
  perform set_config('hidps.acting_agent', '', true);
  return n_left;
end
$$;

revoke all on function public.use_agent_token(uuid, text) from public, anon, authenticated;
grant execute on function public.use_agent_token(uuid, text) to service_role;
