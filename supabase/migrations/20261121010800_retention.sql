-- Forgetting: resolved alerts, what hangs on them, times of changes, snapshots of processes, counts of
-- rules on trial that match no more, releases, and spent tokens, after an organization's retention, and
-- what the audit log keeps no longer.
-- Open alerts are never forgotten.

-- One bounded step; a caller repeats it until it returns 0, so that no transaction grows long.
create function public.purge(default_days integer default 30, max_rows integer default 5000)
returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  n_alerts integer;
  n_occurrences integer;
  n_surplus_changes integer;
  n_old_changes integer;
  n_snapshots integer;
  n_tokens integer;
  n_trials integer;
  n_releases integer;
  n_audited integer;
begin
  if default_days < 1 or max_rows < 1 then
    raise exception using errcode = '22023', message = 'default_days and max_rows start at 1';
  end if;

  delete from public.alerts where id in (
    select al.id from public.alerts al
    join public.agents a on a.id = al.agent_id
    join public.organizations o on o.id = a.org_id
    where al.resolved
      and al.resolved_at < now() - make_interval(
        days => private.setting_number(o.settings, 'retention_days', default_days)::integer
      )
    limit max_rows
  );
  get diagnostics n_alerts = row_count;

  -- Ids are remembered only against repeats, and a spool does not live this long.
  delete from private.alert_occurrences where occurrence_id in (
    select occurrence_id from private.alert_occurrences
    where recorded_at < now() - make_interval(days => default_days)
    limit max_rows
  );
  get diagnostics n_occurrences = row_count;

  delete from public.desired_changes d
  using (
    select d.agent_id, d.generation from public.desired_changes d
    join public.agents a on a.id = d.agent_id
    join public.organizations o on o.id = a.org_id
    -- The shortest retention first, which an index answers.
    where d.recorded_at < now() - make_interval(days => (
        select least(
          default_days,
          min(private.setting_number(s.settings, 'retention_days', default_days))
        )::integer
        from public.organizations s
      ))
      and d.recorded_at < now() - make_interval(
        days => private.setting_number(o.settings, 'retention_days', default_days)::integer
      )
    limit max_rows
  ) old
  where d.agent_id = old.agent_id and d.generation = old.generation;
  get diagnostics n_old_changes = row_count;

  delete from public.desired_changes d
  using (
    select d.agent_id, d.generation
    from public.desired_generations g
    cross join lateral (
      select e.agent_id, e.generation from public.desired_changes e
      where e.agent_id = g.agent_id
      order by e.generation desc
      offset 1000
    ) d
    -- Whoever has never had that many generations needs no look.
    where g.generation > 1000
    limit max_rows
  ) surplus
  where d.agent_id = surplus.agent_id and d.generation = surplus.generation;
  get diagnostics n_surplus_changes = row_count;

  -- Of hosts that went silent; command lines are nobody's business for longer than alerts.
  delete from public.agent_processes where agent_id in (
    select p.agent_id from public.agent_processes p
    join public.agents a on a.id = p.agent_id
    join public.organizations o on o.id = a.org_id
    where p.taken_at < now() - make_interval(
      days => private.setting_number(o.settings, 'retention_days', default_days)::integer
    )
    limit max_rows
  );
  get diagnostics n_snapshots = row_count;

  delete from public.agent_tokens where id in (
    select id from public.agent_tokens
    where coalesce(revoked_at, expires_at) < now() - make_interval(days => default_days)
    limit max_rows
  );
  get diagnostics n_tokens = row_count;

  delete from public.shadow_matches where id in (
    select s.id from public.shadow_matches s
    join public.organizations o on o.id = s.org_id
    where s.last_match_at < now() - make_interval(
      days => private.setting_number(o.settings, 'retention_days', default_days)::integer
    )
    limit max_rows
  );
  get diagnostics n_trials = row_count;

  delete from public.held_releases where id in (
    select h.id from public.held_releases h
    join public.organizations o on o.id = h.org_id
    where h.created_at < now() - make_interval(
      days => private.setting_number(o.settings, 'retention_days', default_days)::integer
    )
    limit max_rows
  );
  get diagnostics n_releases = row_count;

  delete from public.operator_looks where id in (
    select l.id from public.operator_looks l
    where l.ends_at < now() - make_interval(days => greatest(default_days, 365))
    limit max_rows
  );

  delete from public.account_notifications where id in (
    select n.id from public.account_notifications n
    where n.status in ('sent', 'failed')
      and n.created_at < now() - make_interval(days => default_days)
    limit max_rows
  );

  n_audited := private.purge_audit(max_rows);

  return n_alerts + n_occurrences + n_old_changes + n_surplus_changes + n_snapshots + n_tokens
    + n_trials + n_releases + n_audited;
end
$$;

revoke all on function public.purge(integer, integer) from public, anon, authenticated;
grant execute on function public.purge(integer, integer) to service_role;

-- With pg_cron the database does it by itself, every hour; without it, the daemon calls purge().
do $$
begin
  if exists (select from pg_available_extensions where name = 'pg_cron') then
    create extension if not exists pg_cron;
    perform cron.schedule('hidps-purge', '17 * * * *', 'select public.purge()');
  end if;
exception when others then
  -- Present but not preloaded, or not allowed to this role.
  raise notice 'pg_cron is not usable here (%), so the daemon has to call purge()', sqlerrm;
end
$$;
