-- What a Supabase project provides before the first migration of ours, on a plain Postgres 15 to 18.
-- It never holds a table or rule of HIDPS, and it may be run again over its own result.
--
-- @supabase/lite replaces auth.uid() and its siblings at each start by versions that see only the
-- one-variable-per-claim form; run this file again once it is ready, and both forms work.

-- Roles ---------------------------------------------------------------------------------------

do $$
begin
  if not exists (select from pg_roles where rolname = 'anon') then
    create role anon nologin;
  end if;
  if not exists (select from pg_roles where rolname = 'authenticated') then
    create role authenticated nologin;
  end if;
  if not exists (select from pg_roles where rolname = 'service_role') then
    create role service_role nologin bypassrls;
  end if;
  -- The REST and Auth server logs in as this role. It inherits the three above and owns nothing but
  -- schema auth, so the blanket GRANT that @supabase/lite issues at its first request is answered
  -- with a warning and cannot wipe out the column grants of the migrations. The password is set by
  -- whoever starts the server; without one, only trust or peer authentication lets it in.
  if not exists (select from pg_roles where rolname = 'authenticator') then
    create role authenticator login inherit;
  end if;
end
$$;

grant anon, authenticated, service_role to authenticator;

-- The server says "create schema if not exists auth" at every start, and Postgres wants this right
-- even where the schema exists.
do $$
begin
  execute format('grant create on database %I to authenticator', current_database());
end
$$;

-- Schemas -------------------------------------------------------------------------------------

create schema if not exists auth authorization authenticator;
create schema if not exists extensions;
create schema if not exists realtime;

grant usage on schema public, auth, extensions, realtime to anon, authenticated, service_role;

-- Who is asking -------------------------------------------------------------------------------
-- PostgREST sets request.jwt.claims; older gateways and @supabase/lite also set one variable per
-- claim, which wins here as it does on Supabase.

create or replace function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;

create or replace function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;

create or replace function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;

create or replace function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

-- The Auth server may replace these with its own, so it has to own them.
alter function auth.uid() owner to authenticator;
alter function auth.role() owner to authenticator;
alter function auth.email() owner to authenticator;
alter function auth.jwt() owner to authenticator;

-- Realtime ------------------------------------------------------------------------------------

create table if not exists realtime.messages (
  id uuid not null default gen_random_uuid(),
  topic text not null,
  extension text not null,
  payload jsonb,
  event text,
  private boolean default false,
  inserted_at timestamp without time zone not null default now(),
  updated_at timestamp without time zone not null default now(),
  primary key (id, inserted_at)
);

alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to anon, authenticated, service_role;

create or replace function realtime.topic() returns text language sql stable as $$
  select nullif(current_setting('realtime.topic', true), '')
$$;

-- A broadcast must never fail the statement that caused it, so every error becomes a warning.
create or replace function realtime.send(
  payload jsonb, event text, topic text, private boolean default true
) returns void language plpgsql as $$
declare
  message_id uuid := gen_random_uuid();
begin
  begin
    perform set_config('realtime.topic', topic, true);
    insert into realtime.messages (id, topic, extension, payload, event, private)
    values (
      message_id,
      topic,
      'broadcast',
      -- Receivers tell repeats apart by the id inside the payload.
      case when payload ? 'id' then payload
           else jsonb_set(payload, '{id}', to_jsonb(message_id)) end,
      event,
      private
    );
  exception when others then
    raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
  end;
end
$$;

-- The one thing beyond Supabase: a wake-up for the local stand-in, which would otherwise have to
-- poll the write-ahead log. It carries nothing; the message itself travels by the publication.
create or replace function realtime.wake_decoder() returns trigger language plpgsql as $$
begin
  perform pg_notify('realtime_messages', '');
  return null;
end
$$;

create or replace trigger wake_decoder
  after insert on realtime.messages
  for each statement execute function realtime.wake_decoder();

do $$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  if not exists (
    select from pg_publication where pubname = 'supabase_realtime_messages_publication'
  ) then
    create publication supabase_realtime_messages_publication for table realtime.messages;
  end if;
end
$$;
