-- Who may see and change what, as sets that policies compare against, and small shared functions.
-- Nothing here is reachable over the Data API.
--
-- The sets are functions without a row argument, used as "x in (select private.f())": Postgres then
-- runs them once per statement and hashes the result. The same check written per row is 150 times
-- slower on a fleet. They run as their owner, because a policy that reads a table with policies of
-- its own would recurse. For the same reason no table forces row level security on its owner: where
-- the owner bypasses it, forcing changes nothing, and where it does not, these functions would see
-- nothing.

-- Whether the Auth server still knows the session of a token. A token goes on being valid for as long
-- as an hour to whoever only looks at its signature. One without a session, as scripts and tests make,
-- has none to end.
create function private.session_is_live(session text) returns boolean
language plpgsql stable security definer set search_path = '' as $$
begin
  if session is null or to_regclass('auth.sessions') is null then
    return true;
  end if;
  return session ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    and exists (select from auth.sessions s where s.id = session::uuid);
end
$$;

-- The person who asks. Whoever logged out or was locked out is refused, and not shown an empty world.
create function private.caller() returns uuid
language plpgsql stable security definer set search_path = '' as $$
begin
  if auth.uid() is null then
    return null;
  end if;
  if not private.session_is_live(auth.jwt() ->> 'session_id') then
    perform private.refuse('28000', 401, 'this session was ended; sign in again');
  end if;
  if exists (
    select from auth.users u
    where u.id = auth.uid() and (u.banned_until > now() or u.deleted_at is not null)
  ) then
    perform private.refuse('28000', 401, 'this account is locked; ask whoever runs the platform');
  end if;
  return auth.uid();
end
$$;

-- Organizations the caller is a member of.
create function private.my_member_orgs() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select org_id from public.organization_members where user_id = (select private.caller())
$$;

-- Organizations the caller looks into as an operator of the platform.
create function private.my_looked_orgs() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select l.org_id from public.operator_looks l
  join private.platform_operators o on o.user_id = l.operator_id
  where l.operator_id = (select private.caller()) and l.ends_at > now()
$$;

-- Organizations the caller may see.
create function private.my_orgs() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select private.my_member_orgs() union select private.my_looked_orgs()
$$;

-- Organizations the caller may change.
create function private.my_admin_orgs() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select org_id from public.organization_members
  where user_id = (select private.caller()) and role in ('owner', 'admin')
$$;

-- The same, seeing what the current statement wrote: volatile functions take a new snapshot. The
-- insert of a first agent makes its organization on the way.
create function private.my_admin_orgs_now() returns setof uuid
language sql volatile security definer set search_path = '' as $$
  select org_id from public.organization_members
  where user_id = (select private.caller()) and role in ('owner', 'admin')
$$;

-- Agents shared with the caller one by one.
create function private.my_shared_agents() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select agent_id from public.agent_users where user_id = (select private.caller())
$$;

-- Agents the caller may see. Owning an agent gives no sight of it by itself: an agent belongs to its
-- organization, and whoever left that has left its agents.
create function private.my_agents() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select agent_id from public.agent_users where user_id = (select private.caller())
  union
  select a.id from public.agents a
  join public.organization_members m on m.org_id = a.org_id
  where m.user_id = (select private.caller())
  union
  select a.id from public.agents a where a.org_id in (select private.my_looked_orgs())
$$;

-- Agents the caller may change.
create function private.my_admin_agents() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select agent_id from public.agent_users
  where user_id = (select private.caller()) and role = 'admin'
  union
  select a.id from public.agents a
  join public.organization_members m on m.org_id = a.org_id
  where m.user_id = (select private.caller())
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

-- A text of at most most_characters without what deceives a reader: control characters, what has no width,
-- marks that turn the direction of writing, and ends of lines, which become spaces. The daemon's
-- `is_misleading` is the same rule, and a test holds the two together.
create function private.clean_text(value text, most_characters integer) returns text
language sql immutable set search_path = '' as $$
  select left(
    btrim(regexp_replace(
      translate(value, e'\t\n\r\u0085\u2028\u2029', '      '),
      '[\u0001-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f'
        '\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb'
        '\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]', '', 'g'
    )),
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

-- The answer to a call that is refused but must leave a trace: an exception would take back what was
-- counted. PostgREST sends the status, and the body has the form of its errors.
create function private.refusal_answer(code text, status integer, message text) returns jsonb
language plpgsql volatile set search_path = '' as $$
begin
  perform set_config('response.status', status::text, true);
  return jsonb_build_object('code', code, 'message', message, 'details', null, 'hint', null);
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
grant execute on function private.caller() to authenticated;
grant execute on function private.my_member_orgs() to authenticated;
grant execute on function private.my_looked_orgs() to authenticated;
grant execute on function private.my_orgs() to authenticated;
grant execute on function private.my_admin_orgs() to authenticated;
grant execute on function private.my_admin_orgs_now() to authenticated;
grant execute on function private.my_shared_agents() to authenticated;
grant execute on function private.my_agents() to authenticated;
grant execute on function private.my_admin_agents() to authenticated;
