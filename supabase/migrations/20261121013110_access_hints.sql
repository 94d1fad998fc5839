-- Tells the daemon at once that what somebody may see has changed, so that it asks Postgres again for
-- them. It decides nothing: a hint that is lost costs a live stream until it is next asked about.

-- Null, or more people than a message should carry, is everybody.
create function private.hint_access(persons uuid[]) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  if persons is null or cardinality(persons) > 100 then
    perform private.hint_daemon('access', '{}');
  elsif cardinality(persons) > 0 then
    perform private.hint_daemon('access', jsonb_build_object('persons', to_jsonb(persons)));
  end if;
end
$$;

create function private.hint_access_of_members() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    perform private.hint_access(array(select distinct user_id from inserted));
  else
    perform private.hint_access(array(select distinct user_id from deleted));
  end if;
  return null;
end
$$;

create function private.hint_access_of_operators() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    perform private.hint_access(array(select distinct operator_id from inserted));
  else
    perform private.hint_access(array(
      select distinct operator_id from deleted where operator_id is not null
    ));
  end if;
  return null;
end
$$;

do $$
declare
  what record;
begin
  for what in select * from (values
    ('organization_members', 'hint_access_of_members'), ('agent_users', 'hint_access_of_members'),
    ('operator_looks', 'hint_access_of_operators')
  ) w (table_name, function_name) loop
    execute format(
      'create trigger hint_access_on_insert after insert on public.%I
        referencing new table as inserted
        for each statement execute function private.%I()', what.table_name, what.function_name);
    execute format(
      'create trigger hint_access_on_update after update on public.%I
        referencing old table as deleted
        for each statement execute function private.%I()', what.table_name, what.function_name);
    execute format(
      'create trigger hint_access_on_delete after delete on public.%I
        referencing old table as deleted
        for each statement execute function private.%I()', what.table_name, what.function_name);
  end loop;
end
$$;

-- An agent that goes or changes hands concerns everybody who saw it, of whom there may be many.
create function private.hint_access_to_agent() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.hint_access(null);
  return null;
end
$$;

-- A statement that deletes nothing is anybody's to make.
create function private.hint_access_to_gone_agents() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from deleted) then
    perform private.hint_access(null);
  end if;
  return null;
end
$$;

create trigger hint_access_on_delete after delete on public.agents
  referencing old table as deleted
  for each statement execute function private.hint_access_to_gone_agents();
create trigger hint_access_on_handing_over after update of owner_id, org_id on public.agents
  for each row when (old.owner_id <> new.owner_id or old.org_id <> new.org_id)
  execute function private.hint_access_to_agent();

-- The Auth server's own tables: a session that ends, an account that is locked. -------------------

-- Whatever goes wrong here must not keep anybody from logging out.
create function private.hint_access_of_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.hint_access(array[old.user_id]);
  return null;
exception when others then
  raise warning 'no hint of an ended session: %', sqlerrm;
  return null;
end
$$;

create function private.hint_access_of_account() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.hint_access(array[new.id]);
  return null;
exception when others then
  raise warning 'no hint of a locked account: %', sqlerrm;
  return null;
end
$$;

revoke all on all functions in schema private from public;

-- Where the project does not let us, the daemon hears of it when it next asks.
do $$
begin
  if to_regclass('auth.sessions') is not null then
    drop trigger if exists hidps_hint_access on auth.sessions;
    create trigger hidps_hint_access after delete on auth.sessions
      for each row execute function private.hint_access_of_session();
  end if;
exception when insufficient_privilege then
  raise notice 'no hints of ended sessions here (%); live streams end when they are next asked about',
    sqlerrm;
end
$$;

do $$
begin
  drop trigger if exists hidps_hint_access on auth.users;
  create trigger hidps_hint_access after update of banned_until, deleted_at on auth.users
    for each row when (
      old.banned_until is distinct from new.banned_until
      or old.deleted_at is distinct from new.deleted_at
    )
    execute function private.hint_access_of_account();
exception when insufficient_privilege or undefined_column then
  raise notice 'no hints of locked accounts here (%); live streams end when they are next asked about',
    sqlerrm;
end
$$;
