-- Enrollments and connects that were refused, as entries of the audit log. A refusal takes back whatever the
-- database did on the way, so the daemon tells of it in a call of its own.
-- It decides nothing, and an attacker cannot fill a log with it: an agent gets twenty entries an hour.

create table private.refusal_counts (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  hour_began timestamptz not null default now(),
  n_refusals bigint not null default 1
);

-- Whether it is told of. Of an id that no agent has there is nobody to tell. The last entry of an hour
-- says that no more are told; how many there were is in the first of the next.
create function public.record_refusal(p_agent_id uuid, p_prefix text, p_reason text)
returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  org uuid;
  before bigint;
  n bigint;
begin
  select a.org_id into org from public.agents a where a.id = p_agent_id;
  if org is null then
    return false;
  end if;
  select r.n_refusals into before from private.refusal_counts r where r.agent_id = p_agent_id for update;
  insert into private.refusal_counts as r (agent_id) values (p_agent_id)
  on conflict (agent_id) do update set
    hour_began = case when r.hour_began > now() - interval '1 hour' then r.hour_began else now() end,
    n_refusals = case when r.hour_began > now() - interval '1 hour' then r.n_refusals + 1 else 1 end
  returning r.n_refusals into n;
  if n > 20 then
    return false;
  end if;
  perform set_config('hidps.acting_agent', p_agent_id::text, true);
  insert into private.audit_queue (org_id, action, resource, resource_id, details)
  values (org, 'agent.refused', 'agents', p_agent_id, jsonb_strip_nulls(jsonb_build_object(
    'reason', private.clean_text(p_reason, 300),
    -- The prefix of a token finds its row and is no secret; anything longer is not a prefix.
    'token_prefix', case when p_prefix ~ '^[0-9a-f]{12}$' then p_prefix end,
    'further_this_hour', case n when 20 then 'are counted and not told' end,
    'in_the_hour_before', case when n = 1 and before > 20 then before end
  )));
  insert into private.audit_seals default values on conflict do nothing;
  perform set_config('hidps.acting_agent', '', true);
  return true;
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.record_refusal(uuid, text, text) from public, anon, authenticated;
grant execute on function public.record_refusal(uuid, text, text) to service_role;
