-- The audit log: who did what to what, when and from where, one chain of entries per organization.
-- Entries are only added, by this schema's own triggers; nobody changes or removes one, and what goes
-- after its retention leaves the hash of its last entry behind.
--
-- Entries of a transaction wait in a queue and are chained as its last act, so that writers of one
-- organization wait for each other no longer than a commit takes, and never while they wait for
-- anything else.

create table public.audit_log (
  id uuid primary key,
  -- Without foreign keys: what is gone was there. The nil id stands for the platform itself.
  org_id uuid not null,
  seq bigint not null,
  at timestamptz not null,
  actor_kind text not null,
  actor_id uuid,
  actor text not null,
  action text not null,
  resource text not null,
  resource_id text,
  agent_id uuid,
  n_changes integer not null,
  -- {"old": …, "new": …}, or {"changes": [{"resource_id", "agent_id", "old", "new"}, …]}.
  details jsonb not null,
  -- As the request's headers say, which whoever sent it may have made up.
  reported_ips text,
  user_agent text,
  prev_hash text not null,
  hash text not null,
  constraint audit_log_has_one_entry_at_each_place unique (org_id, seq),
  constraint actor_kind_is_known check (
    actor_kind in ('person', 'operator', 'agent', 'daemon', 'system')
  )
);

create index audit_log_agent_id on public.audit_log (agent_id, at) where agent_id is not null;
create index audit_log_actor_id on public.audit_log (actor_id, at) where actor_id is not null;

-- The end of each chain, and where it begins now.
create table private.audit_chains (
  org_id uuid primary key,
  seq bigint not null default 0,
  hash text not null default '',
  -- Entries up to this one are forgotten, or are to be.
  checkpoint_seq bigint not null default 0,
  checkpoint_hash text not null default ''
);

-- Acts as they happen. What an entry says of them is put together once, for all of a transaction: an act
-- on a whole fleet is thousands of rows.
create table private.audit_queue (
  id bigint generated always as identity primary key,
  xid xid8 not null default pg_current_xact_id(),
  org_id uuid not null,
  at timestamptz not null default clock_timestamp(),
  -- Who asked, from where.
  person uuid default auth.uid(),
  api_role text default auth.role(),
  email text default auth.jwt() ->> 'email',
  agent uuid default nullif(current_setting('hidps.acting_agent', true), '')::uuid,
  headers text default current_setting('request.headers', true),
  -- A change of a row, or an act told in words.
  resource text not null,
  resource_id text,
  noun text,
  op text,
  untold text[],
  before jsonb,
  after jsonb,
  action text,
  details jsonb
);

create index audit_queue_xid on private.audit_queue (xid);

-- One row per transaction with something in the queue: its trigger is the transaction's last act.
create table private.audit_seals (xid xid8 primary key default pg_current_xact_id());

-- Nobody changes what is written --------------------------------------------------------------

create function private.refuse_audit_change() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  -- A checkpoint must have gone past it, or the chain would have a hole.
  if tg_op = 'DELETE' and old.seq <= (
    select c.checkpoint_seq from private.audit_chains c where c.org_id = old.org_id
  ) then
    return old;
  end if;
  raise exception using errcode = '42501', message = 'the audit log is only added to';
end
$$;

create function private.refuse_audit_truncation() returns trigger
language plpgsql set search_path = '' as $$
begin
  raise exception using errcode = '42501', message = 'the audit log is only added to';
end
$$;

create trigger append_only before update or delete on public.audit_log
  for each row execute function private.refuse_audit_change();
create trigger append_only_as_a_whole before truncate on public.audit_log
  for each statement execute function private.refuse_audit_truncation();
-- Also for sessions that replicate, which other triggers are silent for.
alter table public.audit_log enable always trigger append_only;
alter table public.audit_log enable always trigger append_only_as_a_whole;

