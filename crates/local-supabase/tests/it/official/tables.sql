-- What the official clients are tried on: a table with row level security and a column nobody may read,
-- a private topic per person, and a function that broadcasts.
-- It never touches the project's own tables.

create table public.notes (
  id bigint generated always as identity primary key,
  owner uuid not null default auth.uid(),
  body text,
  details jsonb,
  made_at timestamptz not null default '2026-11-20 23:57:47.5+00',
  hidden text default 'nobody reads this'
);
alter table public.notes enable row level security;
create policy own on public.notes for all to authenticated
  using (owner = (select auth.uid())) with check (owner = (select auth.uid()));
revoke all on public.notes from anon, authenticated;
grant select (id, owner, body, details, made_at), insert (body, details), update (body, details), delete
  on public.notes to authenticated;
grant all on public.notes, public.notes_id_seq to service_role;
alter publication supabase_realtime add table public.notes;

create policy own_topic on realtime.messages for all to authenticated
  using (realtime.topic() = 'person:' || (select auth.uid())::text)
  with check (realtime.topic() = 'person:' || (select auth.uid())::text);

create function public.announce(topic text, event text, payload jsonb, private boolean)
returns void language sql security definer set search_path = '' as $$
  select realtime.send(payload, event, topic, private)
$$;
revoke execute on function public.announce from public, anon;
grant execute on function public.announce to authenticated, service_role;

create function public.describe(plain json, stored jsonb) returns jsonb language sql as $$
  select jsonb_build_array(json_typeof(plain), plain, jsonb_typeof(stored), stored)
$$;
revoke execute on function public.describe from public, anon;
grant execute on function public.describe to authenticated, service_role;
