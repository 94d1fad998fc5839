-- The life of an agent's row and its desired generation: one number per agent, bumped in the
-- writer's own transaction when, and only when, something desired of it really changed.
-- Nothing observed ever bumps it.

-- Birth of an agent ---------------------------------------------------------------------------

-- Existing frontends insert {name, owner_id}. Such an agent joins the oldest organization its owner
-- runs; without one, the owner gets a personal organization. The insert policy still decides.
create function private.assign_organization() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.org_id is null then
    select m.org_id into new.org_id
    from public.organization_members m
    where m.user_id = new.owner_id and m.role in ('owner', 'admin')
    order by m.created_at, m.org_id
    limit 1;
  end if;
  if new.org_id is null and new.owner_id is not null then
    new.org_id := private.ensure_personal_organization(new.owner_id);
  end if;
  return new;
end
$$;

create function private.ensure_personal_organization(person uuid) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  org uuid;
begin
  insert into public.organizations (name, personal_of)
  select coalesce(nullif(split_part(u.email, '@', 1), ''), 'Somebody') || '''s organization', u.id
  from auth.users u where u.id = person
  on conflict (personal_of) do nothing;
  select o.id into org from public.organizations o where o.personal_of = person;
  if org is null then
    -- The foreign key on owner_id would say less.
    raise exception using errcode = '23503',
      message = format('there is no person %s to own an agent', person);
  end if;
  insert into public.organization_members (org_id, user_id, role)
  values (org, person, 'owner')
  on conflict (org_id, user_id) do update set role = 'owner';
  return org;
end
$$;

create trigger assign_organization before insert on public.agents
  for each row execute function private.assign_organization();

create function private.complete_agent() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.agent_stats (agent_id) select id from inserted;
  insert into public.desired_generations (agent_id) select id from inserted;
  return null;
end
$$;

create trigger complete_agent after insert on public.agents
  referencing new table as inserted
  for each statement execute function private.complete_agent();

-- Existing frontends insert agent_stats {agent_id} after the agent. The row is there already, so
-- the insert is skipped for whoever may change the agent; everybody else goes on to the policy and
-- is refused, whether the row exists or not.
create function private.tolerate_repeated_stats() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from public.agent_stats s where s.agent_id = new.agent_id)
     and new.agent_id in (select private.my_admin_agents()) then
    return null;
  end if;
  return new;
end
$$;

create trigger tolerate_repeated_stats before insert on public.agent_stats
  for each row execute function private.tolerate_repeated_stats();

-- Paths ---------------------------------------------------------------------------------------

-- What is wrong with a path to watch, or null. Nothing is repaired silently.
create function private.path_fault(path text) returns text
language sql immutable set search_path = '' as $$
  select case
    when path is null or path = '' then 'is empty'
    -- Nobody can see them in a console, and each takes six bytes in the document of an agent.
    when path ~ '[\u0001-\u001f\u007f]' then
      'has a control character (U+0000 to U+001F or U+007F), which cannot be watched'
    -- Shorter than Linux's 4095: a longer path would not fit the index that keeps paths unique.
    when octet_length(path) > 2600 then
      format('is %s bytes long; 2600 is the most that can be watched', octet_length(path))
    when left(path, 1) <> '/' then 'is not absolute; it must begin with /'
    when path = '/' then 'is the root directory; name a file or directory below it'
    when right(path, 1) = '/' then 'ends with /; write it without'
    when path like '%//%' then 'has an empty component (//)'
    when path ~ '/\.\.?(/|$)' then 'has a . or .. component; write the path without it'
  end
$$;

create function private.check_monitored_path() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  fault text := private.path_fault(new.file_path);
begin
  if fault is not null then
    raise exception using errcode = '22023',
      message = format('file_path %s: %s', fault, quote_nullable(
        regexp_replace(left(new.file_path, 128), '[\u0001-\u001f\u007f]', '?', 'g')
      ));
  end if;
  return new;
end
$$;

create trigger check_monitored_path before insert or update of file_path on public.monitored_files
  for each row execute function private.check_monitored_path();

-- Generations ---------------------------------------------------------------------------------

-- Takes the rows in one order, so that two writers of several agents cannot deadlock. An agent that
-- is just being deleted has no row any more and is passed over.
create function private.bump_generations(changed uuid[]) returns void
language plpgsql security definer set search_path = '' as $$
declare
  bumped record;
  n_hints integer := 0;
begin
  for bumped in
    with locked as materialized (
      select g.agent_id from public.desired_generations g
      where g.agent_id = any (changed)
      order by g.agent_id
      for update
    )
    update public.desired_generations g
    set generation = g.generation + 1, changed_at = now()
    from locked
    where g.agent_id = locked.agent_id
    returning g.agent_id, g.generation
  loop
    n_hints := n_hints + 1;
    -- A change of a whole organization would flood the topic; the published table tells the rest.
    if n_hints <= 100 then
      perform private.hint_daemon('generation', to_jsonb(bumped));
    end if;
  end loop;
end
$$;

create function private.on_firewall_intent() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_generations(array[coalesce(new.agent_id, old.agent_id)]);
  return null;
end
$$;

-- Row triggers with a condition: telemetry updates of the same table do not even call them.
create trigger on_firewall_intent_insert after insert on public.agent_stats
  for each row when (new.firewall_enabled is not null)
  execute function private.on_firewall_intent();
create trigger on_firewall_intent_update after update on public.agent_stats
  for each row when (new.firewall_enabled is distinct from old.firewall_enabled)
  execute function private.on_firewall_intent();
create trigger on_firewall_intent_delete after delete on public.agent_stats
  for each row when (old.firewall_enabled is not null)
  execute function private.on_firewall_intent();

-- Refuses more paths than an agent can watch or its document can carry.
create function private.check_watched_paths(agents uuid[]) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
  crowded record;
begin
  select m.agent_id, count(*) as n_paths into crowded from public.monitored_files m
  where m.agent_id = any (agents)
  group by m.agent_id
  -- The most that an agent watches; kernel watches are a shared resource of the host. And 1 MiB,
  -- which JSON may double, stays far below the 8 MiB that one message to an agent may have.
  having count(*) > 1000 or sum(octet_length(m.file_path)) > 1048576
  limit 1;
  if crowded.n_paths > 1000 then
    raise exception using errcode = '22023',
      message = format('agent %s would watch more than 1000 paths', crowded.agent_id),
      hint = 'Remove paths, or watch a directory instead of its files.';
  elsif crowded.agent_id is not null then
    raise exception using errcode = '22023',
      message = 'an agent''s watched paths may take 1 MiB together',
      detail = format('Those of agent %s would take more.', crowded.agent_id),
      hint = 'Remove paths, or watch a directory instead of its files.';
  end if;
end
$$;

-- Bumping first takes the agents' rows in desired_generations, so that two people adding paths at
-- once are counted one after the other.
create function private.on_monitored_files_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[] := array(select distinct agent_id from inserted);
begin
  if cardinality(agents) > 0 then
    perform private.bump_generations(agents);
    perform private.check_watched_paths(agents);
  end if;
  return null;
end
$$;

create function private.on_monitored_files_deleted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[] := array(select distinct agent_id from deleted);
begin
  if cardinality(agents) > 0 then
    perform private.bump_generations(agents);
  end if;
  return null;
end
$$;

create function private.on_monitored_files_updated() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[];
begin
  with before as (select agent_id, file_path from deleted),
  after as (select agent_id, file_path from inserted),
  changed as (
    (select * from before except select * from after)
    union
    (select * from after except select * from before)
  )
  select array_agg(distinct agent_id) into agents from changed;
  if agents is not null then
    perform private.bump_generations(agents);
    perform private.check_watched_paths(agents);
  end if;
  return null;
end
$$;

create trigger on_monitored_files_inserted after insert on public.monitored_files
  referencing new table as inserted
  for each statement execute function private.on_monitored_files_inserted();
create trigger on_monitored_files_deleted after delete on public.monitored_files
  referencing old table as deleted
  for each statement execute function private.on_monitored_files_deleted();
create trigger on_monitored_files_updated after update on public.monitored_files
  referencing old table as deleted new table as inserted
  for each statement execute function private.on_monitored_files_updated();

revoke all on all functions in schema private from public;