-- Over everything an entry says and the hash before it. The text of a jsonb is canonical, and a time
-- is told in seconds, which no setting of a session turns into other words.
create function private.audit_hash(entry public.audit_log) returns text
language sql stable set search_path = '' as $$
  select private.sha256_hex(jsonb_build_array(
    entry.prev_hash, entry.id, entry.org_id, entry.seq, extract(epoch from entry.at),
    entry.actor_kind, entry.actor_id, entry.actor, entry.action, entry.resource, entry.resource_id,
    entry.agent_id, entry.n_changes, entry.details, entry.reported_ips, entry.user_agent
  )::text)
$$;

-- Who and from where --------------------------------------------------------------------------

-- A header out of those of a request, or null.
create function private.header(headers text, name text) returns text
language plpgsql stable set search_path = '' as $$
begin
  return nullif(private.clean_text(nullif(headers, '')::json ->> lower(name), 300), '');
exception when data_exception then
  return null;
end
$$;

create type private.audit_context as (
  actor_kind text, actor_id uuid, actor text, reported_ips text, user_agent text
);

-- Whoever enrolls acts for itself, although the daemon hands it on. The daemon says in a header of its
-- own where an agent is; a person's headers are whatever the person and the proxies in between wrote.
create function private.audit_context(
  person uuid, api_role text, email text, agent uuid, headers text
) returns private.audit_context
language sql stable security definer set search_path = '' as $$
  select row(
    case
      when person is not null then 'person'
      when agent is not null then 'agent'
      when api_role = 'service_role' then 'daemon'
      else 'system'
    end,
    coalesce(person, agent),
    case
      when person is not null then coalesce(
        nullif(private.clean_text(email, 320), ''),
        (select u.email::text from auth.users u where u.id = person), person::text
      )
      when agent is not null then coalesce(
        (select a.name from public.agents a where a.id = agent), agent::text
      )
      when api_role = 'service_role' then 'service key'
      else session_user::text
    end,
    coalesce(
      case when api_role = 'service_role' then private.header(headers, 'x-hidps-reported-ip') end,
      nullif(concat_ws(', ',
        private.header(headers, 'x-forwarded-for'), private.header(headers, 'cf-connecting-ip')
      ), '')
    ),
    private.header(headers, 'user-agent')
  )::private.audit_context
$$;

-- Tells of an act that is no change of a row.
create function private.audit(org uuid, action text, resource text, details jsonb) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  insert into private.audit_queue (org_id, action, resource, details)
  values (audit.org, audit.action, audit.resource, audit.details);
  insert into private.audit_seals default values on conflict do nothing;
end
$$;

-- Tells of something that a person did where the database does not see them as the caller, as when the
-- Auth server writes for them.
create function private.audit_of_person(
  who uuid, action text, resource text, details jsonb, ip text, user_agent text
) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  insert into private.audit_queue (org_id, person, action, resource, details, headers)
  values (
    private.platform(), who, audit_of_person.action, audit_of_person.resource,
    audit_of_person.details, jsonb_build_object('x-forwarded-for', ip, 'user-agent', user_agent)::text
  );
  insert into private.audit_seals default values on conflict do nothing;
end
$$;

-- What an entry may say -----------------------------------------------------------------------

-- Columns that sound like a secret and are none, or do not sound like one and are.
create table private.secret_columns (
  table_name text not null,
  column_name text not null,
  is_secret boolean not null,
  why text not null,
  primary key (table_name, column_name)
);

insert into private.secret_columns values
  ('agent_keys', 'public_key', false, 'public by its nature; approvals are about it'),
  ('agent_keys', 'waiting_key', false, 'public by its nature; approvals are about it'),
  ('agent_keys', 'retired_key', false, 'public by its nature; it was the agent''s');

create function private.sounds_secret(name text) returns boolean
language sql immutable set search_path = '' as $$
  select name ~* ('secret|token|passw|passphrase|_?key$|apikey|credential|authorization|cookie|bearer'
    || '|sha256|hash|signature|webhook|otp$|pin$|salt|dsn')
$$;

-- A value as it may be told: without secrets at any depth, and short.
create function private.tellable(value jsonb) returns jsonb
language plpgsql stable set search_path = '' as $$
declare
  told jsonb;
