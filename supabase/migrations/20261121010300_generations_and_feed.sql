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

-- Blast radius --------------------------------------------------------------------------------
-- A change that reaches too much of an organization within a minute is held until an admin releases
-- it. Counted are hosts that have applied something: a first document takes nothing away.

-- How many more hosts may be touched before it is worth counting again. Counting takes a look at
-- every host touched lately, which nobody should pay for with each of many small changes.
create table private.blast_budgets (
  org_id uuid primary key references public.organizations (id) on delete cascade,
  -- The settings that were counted with.
  most_percent numeric not null,
  min_agents numeric not null,
  n_left bigint not null,
  counted_at timestamptz not null
);

-- The organizations of these agents in which, this change included, too many hosts were touched
-- within a minute. Arrays of agents are joined, never searched: they may hold a whole fleet.
create function private.widely_changed_organizations(changed uuid[]) returns uuid[]
language plpgsql volatile security definer set search_path = '' as $$
declare
  org record;
  allowed bigint;
  n_touched bigint;
  wide uuid[] := '{}';
begin
  for org in
    select o.id, count(*) as n_live,
      private.setting_number(o.settings, 'hold_blast_percent', 50) as most_percent,
      private.setting_number(o.settings, 'hold_blast_min_agents', 10) as min_agents
    from unnest(changed) c (agent_id)
    join public.agents a on a.id = c.agent_id
    join public.organizations o on o.id = a.org_id
    join lateral (
      select from public.agent_conditions k
      where k.agent_id = a.id and k.observed_generation is not null
      limit 1
    ) applied on true
    group by o.id
    order by o.id
  loop
    continue when org.most_percent = 100;
    -- One writer of an organization after the other, or many small changes at once would each see
    -- themselves alone.
    perform private.lock_intent(org.id);
    update private.blast_budgets b set n_left = b.n_left - org.n_live
    where b.org_id = org.id and b.n_left >= org.n_live
      and b.most_percent = org.most_percent and b.min_agents = org.min_agents
      and b.counted_at > now() - interval '10 seconds';
    continue when found;
    n_touched := private.count_touched(org.id, changed);
    allowed := private.count_touchable(org.id, n_touched, org.most_percent, org.min_agents);
    if n_touched > allowed then
      wide := wide || org.id;
    end if;
    insert into private.blast_budgets as b (org_id, most_percent, min_agents, n_left, counted_at)
    values (org.id, org.most_percent, org.min_agents, greatest(allowed - n_touched, 0), now())
    on conflict (org_id) do update set
      most_percent = excluded.most_percent, min_agents = excluded.min_agents,
      n_left = excluded.n_left, counted_at = excluded.counted_at;
  end loop;
  return wide;
end
$$;

create function private.lock_intent(org uuid) returns void
language sql volatile set search_path = '' as $$
  select pg_advisory_xact_lock(hashtextextended(org::text, 0))
$$;

-- Hosts of an organization touched within a minute, those changed now among them.
create function private.count_touched(org uuid, changed uuid[]) returns bigint
language sql volatile set search_path = '' as $$
  select count(*) from (
    select a.id from unnest(changed) c (agent_id)
    join public.agents a on a.id = c.agent_id
    where a.org_id = org and exists (
      select from public.agent_conditions k
      where k.agent_id = a.id and k.observed_generation is not null
    )
    union
    select g.agent_id from public.desired_generations g
    join public.agents a on a.id = g.agent_id
    where g.touched_at > now() - interval '1 minute' and a.org_id = org
  ) touched
$$;

-- How many hosts of an organization may be touched: no more than most_percent of those that have
-- applied something, or fewer than min_agents. A fleet is not counted to its end, only so far that
-- twice as many as touched would still be allowed.
create function private.count_touchable(
  org uuid, n_touched bigint, most_percent numeric, min_agents numeric
) returns bigint
language sql volatile set search_path = '' as $$
  select greatest(
    ceil(min_agents) - 1,
    case when n_touched >= min_agents then floor(
      (
        select count(*) from (
          select from public.agents a
          where a.org_id = org and exists (
            select from public.agent_conditions k
            where k.agent_id = a.id and k.observed_generation is not null
          )
          limit ceil(2 * n_touched * 100 / most_percent)
        ) live
      ) * most_percent / 100
    ) end
  )::bigint
$$;

-- Hosts that are gone make the rest a larger part.
create function private.forget_blast_budgets() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from private.blast_budgets where org_id in (select org_id from deleted);
  return null;
end
$$;

create trigger forget_blast_budgets after delete on public.agents
  referencing old table as deleted
  for each statement execute function private.forget_blast_budgets();

