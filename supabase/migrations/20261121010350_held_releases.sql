-- Releasing what is held back: an admin inserts one row, and every held agent in its scope gets a
-- newer generation that nothing is to hold again.
-- A release is never changed or taken back, and the daemon never makes one.

create table public.held_releases (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  -- Null releases everything held in the organization.
  agent_id uuid references public.agents (id) on delete cascade,
  note text,
  created_by uuid default auth.uid() references auth.users (id) on delete set null,
  created_at timestamptz not null default now(),
  -- How many agents were held and are not any more.
  released integer not null default 0,
  constraint note_is_at_most_1000_characters check (char_length(note) <= 1000)
);

create index held_releases_org_id on public.held_releases (org_id, created_at desc);
create index held_releases_agent_id on public.held_releases (agent_id) where agent_id is not null;
create index held_releases_created_by on public.held_releases (created_by)
  where created_by is not null;

alter table public.held_releases enable row level security;
revoke all on public.held_releases from public, anon, authenticated, service_role;
grant select on public.held_releases to authenticated, service_role;
-- Without id: an upsert whose insert is skipped would release and leave no row of it.
grant insert (org_id, agent_id, note) on public.held_releases to authenticated;

create policy readers_read on public.held_releases for select to authenticated
using (
  org_id in (select private.my_orgs())
  or agent_id in (select private.my_shared_agents())
);

create policy admins_insert on public.held_releases for insert to authenticated
with check (
  case when agent_id is null then org_id in (select private.my_admin_orgs())
    else agent_id in (select private.my_admin_agents()) end
);

-- What is held: by the database's own word, or by the daemon's, which knows what a host has applied.
-- The daemon's word stays until the host has been there, so it counts no more while a released
-- generation is on its way.
-- The new generation is past whatever the host has applied, or a restored backup would be held again.
-- A host may claim any generation, and one beyond belief must not spoil the release of the others.
create function private.release_held(org uuid, agent uuid) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  freed record;
  n_freed integer := 0;
begin
  perform private.lock_intent(org);
  for freed in
    with held as materialized (
      select g.agent_id, o.applied_generation
      from public.desired_generations g
      join public.agents a on a.id = g.agent_id
      cross join lateral (
        select
          max(c.observed_generation) filter (where c.observed_generation < 1000000000000000)
            as applied_generation,
          -- Where a daemon only observes, nothing was judged: a release now would let through
          -- unseen what is held for a reason when the daemon sends commands again.
          bool_or(c.type = 'Held' and c.status = 'true' and c.reason <> 'ReadOnly') as is_held
        from public.agent_conditions c where c.agent_id = g.agent_id
      ) o
      where a.org_id = org and (agent is null or a.id = agent)
        and (
          g.hold is not null
          or (
            o.is_held and (
              g.released_generation is distinct from g.generation
              or o.applied_generation >= g.generation
            )
          )
        )
      order by g.agent_id
      for update of g
    )
    update public.desired_generations g
    set generation = greatest(g.generation, h.applied_generation) + 1,
        released_generation = greatest(g.generation, h.applied_generation) + 1,
        hold = null,
        changed_at = now(),
        touched_at = null
    from held h
    where g.agent_id = h.agent_id
    returning g.agent_id, g.generation
  loop
    n_freed := n_freed + 1;
    perform private.announce_change(n_freed, to_jsonb(freed));
  end loop;
  return n_freed;
end
$$;

-- Before the insert, so that whoever inserts reads at once how many were released. The policy judges
-- only after this, hence the same question here.
create function private.on_held_release() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if auth.uid() is not null and not (
    case when new.agent_id is null then new.org_id in (select private.my_admin_orgs())
      else new.agent_id in (select private.my_admin_agents()) end
  ) then
    raise exception using errcode = '42501',
      message = 'releasing what is held takes the right to change the agent, or for a whole '
        'organization the role owner or admin in it';
  end if;
  if new.agent_id is not null and not exists (
    select from public.agents a where a.id = new.agent_id and a.org_id = new.org_id
  ) then
    raise exception using errcode = '22023',
      message = format('there is no agent %s in this organization', new.agent_id);
  end if;
  new.released := private.release_held(new.org_id, new.agent_id);
  return new;
end
$$;

create trigger on_held_release before insert on public.held_releases
  for each row execute function private.on_held_release();

revoke all on all functions in schema private from public;
