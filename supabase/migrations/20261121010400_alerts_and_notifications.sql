-- The life of an alert: counted once per occurrence, told to whoever should know, resolved by people,
-- forgotten after its retention.
-- A log line never comes here; evidence is the bounded excerpt that the daemon made.

-- Resolving and acknowledging -----------------------------------------------------------------

-- Frontends send who and when; the database knows better.
create function private.stamp_alert_decisions() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  person uuid := auth.uid();
begin
  if new.resolved and not old.resolved then
    new.resolved_at := now();
    new.resolved_by := coalesce(person, new.resolved_by);
  elsif not new.resolved then
    new.resolved_at := null;
    new.resolved_by := null;
  elsif person is not null then
    new.resolved_at := old.resolved_at;
    new.resolved_by := old.resolved_by;
  end if;
  if new.acknowledged_at is null then
    new.acknowledged_by := null;
  elsif old.acknowledged_at is null then
    new.acknowledged_at := now();
    new.acknowledged_by := coalesce(person, new.acknowledged_by);
  elsif person is not null then
    new.acknowledged_at := old.acknowledged_at;
    new.acknowledged_by := old.acknowledged_by;
  end if;
  return new;
end
$$;

create trigger stamp_alert_decisions
  before update of resolved, resolved_at, resolved_by, acknowledged_at, acknowledged_by
  on public.alerts
  for each row execute function private.stamp_alert_decisions();

-- Raising -------------------------------------------------------------------------------------

create function private.check_alert(alert jsonb) returns void
language plpgsql stable set search_path = '' as $$
declare
  missing text;
begin
  if jsonb_typeof(alert) is distinct from 'object' then
    raise exception using errcode = '22023', message = 'an alert must be a JSON object';
  end if;
  select key into missing
  from unnest(array['occurrence_id', 'agent_id', 'fingerprint', 'title', 'severity']) as key
  where nullif(alert ->> key, '') is null
  limit 1;
  if missing is not null then
    raise exception using errcode = '22023', message = format('the alert has no %s', missing);
  end if;
end
$$;

-- One row per open fingerprint. Repeating a call, after a lost answer for example, changes nothing.
create function public.upsert_alert(alert jsonb)
returns table (id uuid, occurrences integer, is_new boolean)
language plpgsql volatile security definer set search_path = '' as $$
#variable_conflict use_column
declare
  given jsonb;
  a record;
  raised record;
  fresh_id uuid := gen_random_uuid();
begin
  begin
    given := private.json_argument(alert);
    perform private.check_alert(given);
    select * into strict a from jsonb_to_record(given) as r (
      occurrence_id uuid, agent_id uuid, fingerprint text, rule_id text, title text,
      message text, alert_type text, severity smallint, risk integer, evidence jsonb,
      explanation jsonb, occurred_at timestamptz, count integer
    );
  exception when data_exception then
    raise exception using errcode = '22023', message = format('bad value in alert: %s', sqlerrm);
  end;
  -- The table would not notice on a counter that is raised.
  if a.count < 1 then
    raise exception using errcode = '22023', message = 'bad value in alert: count is below 1';
  end if;
  if not exists (select from public.agents g where g.id = a.agent_id) then
    raise exception using errcode = '23503',
      message = format('there is no agent %s', a.agent_id);
  end if;

  -- Taken first: a second call with the same id waits here until the first is done.
  insert into private.alert_occurrences (occurrence_id) values (a.occurrence_id)
  on conflict do nothing;
  if not found then
    return query
      select o.alert_id, coalesce(al.occurrences, 0), false
      from private.alert_occurrences o
      left join public.alerts al on al.id = o.alert_id
      where o.occurrence_id = a.occurrence_id;
    return;
  end if;

  begin
    insert into public.alerts as al (
      id, agent_id, fingerprint, rule_id, title, message, alert_type, severity, risk,
      evidence, explanation, first_seen, last_seen, occurrences
    )
    values (
      fresh_id, a.agent_id, left(a.fingerprint, 200), a.rule_id,
      -- Words may hold what a log said. They are cleaned and never refused: what an attacker writes
      -- must not keep an alert away.
      coalesce(nullif(private.clean_text(a.title, 300), ''), 'Alert without a readable title'),
      coalesce(private.clean_text(a.message, 4000), ''),
      coalesce(nullif(a.alert_type, ''), 'system'),
      a.severity, coalesce(a.risk, 0), coalesce(a.evidence, '[]'),
      coalesce(a.explanation, '{}'), coalesce(a.occurred_at, now()),
      coalesce(a.occurred_at, now()), coalesce(a.count, 1)
    )
    on conflict (agent_id, fingerprint) where not resolved do update set
      -- The counter stays at its greatest value instead of failing every further alert.
      occurrences = least(al.occurrences::bigint + excluded.occurrences, 2147483647)::integer,
      -- A spooled alert may arrive after a younger one.
      first_seen = least(al.first_seen, excluded.first_seen),
      last_seen = greatest(al.last_seen, excluded.last_seen)
    returning al.id, al.occurrences into raised;
  exception when check_violation then
    raise exception using errcode = '22023', message = format('bad value in alert: %s', sqlerrm);
  end;

  update private.alert_occurrences o
  set alert_id = raised.id
  where o.occurrence_id = a.occurrence_id;
  return query select raised.id, raised.occurrences, raised.id = fresh_id;
