-- What an organization wants of detection beyond the built-in rules: rules and exceptions of its own,
-- other settings of built-in rules, and matches to keep quiet about.
-- Nobody writes here what became of it but the daemon, and the daemon writes nothing else.
--
-- Each row carries a version that grows with its intent, and the version that the daemon has judged:
-- a status speaks of the row as it is exactly where both are equal.

-- Own rules: Sigma rules, correlations and filters, one or several documents in a body.
create table public.detection_rules (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  name text not null,
  body text not null,
  enabled boolean not null default true,
  -- Its matches are counted and raise no alert.
  shadow boolean not null default false,
  created_by uuid default auth.uid() references auth.users (id) on delete set null,
  created_at timestamptz not null default now(),
  version bigint not null default 1,
  status text not null default 'pending',
  reason text not null default '',
  -- Where in the body the fault is, counted from one.
  fault_line integer,
  fault_column integer,
  -- Hash of the organization's rules that were in force when this was judged.
  rule_set text,
  observed_version bigint,
  observed_at timestamptz,
  constraint detection_rules_name_is_unique_in_its_organization unique (org_id, name),
  constraint name_is_1_to_200_characters check (char_length(name) between 1 and 200),
  -- The longest community rule has 20 KiB.
  constraint body_is_1_byte_to_32_kib check (octet_length(body) between 1 and 32768),
  constraint status_is_known check (
    status in ('pending', 'accepted', 'refused', 'suspended', 'disabled')
  )
);

-- Other settings of one built-in rule; null leaves the rule's own.
create table public.detection_overrides (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  rule_id text not null,
  enabled boolean,
  level text,
  -- The number in the condition of a correlation.
  threshold integer,
  shadow boolean,
  created_by uuid default auth.uid() references auth.users (id) on delete set null,
  created_at timestamptz not null default now(),
  version bigint not null default 1,
  status text not null default 'pending',
  reason text not null default '',
  observed_version bigint,
  observed_at timestamptz,
  constraint detection_overrides_rule_is_unique_in_its_organization unique (org_id, rule_id),
  constraint rule_id_is_1_to_200_characters check (char_length(rule_id) between 1 and 200),
  constraint level_is_a_sigma_level check (
    level in ('informational', 'low', 'medium', 'high', 'critical')
  ),
  constraint threshold_is_1_to_10000 check (threshold between 1 and 10000),
  constraint status_is_known check (status in ('pending', 'accepted', 'refused'))
);

-- Matches to keep quiet about: of one rule or all, on one agent or all, with one value or any.
create table public.suppressions (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  -- Null means every rule.
  rule_id text,
  -- Null means every agent of the organization.
  agent_id uuid references public.agents (id) on delete cascade,
  -- A field of the event, such as src_ip or TargetFilename; null means every match.
  field text,
  -- equal to the value, within the network, or below the path.
  match text not null default 'value',
  value text,
  -- Null means until the row is deleted.
  until timestamptz,
  note text not null,
  created_by uuid default auth.uid() references auth.users (id) on delete set null,
  created_at timestamptz not null default now(),
  version bigint not null default 1,
  status text not null default 'pending',
  reason text not null default '',
  -- How many matches were kept quiet about, and when the last one was.
  suppressed bigint not null default 0,
  last_suppressed_at timestamptz,
  observed_version bigint,
  observed_at timestamptz,
  constraint something_is_named check (
    rule_id is not null or agent_id is not null or field is not null
  ),
  constraint a_field_has_a_value check ((field is null) = (value is null)),
  constraint rule_id_is_1_to_200_characters check (char_length(rule_id) between 1 and 200),
  constraint field_is_1_to_200_characters check (char_length(field) between 1 and 200),
  constraint value_is_at_most_1000_characters check (char_length(value) <= 1000),
  constraint match_is_value_cidr_or_prefix check (match in ('value', 'cidr', 'prefix')),
  -- What the daemon cannot read as a time would keep it from reading anything of the organization.
  constraint until_is_a_time check (until between '2000-01-01 00:00Z' and '9999-01-01 00:00Z'),
  constraint note_is_1_to_1000_characters check (char_length(note) between 1 and 1000),
  constraint status_is_known check (status in ('pending', 'accepted', 'refused'))
);

