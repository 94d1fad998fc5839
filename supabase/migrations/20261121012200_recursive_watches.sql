-- Watched directories with everything below them, where somebody wants that.
-- It is part of the row that desires the path: without the path there is nothing to be recursive.

-- False as ever: whoever asked for a directory alone did not ask for a thousand kernel watches.
alter table public.monitored_files add column recursive boolean not null default false;

grant insert (recursive), update (recursive) on public.monitored_files to authenticated;

-- The same as before, and a change of depth is one as well.
create or replace function private.on_monitored_files_updated() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[];
begin
  with before as (select agent_id, file_path, recursive from deleted),
  after as (select agent_id, file_path, recursive from inserted),
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

-- Which of the monitored files are recursive; nothing while none is.
create function private.desired_recursion(agent uuid) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(
    (
      select jsonb_build_object('monitored_recursively',
        jsonb_agg(m.file_path order by m.file_path collate "C"))
      from public.monitored_files m
      where m.agent_id = agent and m.recursive
      having count(*) > 0
    ),
    '{}'
  )
$$;

revoke all on all functions in schema private from public;
