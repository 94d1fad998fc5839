-- What a host's firewall should let through while it is on: an ordered list of rules, and what becomes
-- of packets that no rule decides. Whether it is on is agent_stats.firewall_enabled.
-- Nothing observed is here; counters are asked of the host and never stored.

create table public.firewall_rules (
  id uuid primary key default gen_random_uuid(),
  created_at timestamptz not null default now(),
  agent_id uuid not null references public.agents (id) on delete cascade,
  -- The first rule that matches decides, in this order; without a position a rule comes last.
  position integer not null,
  action text not null,
  -- Seen from the host.
  direction text not null default 'in',
  protocol text not null default 'any',
  -- Ports of the packet's destination; both null means every port.
  port_from integer,
  port_to integer,
  -- The other end: an address or a network, of a rule for in and for out. Null means everybody.
  source text,
  destination text,
  -- For people; it never reaches the host.
  comment text,
  enabled boolean not null default true,
  created_by uuid default auth.uid() references auth.users (id) on delete set null,
  -- Of two rules with the same match the second could never decide anything.
  constraint firewall_rules_match_is_unique_on_its_agent unique nulls not distinct (
    agent_id, direction, protocol, port_from, port_to, source, destination
  ),
  constraint comment_is_at_most_200_characters check (char_length(comment) <= 200)
);

create index firewall_rules_position on public.firewall_rules (agent_id, position);
create index firewall_rules_created_by on public.firewall_rules (created_by)
  where created_by is not null;

-- A host without a row has the defaults of this table.
create table public.firewall_settings (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  created_at timestamptz not null default now(),
  default_incoming text not null default 'deny',
  default_outgoing text not null default 'allow',
  -- Whether the host's kernel log gets what is denied and rejected, a few lines a second.
  logging boolean not null default false
);

-- Rights --------------------------------------------------------------------------------------

alter table public.firewall_rules enable row level security;
alter table public.firewall_settings enable row level security;
revoke all on public.firewall_rules, public.firewall_settings
from public, anon, authenticated, service_role;
grant select on public.firewall_rules, public.firewall_settings to authenticated, service_role;

-- Without the keys on update: a row never moves to another agent.
grant insert (
    id, agent_id, position, action, direction, protocol, port_from, port_to, source, destination,
    comment, enabled
  ),
  update (
    position, action, direction, protocol, port_from, port_to, source, destination, comment, enabled
  ), delete
on public.firewall_rules to authenticated;

grant insert (agent_id, default_incoming, default_outgoing, logging),
  update (default_incoming, default_outgoing, logging), delete
on public.firewall_settings to authenticated;

create policy readers_read on public.firewall_rules for select to authenticated
using (agent_id in (select private.my_agents()));
create policy admins_insert on public.firewall_rules for insert to authenticated
with check (agent_id in (select private.my_admin_agents()));
create policy admins_update on public.firewall_rules for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));
create policy readers_delete on public.firewall_rules for delete to authenticated
using (agent_id in (select private.my_agents()));

create policy readers_read on public.firewall_settings for select to authenticated
using (agent_id in (select private.my_agents()));
create policy admins_insert on public.firewall_settings for insert to authenticated
with check (agent_id in (select private.my_admin_agents()));
create policy admins_update on public.firewall_settings for update to authenticated
using (agent_id in (select private.my_agents()))
with check (agent_id in (select private.my_admin_agents()));
create policy readers_delete on public.firewall_settings for delete to authenticated
using (agent_id in (select private.my_agents()));

create trigger refuse_read_only_delete after delete on public.firewall_rules
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_delete();
create trigger refuse_read_only_delete after delete on public.firewall_settings
  referencing old table as deleted
  for each statement execute function private.refuse_read_only_delete();

-- What a rule may say -------------------------------------------------------------------------

-- An address or a network as Postgres writes it, or null for what is neither.
create function private.read_network(value text) returns inet
language plpgsql immutable set search_path = '' as $$
begin
  return value::inet;
exception when data_exception then
  return null;
end
$$;

