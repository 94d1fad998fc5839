-- Which tables Realtime tells about. Secrets, notifications and telemetry history are not among them.
-- Deletes reach every subscriber of a table with nothing but the key, so all keys here are opaque, or
-- words of the daemon about itself.

do $$
declare
  published text;
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  foreach published in array array[
    'desired_generations', 'agents', 'agent_stats', 'alerts', 'monitored_files', 'agent_conditions',
    'system_health', 'feed_canary'
  ] loop
    if not exists (
      select from pg_publication_tables
      where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = published
    ) then
      execute format('alter publication supabase_realtime add table public.%I', published);
    end if;
  end loop;
end
$$;
