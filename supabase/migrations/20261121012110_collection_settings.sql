-- How often a host looks at itself and how much of its logs it sends, where its admins want it
-- otherwise than its own configuration says.
-- It is desired state like any other: a change moves the host's generation up.

create table public.collection_settings (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  created_at timestamptz not null default now(),
  -- Seconds; null leaves it to the agent. The host has the same bounds.
  usage_interval integer,
  -- The snapshot of the processes that take most of the host.
  top_processes_interval integer,
  facts_interval integer,
  -- Looks at ports and connections.
  network_interval integer,
  -- Looks for processes that began or ended, on hosts whose kernel does not tell of them.
  process_poll_interval integer,
  -- Of so many ordinary lines of logs the host sends one; 1 sends all. Detection never sees the others.
  sampling integer not null default 1,
  constraint usage_interval_is_1_to_3600 check (usage_interval between 1 and 3600),
  constraint top_processes_interval_is_10_to_3600
    check (top_processes_interval between 10 and 3600),
  constraint facts_interval_is_10_to_86400 check (facts_interval between 10 and 86400),
  constraint network_interval_is_1_to_300 check (network_interval between 1 and 300),
  constraint process_poll_interval_is_1_to_300 check (process_poll_interval between 1 and 300),
  constraint sampling_is_1_to_1000 check (sampling between 1 and 1000)
);

comment on column public.collection_settings.sampling is
  'Of so many lines of logs that state nothing to rules, and that no program wrote which guards the '
  'host, the host sends one per program; 1 sends all. Rules, alerts and viewers see only what is '
  'sent; what is left out is counted and told.';

alter table public.collection_settings enable row level security;
revoke all on public.collection_settings from public, anon, authenticated, service_role;
grant select on public.collection_settings to authenticated, service_role;
grant insert (
    agent_id, usage_interval, top_processes_interval, facts_interval, network_interval,
    process_poll_interval, sampling
  ),
  update (
    usage_interval, top_processes_interval, facts_interval, network_interval, process_poll_interval,
    sampling
  ),
  delete
on public.collection_settings to authenticated;

create policy readers_read on public.collection_settings for select to authenticated
using (agent_id in (select private.my_agents()));

create policy admins_insert on public.collection_settings for insert to authenticated
with check (agent_id in (select private.my_admin_agents()));

create policy admins_update on public.collection_settings for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));

create policy readers_delete on public.collection_settings for delete to authenticated
using (agent_id in (select private.my_agents()));

create trigger refuse_read_only_delete after delete on public.collection_settings
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_delete();

-- What a row wants, by the names that the agent knows; null where it leaves everything to the agent.
-- Every line of one is no wish: an agent that does not know the name takes the rest.
create function private.wanted_collection(settings public.collection_settings) returns jsonb
language sql immutable set search_path = '' as $$
  select nullif(
    jsonb_strip_nulls(
      to_jsonb(settings) - array['agent_id', 'created_at']
      || jsonb_build_object('sampling', nullif(settings.sampling, 1))
    ), '{}'
  )
$$;

-- A row that leaves everything to the agent desires nothing.
create function private.on_collection_settings_changed() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[];
begin
  if tg_op = 'INSERT' then
    select array_agg(agent_id) into agents from inserted
    where private.wanted_collection(inserted::public.collection_settings) is not null;
  elsif tg_op = 'DELETE' then
    select array_agg(agent_id) into agents from deleted
    where private.wanted_collection(deleted::public.collection_settings) is not null;
  else
    select array_agg(agent_id) into agents from (
      select agent_id, to_jsonb(inserted) - 'created_at' from inserted
      except
      select agent_id, to_jsonb(deleted) - 'created_at' from deleted
    ) changed;
  end if;
  perform private.bump_generations(agents);
  return null;
end
$$;

create trigger on_collection_settings_inserted after insert on public.collection_settings
  referencing new table as inserted
  for each statement execute function private.on_collection_settings_changed();
create trigger on_collection_settings_deleted after delete on public.collection_settings
  referencing old table as deleted
  for each statement execute function private.on_collection_settings_changed();
create trigger on_collection_settings_updated after update on public.collection_settings
  referencing old table as deleted new table as inserted
  for each statement execute function private.on_collection_settings_changed();

create function private.desired_collection(agent uuid) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(
    (
      select jsonb_build_object('collection', private.wanted_collection(c))
      from public.collection_settings c
      where c.agent_id = agent and private.wanted_collection(c) is not null
    ),
    '{}'
  )
$$;

revoke all on all functions in schema private from public;

-- Beside the other rows in which people say what they want.
alter publication supabase_realtime add table public.collection_settings;
