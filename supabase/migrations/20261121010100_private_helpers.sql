-- Who may see and change what, as sets that policies compare against, and small shared functions.
-- Nothing here is reachable over the Data API.
--
-- The sets are functions without a row argument, used as "x in (select private.f())": Postgres then
-- runs them once per statement and hashes the result. The same check written per row is 150 times
-- slower on a fleet. They run as their owner, because a policy that reads a table with policies of
-- its own would recurse. For the same reason no table forces row level security on its owner: where
-- the owner bypasses it, forcing changes nothing, and where it does not, these functions would see
-- nothing.

-- Organizations of the caller.
create function private.my_orgs() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select org_id from public.organization_members where user_id = (select auth.uid())
$$;

-- Organizations the caller may change.
create function private.my_admin_orgs() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select org_id from public.organization_members
  where user_id = (select auth.uid()) and role in ('owner', 'admin')
$$;

-- The same, seeing what the current statement wrote: volatile functions take a new snapshot. The
-- insert of a first agent makes its organization on the way.
create function private.my_admin_orgs_now() returns setof uuid
language sql volatile security definer set search_path = '' as $$
  select org_id from public.organization_members
  where user_id = (select auth.uid()) and role in ('owner', 'admin')
$$;

-- Agents shared with the caller one by one.
create function private.my_shared_agents() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select agent_id from public.agent_users where user_id = (select auth.uid())
$$;

-- Agents the caller may see. Owning an agent gives no sight of it by itself: an agent belongs to its
-- organization, and whoever left that has left its agents.
create function private.my_agents() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select agent_id from public.agent_users where user_id = (select auth.uid())
  union
  select a.id from public.agents a
  join public.organization_members m on m.org_id = a.org_id
  where m.user_id = (select auth.uid())
$$;

-- Agents the caller may change.
create function private.my_admin_agents() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select agent_id from public.agent_users
  where user_id = (select auth.uid()) and role = 'admin'
  union
  select a.id from public.agents a
  join public.organization_members m on m.org_id = a.org_id
  where m.user_id = (select auth.uid())
    and (m.role in ('owner', 'admin') or a.owner_id = m.user_id)
$$;

-- A number from an organization's settings; the table's checks have made sure that it is one.
create function private.setting_number(settings jsonb, key text, fallback numeric) returns numeric
language sql immutable set search_path = '' as $$
  select coalesce((settings ->> key)::numeric, fallback)
$$;

-- A JSON argument as the caller meant it. @supabase/lite 0.10 on a Postgres server sends the text of
-- the document inside a JSON string; PostgREST sends the document. Such a text may hold \u0000, which
-- no jsonb can; an even number of backslashes before it belongs to the text.
create function private.json_argument(value jsonb) returns jsonb
language sql immutable set search_path = '' as $$
  select case jsonb_typeof(value)
    when 'string' then
      regexp_replace(value #>> '{}', '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g')::jsonb
    else value
  end
$$;

-- A text of at most most_characters without control characters; those that part words become spaces.
create function private.clean_text(value text, most_characters integer) returns text
language sql immutable set search_path = '' as $$
  select left(
    btrim(regexp_replace(translate(value, e'\t\n\r', '   '), '[\u0001-\u001f\u007f]', '', 'g')),
    most_characters
  )
$$;

-- Refuses with a code of our choice and an HTTP status that fits it. PostgREST answers 500 to a
-- plain P0002, which a caller would rightly retry.
create function private.refuse(code text, status integer, message text) returns void
language plpgsql volatile set search_path = '' as $$
begin
  raise sqlstate 'PGRST' using
    message = json_build_object('code', code, 'message', message)::text,
    detail = json_build_object('status', status, 'headers', json_build_object())::text;
end
$$;

-- Tells the daemon over a private Broadcast topic that there is something to look at. It is a hint:
-- whatever goes wrong here, including a project without Realtime, must not fail the writer.
create function private.hint_daemon(event text, payload jsonb) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  perform realtime.send(payload, event, 'hidps:feed', true);
exception when others then
  raise debug 'no broadcast %: %', event, sqlerrm;
end
$$;

-- 256 bits as 64 hex digits. A random uuid has 122 random bits, so three of them are enough to
-- fill a SHA-256; pgcrypto is not needed.
create function private.random_hex() returns text
language sql volatile set search_path = '' as $$
  select encode(sha256(
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
  ), 'hex')
$$;

create function private.sha256_hex(value text) returns text
language sql immutable set search_path = '' as $$
  select encode(sha256(convert_to(value, 'UTF8')), 'hex')
$$;

-- New functions are executable by everyone unless this is taken away.
revoke all on all functions in schema private from public;

grant usage on schema private to authenticated;
grant execute on function private.my_orgs() to authenticated;
grant execute on function private.my_admin_orgs() to authenticated;
grant execute on function private.my_admin_orgs_now() to authenticated;
grant execute on function private.my_shared_agents() to authenticated;
grant execute on function private.my_agents() to authenticated;
grant execute on function private.my_admin_agents() to authenticated;
