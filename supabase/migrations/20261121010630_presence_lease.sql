-- Presence is a lease: what nobody renews ends, whether or not a daemon is left to say so.
-- It never ends a connection, and what it has marked is taken back by the next sign of life.

-- A computed column, selected like any other: true while the lease holds. What is_online says may be
-- the last word of a daemon that died. The daemon writes a sign of life of each agent every 30 seconds,
-- so 90 allow for two that are late. A host that asks over HTTP regularly may pause for five minutes: the
-- daemon misses it by its own rhythm, and after 15 at the latest.
create function public.online(public.agents) returns boolean
language sql stable set search_path = '' as $$
  select $1.is_online and coalesce(
    $1.last_seen > now() - interval '90 seconds'
    or $1.last_seen > now() - interval '15 minutes' and exists (
      select from public.agent_conditions c
      where c.agent_id = $1.id and c.type = 'Connected' and c.status = 'true' and c.reason = 'Polling'
    ),
    false
  )
$$;

-- How many agents lost their lease. The daemon's own health is leased in the same way.
create function public.expire_presence() returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_expired integer;
begin
  with silent as materialized (
    -- In one order, so that it cannot deadlock with reports of presence. Whoever is heard of in this
    -- moment is looked at again once its row is free.
    select a.id, a.is_online from public.agents a
    left join public.agent_conditions c on c.agent_id = a.id and c.type = 'Connected'
    where (
        a.last_seen is null
        or a.last_seen <= now() - case
          when c.status = 'true' and c.reason = 'Polling' then interval '15 minutes'
          else interval '90 seconds'
        end
      )
      and (a.is_online or c.status = 'true')
    order by a.id
    for no key update of a
  ),
  silenced as (
    update public.agent_conditions c
    set status = private.unheard_status(c.reason),
        reason = private.unheard_reason(c.reason, 'LeaseExpired'),
        message = 'nothing was heard of this agent for '
          || case c.reason when 'Polling' then '15 minutes' else '90 seconds' end
          || ', nor that it left',
        last_transition_at = now()
    from silent s
    where c.agent_id = s.id and c.type = 'Connected' and c.status = 'true'
  )
  update public.agents a set is_online = false
  from silent s
  where a.id = s.id and s.is_online;
  get diagnostics n_expired = row_count;

  update public.system_health
  set status = 'unknown',
      reason = 'LeaseExpired',
      message = 'nothing was heard of the daemon for 90 seconds',
      last_transition_at = now()
  where status <> 'unknown' and updated_at <= now() - interval '90 seconds';
  return n_expired;
end
$$;

revoke all on function public.online(public.agents) from public, anon;
revoke all on function public.expire_presence() from public, anon, authenticated;
grant execute on function public.online(public.agents) to authenticated, service_role;
grant execute on function public.expire_presence() to service_role;

-- With pg_cron the database does it by itself, every minute; without it, the daemon alone calls
-- expire_presence(), and a daemon that died is told by online() and by fleet_convergence.
do $$
begin
  if exists (select from pg_available_extensions where name = 'pg_cron') then
    create extension if not exists pg_cron;
    perform cron.schedule('hidps-presence', '* * * * *', 'select public.expire_presence()');
  end if;
exception when others then
  -- Present but not preloaded, or not allowed to this role.
  raise notice 'pg_cron is not usable here (%), so the daemon has to call expire_presence()', sqlerrm;
end
$$;