end
$$;

-- Notifications -------------------------------------------------------------------------------

-- Everybody who should hear of an agent's alerts, once per address. Its owner hears as a member of its
-- organization, and no longer than that.
create function private.alert_recipients(agent uuid)
returns table (recipient_id uuid, recipient text)
language sql stable security definer set search_path = '' as $$
  select distinct on (lower(u.email)) u.id, u.email::text
  from (
    select s.user_id from public.agent_users s where s.agent_id = agent
    union
    select m.user_id from public.organization_members m
    join public.agents a on a.org_id = m.org_id
    where a.id = agent
  ) interested
  join auth.users u on u.id = interested.user_id
  where u.email like '%_@_%'
    and u.deleted_at is null
    -- The switch that existing frontends show on the profile page.
    and coalesce(u.raw_user_meta_data ->> 'notifications', 'true') <> 'false'
  order by lower(u.email), u.created_at, u.id
$$;

-- How many mails of a stage a recipient was meant to get about an agent within the last hour; counts no
-- further than most, so that a flood costs the same as a trickle.
create function private.count_recent_mails(agent uuid, address text, kind text, most bigint)
returns bigint
language sql stable security definer set search_path = '' as $$
  select count(*) from (
    select from public.alert_notifications n
    where n.agent_id = agent and n.recipient = address and n.stage = kind
      and n.created_at > now() - interval '1 hour' and not n.suppressed
    limit most
  ) recent
$$;

-- Queues a mail to everybody concerned. Above the organization's number per recipient, agent and hour the
-- row is only a record, and one mail about the storm takes the place of all of them.
create function private.on_alerts_raised() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- Alerts of one agent are counted one after the other.
  perform pg_advisory_xact_lock(hashtextextended('hidps mail about ' || i.agent_id, 0))
  from (select distinct agent_id from inserted order by agent_id) i;

  with wanted as materialized (
    select i.id as alert_id, i.agent_id, r.recipient_id, r.recipient,
      private.setting_number(o.settings, 'max_mails_per_hour', 30)::bigint as most,
      row_number() over (partition by i.agent_id, r.recipient order by i.created_at, i.id) as nth
    from inserted i
    join public.agents a on a.id = i.agent_id
    join public.organizations o on o.id = a.org_id
    cross join lateral private.alert_recipients(i.agent_id) r
    where not i.resolved
      and i.severity >= private.setting_number(o.settings, 'notify_min_severity', 2)
  ),
  counted as materialized (
    select w.*, w.nth
      + private.count_recent_mails(w.agent_id, w.recipient, 'raised', w.most) > w.most as is_too_many
    from wanted w
  ),
  storms as (
    select distinct on (c.agent_id, c.recipient) c.* from counted c
    where c.is_too_many
      and private.count_recent_mails(c.agent_id, c.recipient, 'storm', 1) = 0
    order by c.agent_id, c.recipient, c.nth
  )
  insert into public.alert_notifications (
    alert_id, agent_id, recipient_id, recipient, stage, status, suppressed, error
  )
  select c.alert_id, c.agent_id, c.recipient_id, c.recipient, 'raised',
    case when c.is_too_many then 'failed' else 'pending' end, c.is_too_many,
    case when c.is_too_many then
      format('suppressed: more than %s mails about this agent within an hour', c.most)
    end
  from counted c
  union all
  select s.alert_id, s.agent_id, s.recipient_id, s.recipient, 'storm', 'pending', false, null
  from storms s
  on conflict (alert_id, recipient, stage) do nothing;
  return null;
end
$$;

create trigger on_alerts_raised after insert on public.alerts
  referencing new table as inserted
  for each statement execute function private.on_alerts_raised();

create function private.on_notifications_queued() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (select from inserted where status = 'pending') then
    perform private.hint_daemon('notification', '{}');
  end if;
  return null;
end
$$;

create trigger on_notifications_queued after insert on public.alert_notifications
  referencing new table as inserted
  for each statement execute function private.on_notifications_queued();
create trigger on_notifications_queued after insert on public.account_notifications
  referencing new table as inserted
  for each statement execute function private.on_notifications_queued();