-- What is wrong with an address or a network, or null.
create function private.network_fault(name text, value text) returns text
language sql immutable set search_path = '' as $$
  with given as (select private.read_network(value) as network)
  select case
    when value is null then null
    when network is null then format(
      '%s %s is not an address; write an IPv4 or IPv6 address or network, such as 203.0.113.7 or '
        '2001:db8::/32, or null for everybody',
      name, quote_literal(private.clean_text(value, 60))
    )
    when network operator(pg_catalog.<<=) '::ffff:0:0/96' then
      format('%s %s is an IPv4 address in the form of IPv6; write it as IPv4', name, network)
    when network <> pg_catalog.network(network)::inet then format(
      '%s %s is neither an address nor a network; write %s or %s', name, network, host(network),
      pg_catalog.network(network)
    )
  end
  from given
$$;

-- What is wrong with a rule, or null.
create function private.firewall_rule_fault(rule public.firewall_rules) returns text
language sql immutable set search_path = '' as $$
  select case
    when rule.action is null or rule.action not in ('allow', 'deny', 'reject') then
      format('action %s is unknown; write allow, deny or reject',
        quote_nullable(private.clean_text(rule.action, 60)))
    when rule.direction is null or rule.direction not in ('in', 'out') then
      format('direction %s is unknown; write in or out',
        quote_nullable(private.clean_text(rule.direction, 60)))
    when rule.protocol is null or rule.protocol not in ('tcp', 'udp', 'icmp', 'any') then
      format('protocol %s is unknown; write tcp, udp, icmp or any',
        quote_nullable(private.clean_text(rule.protocol, 60)))
    when rule.port_from is null and rule.port_to is not null then
      'port_to without port_from; write a single port as port_from'
    when rule.port_from not between 1 and 65535 or rule.port_to not between 1 and 65535 then
      'a port is a number from 1 to 65535'
    when rule.port_from > rule.port_to then
      'port_from is above port_to; write the smaller port as port_from'
    when rule.port_from is not null and rule.protocol not in ('tcp', 'udp') then format(
      'protocol %s has no ports; write tcp or udp, and for both two rules', rule.protocol
    )
    when rule.direction = 'in' and rule.destination is not null then
      'a rule for direction in is about who sends; write source instead of destination'
    when rule.direction = 'out' and rule.source is not null then
      'a rule for direction out is about who receives; write destination instead of source'
    when rule.comment ~ '[\u0001-\u001f\u007f]' then
      'comment has a control character; write it in one line'
    else coalesce(
      private.network_fault('source', rule.source),
      private.network_fault('destination', rule.destination)
    )
  end
$$;

-- One text for one meaning, so that the same rule cannot be written twice.
create function private.network_text(value text) returns text
language sql immutable set search_path = '' as $$
  select case
    when masklen(n.network) = case family(n.network) when 4 then 32 else 128 end
      then host(n.network)
    else n.network::text
  end
  from (select private.read_network(value) as network) n
$$;

create function private.check_firewall_rule() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  fault text := private.firewall_rule_fault(new);
begin
  if fault is not null then
    raise exception using errcode = '22023', message = 'firewall rule: ' || fault;
  end if;
  if new.port_from is not null and new.port_to is null then
    new.port_to := new.port_from;
  end if;
  new.source := private.network_text(new.source);
  new.destination := private.network_text(new.destination);
  if new.position is null then
    -- Room for a rule between two others.
    select least(coalesce(max(r.position), 0)::bigint + 10, 2147483647) into new.position
    from public.firewall_rules r where r.agent_id = new.agent_id;
  end if;
  return new;
end
$$;

create trigger check_firewall_rule before insert or update on public.firewall_rules
  for each row execute function private.check_firewall_rule();

create function private.check_firewall_settings() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if new.default_incoming is null or new.default_incoming not in ('allow', 'deny', 'reject')
    or new.default_outgoing is null or new.default_outgoing not in ('allow', 'deny', 'reject') then
    raise exception using errcode = '22023', message =
      'default_incoming and default_outgoing are allow, deny or reject';
  end if;
  return new;
end
$$;

create trigger check_firewall_settings before insert or update on public.firewall_settings
  for each row execute function private.check_firewall_settings();

-- Generations ---------------------------------------------------------------------------------

-- Refuses more rules than an agent takes.
create function private.check_firewall_rules(agents uuid[]) returns void
language plpgsql stable security definer set search_path = '' as $$
declare
  crowded uuid;