-- Agents of these organizations, beside those changed now, that were touched within the minute and
-- have not yet done what they were told. No anti-join with the array, which Postgres would do row
-- against row: it does not know how many there are.
create function private.holdable_agents(orgs uuid[], changed uuid[]) returns uuid[]
language sql stable set search_path = '' as $$
  select coalesce(array_agg(others.agent_id), '{}')
  from (
    select g.agent_id
    from public.desired_generations g
    join public.agents a on a.id = g.agent_id
    where g.touched_at > now() - interval '1 minute'
      and g.hold is null
      and a.org_id = any (orgs)
      and not exists (
        select from public.agent_conditions c
        where c.agent_id = g.agent_id and c.observed_generation >= g.generation
      )
    except
    select x.agent_id from unnest(changed) x (agent_id)
  ) others
$$;

-- Generations ---------------------------------------------------------------------------------

-- Tells the daemon of the nth change of a statement. A change of a whole organization would flood the
-- topic: after so many, one hint that names no agent makes the daemon compare everything, which takes
-- no longer than to hear of each.
create function private.announce_change(nth integer, changed jsonb) returns void
language plpgsql security definer set search_path = '' as $$
begin
  if nth <= 100 then
    perform private.hint_daemon('generation', changed);
  elsif nth = 101 then
    perform private.hint_daemon('generation', '{}');
  end if;
end
$$;

-- Moves the changed agents up, and holds what reaches too far. Takes the rows in one order, so that
-- two writers of several agents cannot deadlock. An agent that is just being deleted has no row any
-- more and is passed over; where nothing has changed nothing is done.
create function private.bump_generations(changed uuid[]) returns void
language plpgsql security definer set search_path = '' as $$
declare
  wide uuid[];
  others uuid[] := '{}';
  bumped record;
  n_bumped integer := 0;
begin
  if coalesce(cardinality(changed), 0) = 0 then
    return;
  end if;
  wide := private.widely_changed_organizations(changed);
  if cardinality(wide) > 0 then
    others := private.holdable_agents(wide, changed);
  end if;
  for bumped in
    with locked as materialized (
      select g.agent_id, f.position <= cardinality(changed) as is_changed,
        a.org_id = any (wide) as is_wide, h.is_live is not null as is_live
      from unnest(changed || others) with ordinality f (agent_id, position)
      join public.desired_generations g on g.agent_id = f.agent_id
      join public.agents a on a.id = g.agent_id
      left join lateral (
        select true as is_live from public.agent_conditions c
        where c.agent_id = g.agent_id and c.observed_generation is not null
        limit 1
      ) h on true
      order by g.agent_id
      for update of g
    )
    update public.desired_generations g
    set generation = g.generation + 1,
        changed_at = case when l.is_changed then now() else g.changed_at end,
        touched_at = case when l.is_changed and l.is_live then now() else g.touched_at end,
        hold = case when l.is_wide and l.is_live then 'BlastRadius' else g.hold end
    from locked l
    where g.agent_id = l.agent_id
    returning g.agent_id, g.generation
  loop
    n_bumped := n_bumped + 1;
    perform private.announce_change(n_bumped, to_jsonb(bumped));
  end loop;
end
$$;

create function private.on_stats_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_generations(
    array(select agent_id from inserted where firewall_enabled is not null)
  );
  return null;
end
$$;

create function private.on_stats_deleted() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_generations(
    array(select agent_id from deleted where firewall_enabled is not null)
  );
  return null;
end
$$;

create function private.on_stats_updated() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Not a join, which Postgres would do row against row: it does not know how many rows there are.
  perform private.bump_generations(array(
    select agent_id from (
      select agent_id, firewall_enabled from inserted
      except
      select agent_id, firewall_enabled from deleted
    ) changed
  ));
  return null;
end
$$;

-- Over all rows of a statement at once: a switch for a whole fleet is one change, judged and
-- announced as one.
create trigger on_stats_inserted after insert on public.agent_stats
  referencing new table as inserted
  for each statement execute function private.on_stats_inserted();
create trigger on_stats_deleted after delete on public.agent_stats
  referencing old table as deleted
  for each statement execute function private.on_stats_deleted();
create trigger on_stats_updated after update on public.agent_stats
  referencing old table as deleted new table as inserted
  for each statement execute function private.on_stats_updated();

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
  perform private.bump_generations(agents);
  perform private.check_watched_paths(agents);
  return null;
end
$$;

create function private.on_monitored_files_deleted() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_generations(array(select distinct agent_id from deleted));
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
  perform private.bump_generations(agents);
  perform private.check_watched_paths(agents);
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