-- Hands out due notifications for lease_seconds. Whoever does not finish one in time loses it to the
-- next claim; the message id stays, so that a mail sent twice is one mail to the reader. Mail about
-- accounts comes first, in the shape of an alert of stage 'account' whose host is the device: it is rare,
-- and a flood of alerts must not keep it.
create function public.claim_notifications(max integer, lease_seconds integer)
returns table (
  id uuid, recipient text, stage text, attempts integer, message_id text, alert_id uuid,
  title text, message text, alert_type text, severity smallint, risk integer, rule_id text,
  occurrences integer, first_seen timestamptz, last_seen timestamptz, evidence jsonb,
  explanation jsonb, agent_id uuid, agent_name text, organization_name text
)
language sql volatile security definer set search_path = '' as $$
  with due_accounts as (
    select n.id from public.account_notifications n
    where n.status in ('pending', 'sending') and n.next_attempt_at <= now()
    order by n.next_attempt_at, n.created_at, n.id
    limit least(greatest(claim_notifications.max, 0), 500)
    for update skip locked
  ),
  claimed_accounts as (
    update public.account_notifications n
    set status = 'sending',
        attempts = n.attempts + 1,
        next_attempt_at = now() + make_interval(secs => greatest(lease_seconds, 1)),
        message_id = coalesce(n.message_id, format('<account.%s@hidps>', n.id))
    from due_accounts d
    where n.id = d.id
    returning n.*
  ),
  due as (
    select n.id from public.alert_notifications n
    where n.status in ('pending', 'sending') and n.next_attempt_at <= now()
    order by n.next_attempt_at, n.created_at, n.id
    -- A page that one daemon can send within a lease.
    limit greatest(
      least(greatest(claim_notifications.max, 0), 500) - (select count(*) from claimed_accounts), 0
    )
    for update skip locked
  ),
  claimed as (
    update public.alert_notifications n
    set status = 'sending',
        attempts = n.attempts + 1,
        next_attempt_at = now() + make_interval(secs => greatest(lease_seconds, 1)),
        message_id = coalesce(n.message_id, format('<alert.%s.%s@hidps>', n.alert_id, n.id))
    from due
    where n.id = due.id
    returning n.*
  )
  select c.id, c.recipient, 'account', c.attempts, c.message_id, c.id,
    c.title, c.message, 'account', 2::smallint, 0, c.kind,
    1, c.created_at, c.created_at, '[]'::jsonb,
    jsonb_build_object('advice', c.advice), '00000000-0000-0000-0000-000000000000'::uuid, c.subject, ''
  from claimed_accounts c
  union all
  (
    select c.id, c.recipient, c.stage, c.attempts, c.message_id, c.alert_id,
      al.title, al.message, al.alert_type, al.severity, al.risk, al.rule_id,
      al.occurrences, al.first_seen, al.last_seen, al.evidence,
      al.explanation, c.agent_id, a.name, o.name
    from claimed c
    join public.alerts al on al.id = c.alert_id
    join public.agents a on a.id = c.agent_id
    join public.organizations o on o.id = a.org_id
    order by c.created_at, c.id
  )
$$;

-- Only a claimed notification can be finished; finishing it again changes nothing.
create function public.finish_notification(
  p_id uuid, p_outcome text, p_error text, p_retry_seconds integer
) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  retry_at timestamptz := now() + make_interval(secs => greatest(coalesce(p_retry_seconds, 60), 1));
begin
  if p_outcome is null or p_outcome not in ('sent', 'retry', 'failed') then
    raise exception using errcode = '22023',
      message = format('outcome %s is not sent, retry or failed', quote_nullable(p_outcome));
  end if;
  update public.alert_notifications
  set status = case p_outcome when 'retry' then 'pending' else p_outcome end,
      sent_at = case p_outcome when 'sent' then now() end,
      error = case when p_outcome <> 'sent' then left(p_error, 1000) end,
      next_attempt_at = case p_outcome when 'retry' then retry_at else next_attempt_at end
  where id = p_id and status = 'sending';
  if found then
    return;
  end if;
  update public.account_notifications
  set status = case p_outcome when 'retry' then 'pending' else p_outcome end,
      sent_at = case p_outcome when 'sent' then now() end,
      error = case when p_outcome <> 'sent' then left(p_error, 1000) end,
      next_attempt_at = case p_outcome when 'retry' then retry_at else next_attempt_at end
  where id = p_id and status = 'sending';
  if not found
    and not exists (select from public.alert_notifications where id = p_id)
    and not exists (select from public.account_notifications where id = p_id) then
    raise exception using errcode = '22023', message = format('there is no notification %s', p_id);
  end if;
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.upsert_alert(jsonb) from public, anon, authenticated;
revoke all on function public.claim_notifications(integer, integer)
  from public, anon, authenticated;
revoke all on function public.finish_notification(uuid, text, text, integer)
  from public, anon, authenticated;
grant execute on function public.upsert_alert(jsonb) to service_role;
grant execute on function public.claim_notifications(integer, integer) to service_role;
grant execute on function public.finish_notification(uuid, text, text, integer) to service_role;