begin
  select r.agent_id into crowded from public.firewall_rules r
  where r.agent_id = any (agents)
  group by r.agent_id having count(*) > 10000
  limit 1;
  if crowded is not null then
    raise exception using errcode = '22023',
      message = format('agent %s would have more than 10000 firewall rules', crowded),
      hint = 'Remove rules, or write one rule for a network instead of one for each address.';
  end if;
end
$$;

-- A rule that is not enabled is none.
create function private.on_firewall_rules_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[] := array(select distinct agent_id from inserted where enabled);
begin
  perform private.bump_generations(agents);
  perform private.check_firewall_rules(array(select distinct agent_id from inserted));
  return null;
end
$$;

create function private.on_firewall_rules_deleted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[] := array(select distinct agent_id from deleted where enabled);
begin
  perform private.bump_generations(agents);
  return null;
end
$$;

create function private.on_firewall_rules_updated() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[];
begin
  with before as (
    select agent_id, id, position, action, direction, protocol, port_from, port_to, source, destination
    from deleted where enabled
  ),
  after as (
    select agent_id, id, position, action, direction, protocol, port_from, port_to, source, destination
    from inserted where enabled
  ),
  changed as (
    (select * from before except select * from after)
    union
    (select * from after except select * from before)
  )
  select array_agg(distinct agent_id) into agents from changed;
  perform private.bump_generations(agents);
  return null;
end
$$;

create trigger on_firewall_rules_inserted after insert on public.firewall_rules
  referencing new table as inserted
  for each statement execute function private.on_firewall_rules_inserted();
create trigger on_firewall_rules_deleted after delete on public.firewall_rules
  referencing old table as deleted
  for each statement execute function private.on_firewall_rules_deleted();
create trigger on_firewall_rules_updated after update on public.firewall_rules
  referencing old table as deleted new table as inserted
  for each statement execute function private.on_firewall_rules_updated();

create function private.on_firewall_settings_inserted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[] := array(select agent_id from inserted);
begin
  perform private.bump_generations(agents);
  return null;
end
$$;

create function private.on_firewall_settings_deleted() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[] := array(select agent_id from deleted);
begin
  perform private.bump_generations(agents);
  return null;
end
$$;

create function private.on_firewall_settings_updated() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  agents uuid[] := array(
    select agent_id from (
      select agent_id, default_incoming, default_outgoing, logging from inserted
      except
      select agent_id, default_incoming, default_outgoing, logging from deleted
    ) changed
  );
begin
  perform private.bump_generations(agents);
  return null;
end
$$;

create trigger on_firewall_settings_inserted after insert on public.firewall_settings
  referencing new table as inserted
  for each statement execute function private.on_firewall_settings_inserted();
create trigger on_firewall_settings_deleted after delete on public.firewall_settings
  referencing old table as deleted
  for each statement execute function private.on_firewall_settings_deleted();
create trigger on_firewall_settings_updated after update on public.firewall_settings
  referencing old table as deleted new table as inserted
  for each statement execute function private.on_firewall_settings_updated();

-- The document --------------------------------------------------------------------------------

create function private.desired_firewall_rules(agent uuid) returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(
    (
      select jsonb_build_object('firewall_settings', jsonb_build_object(
        'default_incoming', s.default_incoming, 'default_outgoing', s.default_outgoing,
        'logging', s.logging
      ))
      from public.firewall_settings s where s.agent_id = agent
    ),
    '{}'
  ) || coalesce(
    (
      select jsonb_build_object('firewall_rules', jsonb_agg(
        jsonb_strip_nulls(jsonb_build_object(
          'id', r.id, 'action', r.action, 'direction', r.direction, 'protocol', r.protocol,
          'port_from', r.port_from, 'port_to', r.port_to, 'source', r.source,
          'destination', r.destination
        )) order by r.position, r.id
      ))
      from public.firewall_rules r where r.agent_id = agent and r.enabled
      having count(*) > 0
    ),
    '{}'
  )
$$;

alter publication supabase_realtime add table public.firewall_rules, public.firewall_settings;

revoke all on all functions in schema private from public;