create index detection_rules_created_by on public.detection_rules (created_by)
  where created_by is not null;
create index detection_overrides_created_by on public.detection_overrides (created_by)
  where created_by is not null;
create index suppressions_org_id on public.suppressions (org_id);
create index suppressions_agent_id on public.suppressions (agent_id) where agent_id is not null;
create index suppressions_created_by on public.suppressions (created_by)
  where created_by is not null;

-- Rights --------------------------------------------------------------------------------------

do $$
declare
  intent text;
begin
  foreach intent in array array['detection_rules', 'detection_overrides', 'suppressions'] loop
    execute format('alter table public.%I enable row level security', intent);
    execute format(
      'revoke all on public.%I from public, anon, authenticated, service_role', intent);
    execute format('grant select on public.%I to authenticated, service_role', intent);
    execute format(
      'create policy members_read on public.%I for select to authenticated
        using (org_id in (select private.my_orgs()))', intent);
    execute format(
      'create policy admins_insert on public.%I for insert to authenticated
        with check (org_id in (select private.my_admin_orgs()))', intent);
    execute format(
      'create policy admins_update on public.%I for update to authenticated
        using (org_id in (select private.my_orgs()))
        with check (org_id in (select private.my_admin_orgs()))', intent);
    execute format(
      'create policy members_delete on public.%I for delete to authenticated
        using (org_id in (select private.my_orgs()))', intent);
  end loop;
end
$$;

-- Without the keys on update: a row never moves to another organization.
grant insert (org_id, name, body, enabled, shadow), update (name, body, enabled, shadow), delete
on public.detection_rules to authenticated;

grant insert (org_id, rule_id, enabled, level, threshold, shadow),
  update (enabled, level, threshold, shadow), delete
on public.detection_overrides to authenticated;

grant insert (org_id, rule_id, agent_id, field, match, value, until, note),
  update (rule_id, field, match, value, until, note), delete
on public.suppressions to authenticated;

-- Deletes have no check, so a read-only member would delete what the policy only lets him see. The
-- daemon may not look into schema private, hence a statement of its own.
create function private.refuse_read_only_detection_delete() returns trigger
language plpgsql set search_path = '' as $$
begin
  if not row_security_active(tg_relid) then
    return null;
  end if;
  if exists (select from deleted where deleted.org_id not in (select private.my_admin_orgs())) then
    raise exception using errcode = '42501',
      message = format('you may read these rows of %s but not delete them', tg_table_name),
      hint = 'Ask an owner or admin of the organization.';
  end if;
  return null;
end
$$;

-- An agent that is gone took its suppressions with it: whoever deleted it was checked there.
create function private.refuse_read_only_suppression_delete() returns trigger
language plpgsql set search_path = '' as $$
begin
  if not row_security_active(tg_relid) then
    return null;
  end if;
  if exists (
    select from deleted
    where deleted.org_id not in (select private.my_admin_orgs())
      and (deleted.agent_id is null or deleted.agent_id in (select private.my_agents()))
  ) then
    raise exception using errcode = '42501',
      message = 'you may read these rows of suppressions but not delete them',
      hint = 'Ask an owner or admin of the organization.';
  end if;
  return null;
end
$$;

create trigger refuse_read_only_delete after delete on public.detection_rules
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_detection_delete();
create trigger refuse_read_only_delete after delete on public.detection_overrides
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_detection_delete();
create trigger refuse_read_only_delete after delete on public.suppressions
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_suppression_delete();

-- An agent of another organization would make a suppression that never holds.
create function private.check_suppressed_agent() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.agent_id is not null and not exists (
    select from public.agents a where a.id = new.agent_id and a.org_id = new.org_id
  ) then
    raise exception using errcode = '22023',
      message = format('there is no agent %s in this organization', new.agent_id);
  end if;
  return new;
end
$$;

create trigger check_suppressed_agent before insert on public.suppressions
  for each row execute function private.check_suppressed_agent();

-- Versions and generations --------------------------------------------------------------------

create function private.count_rule_version() returns trigger
language plpgsql set search_path = '' as $$
begin
  if (new.name, new.body, new.enabled, new.shadow)
    is distinct from (old.name, old.body, old.enabled, old.shadow) then
    new.version := old.version + 1;
  end if;
  return new;
end
$$;

create function private.count_override_version() returns trigger
language plpgsql set search_path = '' as $$
begin
  if (new.enabled, new.level, new.threshold, new.shadow)
    is distinct from (old.enabled, old.level, old.threshold, old.shadow) then
    new.version := old.version + 1;
  end if;
  return new;
end
$$;

create function private.count_suppression_version() returns trigger
language plpgsql set search_path = '' as $$
begin
  if (new.rule_id, new.field, new.match, new.value, new.until)
    is distinct from (old.rule_id, old.field, old.match, old.value, old.until) then
    new.version := old.version + 1;
  end if;
  return new;
end
$$;

create trigger count_version before update on public.detection_rules
  for each row execute function private.count_rule_version();
create trigger count_version before update on public.detection_overrides
  for each row execute function private.count_override_version();
create trigger count_version before update on public.suppressions
  for each row execute function private.count_suppression_version();

-- One number per organization with something of its own, which grows with every change of it and of
-- the agents it holds for; an organization keeps its number when its last row goes.
create table private.detection_generations (
  org_id uuid primary key references public.organizations (id) on delete cascade,
  generation bigint not null default 1
);

create function private.bump_detection(orgs uuid[]) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  -- Rows go with their organization, which must not be given a number then.
  insert into private.detection_generations as g (org_id)
  select o.id from public.organizations o where o.id = any (orgs) order by o.id
  on conflict (org_id) do update set generation = g.generation + 1;
  perform private.hint_daemon('detection', '{}');
end
$$;

-- Refuses more than a daemon that serves many organizations would hold for one. Bumping first takes
-- the organization's number, so that two people adding rows at once are counted one after the other.
create function private.check_detection_counts(orgs uuid[]) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  crowded record;
begin
  select t.what, t.most into crowded
  from unnest(orgs) o (id)
  cross join lateral (
    select 'detection_rules' as what, 200 as most, count(*) as n
    from public.detection_rules r where r.org_id = o.id
    union all
    select 'detection_overrides', 1000, count(*)
    from public.detection_overrides r where r.org_id = o.id
    union all
    select 'suppressions', 500, count(*) from public.suppressions r where r.org_id = o.id
  ) t
  where t.n > t.most
  limit 1;
  if crowded.what is not null then
    raise exception using errcode = '22023',
      message = format('an organization may have %s rows of %s', crowded.most, crowded.what),
      hint = 'Delete what is not needed any more, or write several documents into one rule.';
  end if;
end
$$;

create function private.on_detection_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  orgs uuid[] := array(select distinct org_id from inserted);
begin
  if cardinality(orgs) > 0 then
    perform private.bump_detection(orgs);
    perform private.check_detection_counts(orgs);
  end if;
  return null;
end
$$;

create function private.on_detection_deleted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  orgs uuid[] := array(select distinct org_id from deleted);
begin
  if cardinality(orgs) > 0 then
    perform private.bump_detection(orgs);
  end if;
  return null;
end
$$;

-- What the daemon observed leaves the version alone, and so tells nobody to look again.
create function private.on_detection_updated() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  orgs uuid[] := array(
    select distinct n.org_id from inserted n join deleted o on o.id = n.id
    where n.version <> o.version
  );
begin
  if cardinality(orgs) > 0 then
    perform private.bump_detection(orgs);
  end if;
  return null;
end
$$;

do $$
declare
  intent text;
begin
  foreach intent in array array['detection_rules', 'detection_overrides', 'suppressions'] loop
    execute format(
      'create trigger on_detection_inserted after insert on public.%I
        referencing new table as inserted
        for each statement execute function private.on_detection_inserted()', intent);
    execute format(
      'create trigger on_detection_deleted after delete on public.%I
        referencing old table as deleted
        for each statement execute function private.on_detection_deleted()', intent);
    execute format(
      'create trigger on_detection_updated after update on public.%I
        referencing old table as deleted new table as inserted
        for each statement execute function private.on_detection_updated()', intent);
  end loop;
end
$$;

-- Agents that come, go or move change whom an organization's rules hold for.
create function private.bump_detection_of_agents(orgs uuid[]) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  known uuid[] := array(
    select g.org_id from private.detection_generations g where g.org_id = any (orgs)
  );
begin
  if cardinality(known) > 0 then
    perform private.bump_detection(known);
  end if;
end
$$;

create function private.on_agents_come() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_detection_of_agents(array(select distinct org_id from inserted));
  return null;
end
$$;

create function private.on_agents_gone() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_detection_of_agents(array(select distinct org_id from deleted));
  return null;
end
$$;

create function private.on_agent_moved() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.bump_detection_of_agents(array[old.org_id, new.org_id]);
  return null;
end
$$;

create trigger on_agents_come after insert on public.agents
  referencing new table as inserted
  for each statement execute function private.on_agents_come();
create trigger on_agents_gone after delete on public.agents
  referencing old table as deleted
  for each statement execute function private.on_agents_gone();
create trigger on_agent_moved after update of org_id on public.agents
  for each row when (old.org_id is distinct from new.org_id)
  execute function private.on_agent_moved();

-- What the daemon reads -----------------------------------------------------------------------

-- The organizations with something of their own, in one document with its own count: a short answer
-- can then not be taken for a whole one. The oldest come first, and so have their rules in force first
-- where there is no room for all.
create function public.detection_index() returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'n_organizations', count(*),
    'organizations', coalesce(
      jsonb_agg(
        jsonb_build_object('org_id', g.org_id, 'generation', g.generation)
        order by o.created_at, g.org_id
      ),
      '[]'
    )
  )
  from private.detection_generations g
  join public.organizations o on o.id = g.org_id
$$;

-- Everything one organization wants, and the agents it holds for; null without a number.
create function public.detection_intent(p_org uuid) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'org_id', g.org_id,
    'generation', g.generation,
    'agents', coalesce(
      (select jsonb_agg(a.id order by a.id) from public.agents a where a.org_id = g.org_id), '[]'
    ),
    'rules', coalesce(
      (
        select jsonb_agg(jsonb_build_object(
          'id', r.id, 'version', r.version, 'body', r.body, 'enabled', r.enabled,
          'shadow', r.shadow
        ) order by r.created_at, r.id)
        from public.detection_rules r where r.org_id = g.org_id
      ),
      '[]'
    ),
    'overrides', coalesce(
      (
        select jsonb_agg(jsonb_build_object(
          'id', r.id, 'version', r.version, 'rule_id', r.rule_id, 'enabled', r.enabled,
          'level', r.level, 'threshold', r.threshold, 'shadow', r.shadow
        ) order by r.rule_id)
        from public.detection_overrides r where r.org_id = g.org_id
      ),
      '[]'
    ),
    'suppressions', coalesce(
      (
        select jsonb_agg(jsonb_build_object(
          'id', r.id, 'version', r.version, 'rule_id', r.rule_id, 'agent_id', r.agent_id,
          'field', r.field, 'match', r.match, 'value', r.value, 'until', r.until
        ) order by r.created_at, r.id)
        from public.suppressions r where r.org_id = g.org_id
      ),
      '[]'
    )
  )
  from private.detection_generations g where g.org_id = p_org
$$;

revoke all on all functions in schema private from public;
revoke all on function public.detection_index() from public, anon, authenticated;
revoke all on function public.detection_intent(uuid) from public, anon, authenticated;
grant execute on function public.detection_index() to service_role;
grant execute on function public.detection_intent(uuid) to service_role;

-- Frontends follow their rows and what became of them. Keys are opaque.
alter publication supabase_realtime add table
  public.detection_rules, public.detection_overrides, public.suppressions;