begin
  case jsonb_typeof(value)
    when 'object' then
      select coalesce(jsonb_object_agg(e.key, case
        when private.sounds_secret(e.key) then '"(secret)"'::jsonb else private.tellable(e.value)
      end), '{}') into told
      from jsonb_each(value) e;
    when 'array' then
      select coalesce(jsonb_agg(private.tellable(e.value) order by e.position), '[]') into told
      from jsonb_array_elements(value) with ordinality e (value, position);
    else told := value;
  end case;
  -- A long text is told by its beginning and by what it is recognized by.
  if octet_length(told::text) > 4096 then
    told := to_jsonb(format('%s… (%s bytes, SHA-256 %s)', left(told #>> '{}', 1000),
      octet_length(told::text), private.sha256_hex(told::text)));
  end if;
  return told;
end
$$;

-- What was done to a row, in one word.
create function private.audited_verb(noun text, op text, before jsonb, after jsonb) returns text
language sql immutable set search_path = '' as $$
  select case
    when noun = 'alert' and op = 'UPDATE' then case
      when after -> 'resolved' <> before -> 'resolved' then
        case when (after ->> 'resolved')::boolean then 'resolve' else 'reopen' end
      when after ->> 'acknowledged_at' is null then 'unacknowledge'
      else 'acknowledge'
    end
    when noun = 'agent_key' and op <> 'DELETE' then case
      when after ->> 'status' = 'revoked' and before ->> 'status' is distinct from 'revoked'
        then 'revoke'
      when after ->> 'status' = 'admitted' and (
        before ->> 'status' is distinct from 'admitted'
        or after -> 'public_key' <> before -> 'public_key'
      ) then 'admit'
      when after ->> 'waiting_key' is null and before ->> 'waiting_key' is not null then 'refuse'
      when after ->> 'retired_key' is distinct from before ->> 'retired_key' then
        case when after ->> 'retired_key' is null then 'withdraw_rotation' else 'request_rotation' end
      else 'wait'
    end
    when noun = 'agent_token' and op = 'UPDATE' then
      case when after -> 'uses' <> before -> 'uses' then 'use' else 'revoke' end
    when noun = 'invite' and op = 'UPDATE' then
      case when after ->> 'accepted_at' is not null then 'accept' else 'revoke' end
    when noun = 'operator_look' then case op when 'INSERT' then 'begin' else 'end' end
    when noun = 'hold' and op = 'INSERT' then 'release'
    when noun = 'member' then
      case op when 'INSERT' then 'add' when 'UPDATE' then 'change_role' else 'remove' end
    else case op when 'INSERT' then 'create' when 'UPDATE' then 'update' else 'delete' end
  end
$$;

-- Chaining ------------------------------------------------------------------------------------

-- This transaction's acts, out of the queue, as entries without a place. What changed nothing is none.
create function private.take_acts() returns table (
  id bigint, org_id uuid, at timestamptz, context private.audit_context, action text, resource text,
  resource_id text, agent_id uuid, details jsonb
)
language sql volatile security definer set search_path = '' as $$
  with taken as materialized (
    delete from private.audit_queue q where q.xid = pg_current_xact_id() returning q.*
  ),
  contexts as materialized (
    select c.*, private.audit_context(c.person, c.api_role, c.email, c.agent, c.headers) as context
    from (select distinct t.person, t.api_role, t.email, t.agent, t.headers from taken t) c
  )
  select t.id, t.org_id, t.at, c.context,
    coalesce(t.action, t.noun || '.' || private.audited_verb(t.noun, t.op, t.before, t.after)),
    t.resource,
    coalesce(t.resource_id, r.thing ->> 'id', r.thing ->> 'user_id', r.thing ->> 'agent_id'),
    (
      case t.resource
        when 'agents' then coalesce(t.resource_id, r.thing ->> 'id') else r.thing ->> 'agent_id'
      end
    )::uuid,
    coalesce(t.details, jsonb_strip_nulls(jsonb_build_object('old', d.old, 'new', d.new)))
  from taken t
  join contexts c on (t.person, t.api_role, t.email, t.agent, t.headers)
    is not distinct from (c.person, c.api_role, c.email, c.agent, c.headers)
  cross join lateral (select coalesce(t.after, t.before) as thing) r
  cross join lateral (
    select
      jsonb_object_agg(k.key, k.old) filter (where k.old <> 'null') as old,
      jsonb_object_agg(k.key, k.new) filter (where k.new <> 'null') as new
    from (
      select e.key,
        case when m.is_masked then '"(secret)"' when m.is_plain then v.old
          else private.tellable(v.old) end as old,
        case when m.is_masked then '"(secret)"' when m.is_plain then v.new
          else private.tellable(v.new) end as new
      from jsonb_object_keys(r.thing) e (key)
      cross join lateral (select t.before -> e.key as old, t.after -> e.key as new) v
      cross join lateral (
        select
          coalesce(
            (
              select s.is_secret from private.secret_columns s
              where s.table_name = t.resource and s.column_name = e.key
            ),
            private.sounds_secret(e.key)
          ) as is_masked,
          -- Most values are short and have no parts that could be secrets.
          coalesce(octet_length(v.old::text), 0) + coalesce(octet_length(v.new::text), 0) <= 4096
            and coalesce(jsonb_typeof(v.old), 'null') not in ('object', 'array')
            and coalesce(jsonb_typeof(v.new), 'null') not in ('object', 'array') as is_plain
      ) m
      where e.key <> 'id' and e.key <> all (t.untold) and v.old is distinct from v.new
    ) k
  ) d
  where t.details is not null or d.old is not null or d.new is not null
$$;

-- Acts of one kind by one actor, if they are more than twenty, go together by the hundred, with every
-- single change in them: a switch for a whole fleet is one act.
create function private.take_entries() returns setof public.audit_log
language sql volatile security definer set search_path = '' as $$
  with numbered as (
    select t.*, count(*) over kind as n, row_number() over (kind order by t.id) as nth
    from private.take_acts() t
    window kind as (partition by t.org_id, t.context, t.action, t.resource)
  ),
  bundled as (
    select n.*, case when n.n <= 20 then n.id else -1 - (n.nth - 1) / 100 end as bundle
    from numbered n
  )
  select gen_random_uuid(), b.org_id, 0, min(b.at),
    -- A look is an operator's, whatever else the person is.
    case when b.resource = 'operator_looks' and (b.context).actor_kind = 'person' then 'operator'
      else (b.context).actor_kind end,
    (b.context).actor_id, (b.context).actor, b.action, b.resource,
    case count(*) when 1 then min(b.resource_id) end,
    case count(distinct b.agent_id) when 1 then (array_agg(b.agent_id))[1] end,
    count(*)::integer,
    case count(*)
      when 1 then (array_agg(b.details))[1]
      else jsonb_build_object('changes', jsonb_agg(
        b.details || jsonb_strip_nulls(jsonb_build_object(
          'resource_id', b.resource_id, 'agent_id', b.agent_id
        )) order by b.id
      ))
    end,
    (b.context).reported_ips, (b.context).user_agent, '', ''
  from bundled b
  group by b.org_id, b.context, b.action, b.resource, b.bundle
  -- Chains in one order, so that two transactions with several cannot deadlock.
  order by b.org_id, min(b.id)
$$;

create function private.seal_audit() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  entry public.audit_log;
  head private.audit_chains;
begin
  delete from private.audit_seals s where s.xid = pg_current_xact_id();
  for entry in select * from private.take_entries() loop
    if head.org_id is distinct from entry.org_id then
      insert into private.audit_chains (org_id) values (entry.org_id) on conflict do nothing;
      select c.* into strict head from private.audit_chains c
      where c.org_id = entry.org_id
      for update;
    end if;
    entry.seq := head.seq + 1;
    entry.prev_hash := head.hash;
    entry.hash := private.audit_hash(entry);
    insert into public.audit_log values (entry.*);
    head.seq := entry.seq;
    head.hash := entry.hash;
    update private.audit_chains c set seq = head.seq, hash = head.hash where c.org_id = head.org_id;
  end loop;
  return null;
end
$$;

create constraint trigger seal_audit after insert on private.audit_seals
  deferrable initially deferred
  for each row execute function private.seal_audit();
alter table private.audit_seals enable always trigger seal_audit;

-- The nil id.
create function private.platform() returns uuid
language sql immutable set search_path = '' as $$
  select '00000000-0000-0000-0000-000000000000'::uuid
$$;

-- Reading -------------------------------------------------------------------------------------

alter table public.audit_log enable row level security;
revoke all on public.audit_log from public, anon, authenticated, service_role;
grant select on public.audit_log to authenticated, service_role;

-- Chains the caller may read: organizations they administer or look into; operators, the platform's.
create function private.my_audited_orgs() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select private.my_admin_orgs()
  union
  select private.my_looked_orgs()
  union
  select private.platform() where private.is_operator()
$$;

-- Everybody reads what they did themselves to their own sessions and devices.
create policy admins_and_actors_read on public.audit_log for select to authenticated
using (
  org_id in (select private.my_audited_orgs())
  or (actor_id = (select private.caller()) and org_id = '00000000-0000-0000-0000-000000000000')
);

-- For spreadsheets, over "Accept: text/csv". Names and headers are what somebody wrote, and one that
-- begins like a formula would be one there.
create view public.audit_readout with (security_invoker = true) as
select
  l.org_id, l.seq, l.at, l.actor_kind, l.actor_id,
  case when l.actor ~ '^[=+@\t\r-]' then '''' || l.actor else l.actor end as actor,
  l.action, l.resource,
  case when l.resource_id ~ '^[=+@\t\r-]' then '''' || l.resource_id else l.resource_id end
    as resource_id,
  l.agent_id, l.n_changes, l.details::text as details,
  case when l.reported_ips ~ '^[=+@\t\r-]' then '''' || l.reported_ips else l.reported_ips end
    as reported_ips,
  case when l.user_agent ~ '^[=+@\t\r-]' then '''' || l.user_agent else l.user_agent end
    as user_agent,
  l.hash
from public.audit_log l;

revoke all on public.audit_readout from public, anon, authenticated, service_role;
grant select on public.audit_readout to authenticated, service_role;

-- Verifying -----------------------------------------------------------------------------------

create type private.audit_verdict as (
  ok boolean, n_entries bigint, first_seq bigint, last_seq bigint, last_hash text,
  broken_seq bigint, fault text
);

-- Goes through the chain of an organization from its checkpoint to its end and says where it is first
-- broken. Whoever owns the database can write a whole chain anew; against that helps only a place and
-- hash that was noted elsewhere, which is compared if it is given.
create function private.check_chain(org uuid, known_seq bigint, known_hash text)
returns private.audit_verdict
language sql stable security definer set search_path = '' as $$
  with head as (
    select coalesce(max(c.seq), 0) as seq, coalesce(max(c.hash), '') as hash,
      coalesce(max(c.checkpoint_seq), 0) as checkpoint_seq,
      coalesce(max(c.checkpoint_hash), '') as checkpoint_hash
    from private.audit_chains c where c.org_id = org
  ),
  entries as (
    select l.seq, l.prev_hash, l.hash, private.audit_hash(l) as real_hash,
      lag(l.seq, 1, h.checkpoint_seq) over (order by l.seq) as seq_before,
      lag(l.hash, 1, h.checkpoint_hash) over (order by l.seq) as hash_before
    from public.audit_log l, head h
    where l.org_id = org and l.seq > h.checkpoint_seq
  ),
  span as (
    select count(*) as n, min(e.seq) as first_seq, max(e.seq) as last_seq from entries e
  ),
  faults as (
    select e.seq, case
      when e.seq <> e.seq_before + 1
        then format('entries %s to %s are missing', e.seq_before + 1, e.seq - 1)
      when e.hash <> e.real_hash then 'the entry was changed'
      when e.prev_hash <> e.hash_before then 'the entry does not continue the one before it'
      when e.seq = known_seq and e.hash <> known_hash
        then 'the entry is not the one that was noted elsewhere'
    end as fault
    from entries e
    union all
    select coalesce(s.last_seq, h.checkpoint_seq) + 1, 'entries at the end are missing or were added'
    from head h, span s
    where h.seq <> coalesce(s.last_seq, h.checkpoint_seq) or h.hash <> coalesce(
      (select e.hash from entries e where e.seq = s.last_seq), h.checkpoint_hash
    )
    union all
    select known_seq, case
      when known_seq <= h.checkpoint_seq then 'the noted entry is forgotten already; note a later one'
      else 'the noted entry is missing'
    end
    from head h
    where known_seq is not null and not exists (select from entries e where e.seq = known_seq)
  ),
  broken as (
    select f.seq, f.fault from faults f where f.fault is not null order by f.seq limit 1
  )
  select row(
    b.fault is null, s.n, s.first_seq, coalesce(s.last_seq, h.checkpoint_seq), h.hash, b.seq, b.fault
  )::private.audit_verdict
  from span s cross join head h left join broken b on true
$$;

create function private.verified_chain(org uuid, known_seq bigint, known_hash text)
returns private.audit_verdict
language plpgsql stable security definer set search_path = '' as $$
begin
  if org is null or org not in (select private.my_audited_orgs()) then
    raise exception using errcode = '42501',
      message = 'verifying the audit log takes the role owner or admin in the organization';
  end if;
  return private.check_chain(org, known_seq, known_hash);
end
$$;

create function public.verify_audit(
  org uuid, known_seq bigint default null, known_hash text default null
) returns table (
  ok boolean, n_entries bigint, first_seq bigint, last_seq bigint, last_hash text,
  broken_seq bigint, fault text
)
language sql stable security invoker set search_path = '' as $$
  select v.* from private.verified_chain(
    verify_audit.org, verify_audit.known_seq, verify_audit.known_hash
  ) v
$$;

-- Forgetting ----------------------------------------------------------------------------------

-- One bounded step. The checkpoint goes forward first, at most once a day for each chain, and says so in
-- the chain itself; then what lies behind it may go.
create function private.purge_audit(max_rows integer) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  old record;
  n_gone integer;
begin
  for old in
    select c.org_id, last_one.seq, last_one.hash
    from private.audit_chains c
    left join public.organizations o on o.id = c.org_id
    cross join lateral (
      select now() - make_interval(days =>
        private.setting_number(coalesce(o.settings, '{}'), 'audit_retention_days', 365)::integer
      ) as from_then_on
    ) kept
    cross join lateral (
      select l.at from public.audit_log l
      where l.org_id = c.org_id and l.seq > c.checkpoint_seq
      order by l.seq limit 1
    ) first_one
    cross join lateral (
      select l.seq, l.hash from public.audit_log l
      where l.org_id = c.org_id and l.seq > c.checkpoint_seq and l.seq < coalesce(
        (
          select min(k.seq) from public.audit_log k
          where k.org_id = c.org_id and k.seq > c.checkpoint_seq and k.at >= kept.from_then_on
        ),
        c.seq + 1
      )
      order by l.seq desc limit 1
    ) last_one
    where first_one.at < kept.from_then_on - interval '1 day'
    order by c.org_id
    for update of c
  loop
    update private.audit_chains c set checkpoint_seq = old.seq, checkpoint_hash = old.hash
    where c.org_id = old.org_id;
    perform private.audit(old.org_id, 'audit_log.forget', 'audit_log', jsonb_build_object(
      'up_to_seq', old.seq, 'hash', old.hash
    ));
  end loop;
  delete from public.audit_log where id in (
    select l.id from private.audit_chains c
    join public.audit_log l on l.org_id = c.org_id and l.seq <= c.checkpoint_seq
    limit max_rows
  );
  get diagnostics n_gone = row_count;
  return n_gone;
end
$$;

revoke all on all functions in schema private from public;
revoke all on function public.verify_audit(uuid, bigint, text) from public, anon, service_role;
grant execute on function public.verify_audit(uuid, bigint, text) to authenticated;
grant execute on function private.verified_chain(uuid, bigint, text) to authenticated;
grant execute on function private.my_audited_orgs() to authenticated;
