-- The tables of HIDPS: organizations, agents, what is desired of them and what was observed.
-- No rights are given here: grants and policies are in the row level security migration.
--
-- agents, agent_stats, agent_users, alerts and monitored_files keep the names and columns that
-- existing frontends read and write; everything else about them is added.

-- Helpers, triggers and secrets. This schema is never exposed to the Data API.
create schema if not exists private;
revoke all on schema private from public;

-- Organizations -------------------------------------------------------------------------------

create table public.organizations (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  -- Set on the organization a person gets by adding an agent without having one; at most one each.
  personal_of uuid unique references auth.users (id) on delete set null,
  settings jsonb not null default '{}',
  created_at timestamptz not null default now(),
  constraint name_is_1_to_200_characters check (char_length(btrim(name)) between 1 and 200),
  constraint settings_is_an_object_of_at_most_64_kib check (
    jsonb_typeof(settings) = 'object' and octet_length(settings::text) <= 65536
  ),
  -- The case guards the cast: a check may evaluate both sides of an "and".
  constraint first_use_minutes_is_0_to_1440 check (
    case jsonb_typeof(settings -> 'first_use_minutes')
      when 'number' then (settings ->> 'first_use_minutes')::numeric between 0 and 1440
      else settings -> 'first_use_minutes' is null
    end
  ),
  constraint notify_min_severity_is_1_to_4 check (
    case jsonb_typeof(settings -> 'notify_min_severity')
      when 'number' then (settings ->> 'notify_min_severity')::numeric between 1 and 4
      else settings -> 'notify_min_severity' is null
    end
  ),
  constraint max_mails_per_hour_is_1_to_1000 check (
    case jsonb_typeof(settings -> 'max_mails_per_hour')
      when 'number' then (settings ->> 'max_mails_per_hour')::numeric between 1 and 1000
      else settings -> 'max_mails_per_hour' is null
    end
  ),
  constraint retention_days_is_1_to_3650 check (
    case jsonb_typeof(settings -> 'retention_days')
      when 'number' then (settings ->> 'retention_days')::numeric between 1 and 3650
      else settings -> 'retention_days' is null
    end
  ),
  constraint hold_blast_percent_is_1_to_100 check (
    case jsonb_typeof(settings -> 'hold_blast_percent')
      when 'number' then (settings ->> 'hold_blast_percent')::numeric between 1 and 100
      else settings -> 'hold_blast_percent' is null
    end
  ),
  constraint hold_blast_min_agents_is_1_to_100000 check (
    case jsonb_typeof(settings -> 'hold_blast_min_agents')
      when 'number' then (settings ->> 'hold_blast_min_agents')::numeric between 1 and 100000
      else settings -> 'hold_blast_min_agents' is null
    end
  ),
  constraint audit_retention_days_is_30_to_3650 check (
    case jsonb_typeof(settings -> 'audit_retention_days')
      when 'number' then (settings ->> 'audit_retention_days')::numeric between 30 and 3650
      else settings -> 'audit_retention_days' is null
    end
  ),
  -- Whether anybody who knows the id may join, as a user.
  constraint open_join_is_true_or_false check (
    coalesce(jsonb_typeof(settings -> 'open_join'), 'boolean') = 'boolean'
  )
);

create table public.organization_members (
  org_id uuid not null references public.organizations (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  role text not null default 'user',
  created_at timestamptz not null default now(),
  primary key (org_id, user_id),
  constraint role_is_owner_admin_or_user check (role in ('owner', 'admin', 'user'))
);

create index organization_members_user_id on public.organization_members (user_id);

-- People who run the platform: they may look into every organization and change nothing in any.
create table private.platform_operators (
  user_id uuid primary key references auth.users (id) on delete cascade,
  note text not null,
  created_at timestamptz not null default now(),
  constraint note_is_1_to_1000_characters check (char_length(btrim(note)) between 1 and 1000)
);

-- When, for how long and why an operator looked into an organization. Its admins read it.
create table public.operator_looks (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  operator_id uuid references auth.users (id) on delete set null,
  reason text not null,
  began_at timestamptz not null default now(),
  ends_at timestamptz not null,
  constraint reason_is_1_to_1000_characters check (char_length(btrim(reason)) between 1 and 1000)
);

create index operator_looks_org_id on public.operator_looks (org_id, began_at desc);
create index operator_looks_operator_id on public.operator_looks (operator_id, ends_at);

-- Agents --------------------------------------------------------------------------------------

create table public.agents (
  id uuid primary key default gen_random_uuid(),
  created_at timestamptz not null default now(),
  name text not null default 'unnamed',
  owner_id uuid not null default auth.uid() references auth.users (id),
  org_id uuid not null references public.organizations (id) on delete cascade,
  last_seen timestamptz,
  is_online boolean not null default false,
  hostname text,
  os text,
  arch text,
  agent_version text,
  -- Whether the program said of itself that it gives up a key when asked to; one that did not is never
  -- sent such a document, which it would refuse whole.
  retires_keys boolean not null default false,
  constraint name_is_1_to_200_characters check (char_length(btrim(name)) between 1 and 200)
);

create index agents_owner_id on public.agents (owner_id);
create index agents_org_id on public.agents (org_id);

create table public.agent_users (
  created_at timestamptz not null default now(),
  agent_id uuid not null references public.agents (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  -- Existing frontends write 'viewer'; only 'admin' may change anything.
  role text not null default 'user',
  primary key (agent_id, user_id),
  constraint role_is_admin_user_or_viewer check (role in ('admin', 'user', 'viewer'))
);

create index agent_users_user_id on public.agent_users (user_id);

create table public.agent_stats (
  created_at timestamptz not null default now(),
  agent_id uuid primary key references public.agents (id) on delete cascade,
  is_installed boolean not null default false,
  cpu_usage numeric not null default 0,
  ram_usage numeric not null default 0,
  storage_usage numeric not null default 0,
  -- Desired. Null leaves the host's firewall alone: a mere default must never switch one off.
  firewall_enabled boolean,
  -- Observed. Null is unknown.
  firewall_active boolean,
  updated_at timestamptz not null default now(),
  -- File systems, load and temperatures beside the three shares, from the same report.
  details jsonb not null default '{}',
  constraint details_is_an_object_of_at_most_32_kib check (
    jsonb_typeof(details) = 'object' and octet_length(details::text) <= 32768
  )
);

-- Desired state -------------------------------------------------------------------------------

create table public.monitored_files (
  id uuid primary key default gen_random_uuid(),
  created_at timestamptz not null default now(),
  agent_id uuid not null references public.agents (id) on delete cascade,
  file_path text not null,
  added_by uuid not null default auth.uid() references auth.users (id),
  unique (agent_id, file_path)
);

create index monitored_files_added_by on public.monitored_files (added_by);

-- One row per agent from the moment it exists; the only table the daemon must follow.
create table public.desired_generations (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  generation bigint not null default 1,
  changed_at timestamptz not null default now(),
  -- Why the generation is not sent to its host; null when nothing keeps it.
  hold text,
  -- The generation that an admin released: nothing is to hold this one again.
  released_generation bigint,
  -- When the desired state of a host that had applied something last changed. The blast radius is
  -- counted by it, so a release clears it and a first document never sets it.
  touched_at timestamptz,
  constraint generation_is_positive check (generation > 0),
  constraint hold_is_known check (hold in ('BlastRadius'))
);

create index desired_generations_touched_at on public.desired_generations (touched_at)
  where touched_at is not null;

-- Observed state ------------------------------------------------------------------------------

create table public.agent_conditions (
  -- Opaque, because a delete is announced with nothing but the primary key, to every subscriber.
  id uuid primary key default gen_random_uuid(),
  agent_id uuid not null references public.agents (id) on delete cascade,
  type text not null,
  status text not null,
  reason text not null,
  message text not null default '',
  observed_generation bigint,
  last_transition_at timestamptz not null default now(),
  -- The things that are not as desired, each {subject, status, reason, message}.
  subjects jsonb not null default '[]',
  unique (agent_id, type),
  constraint type_is_1_to_100_characters check (char_length(type) between 1 and 100),
  constraint status_is_true_false_or_unknown check (status in ('true', 'false', 'unknown')),
  constraint reason_is_1_to_100_characters check (char_length(reason) between 1 and 100),
  constraint message_is_at_most_1000_characters check (char_length(message) <= 1000),
  constraint subjects_is_an_array_of_at_most_64_kib check (
    jsonb_typeof(subjects) = 'array' and octet_length(subjects::text) <= 65536
  )
);

-- Alerts --------------------------------------------------------------------------------------

create table public.alerts (
  id uuid primary key default gen_random_uuid(),
  created_at timestamptz not null default now(),
  resolved_at timestamptz,
  agent_id uuid not null references public.agents (id) on delete cascade,
  title text not null,
  message text not null default '',
  alert_type text not null default 'system',
  severity smallint not null default 2,
  resolved boolean not null default false,
  resolved_by uuid references auth.users (id) on delete set null,
  rule_id text,
  risk integer not null default 0,
  fingerprint text,
  occurrences integer not null default 1,
  first_seen timestamptz not null default now(),
  last_seen timestamptz not null default now(),
  acknowledged_at timestamptz,
  acknowledged_by uuid references auth.users (id) on delete set null,
  evidence jsonb not null default '[]',
  explanation jsonb not null default '{}',
  constraint severity_is_1_to_4 check (severity between 1 and 4),
  constraint risk_is_0_to_100 check (risk between 0 and 100),
  constraint occurrences_is_positive check (occurrences > 0),
  -- Evidence is an excerpt: a log must not find its way into the database through it.
  constraint evidence_is_at_most_16_kib check (octet_length(evidence::text) <= 16384),
  constraint explanation_is_at_most_64_kib check (octet_length(explanation::text) <= 65536)
);

create unique index alerts_one_open_per_fingerprint
  on public.alerts (agent_id, fingerprint) where not resolved;
create index alerts_agent_id_created_at on public.alerts (agent_id, created_at desc);
-- The newest of a fleet, which every console shows first.
create index alerts_created_at on public.alerts (created_at desc);
create index alerts_resolved_by on public.alerts (resolved_by) where resolved_by is not null;
create index alerts_acknowledged_by on public.alerts (acknowledged_by)
  where acknowledged_by is not null;
-- What the purge looks for.
create index alerts_resolved_at on public.alerts (resolved_at) where resolved;

-- Which occurrences were counted already. The alert may be deleted and its occurrences must still
-- not be counted again, so alert_id is no foreign key.
create table private.alert_occurrences (
  occurrence_id uuid primary key,
  alert_id uuid,
  recorded_at timestamptz not null default now()
);

create table public.alert_notifications (
  id uuid primary key default gen_random_uuid(),
  alert_id uuid not null references public.alerts (id) on delete cascade,
  -- Repeats the alert's agent, so that a policy needs no join.
  agent_id uuid not null references public.agents (id) on delete cascade,
  recipient_id uuid references auth.users (id) on delete set null,
  recipient text not null,
  channel text not null default 'email',
  -- 'raised' tells of one alert, 'storm' that more will not be told of for now.
  stage text not null default 'raised',
  status text not null default 'pending',
  attempts integer not null default 0,
  -- When pending: not before. When sending: the end of the lease.
  next_attempt_at timestamptz not null default now(),
  message_id text,
  error text,
  -- Never to be sent, because the recipient got enough mail about the agent.
  suppressed boolean not null default false,
  created_at timestamptz not null default now(),
  sent_at timestamptz,
  unique (alert_id, recipient, stage),
  constraint channel_is_email check (channel in ('email')),
  constraint status_is_known check (status in ('pending', 'sending', 'sent', 'failed'))
);

create index alert_notifications_agent_id on public.alert_notifications (agent_id);
-- What a recipient was sent lately about an agent; a flood of suppressed rows is not among it.
create index alert_notifications_recent
  on public.alert_notifications (agent_id, recipient, stage, created_at) where not suppressed;
create index alert_notifications_recipient_id on public.alert_notifications (recipient_id);
create index alert_notifications_due on public.alert_notifications (next_attempt_at)
  where status in ('pending', 'sending');

-- Mail to a person about their own account, delivered by the same rules as mail about alerts.
create table public.account_notifications (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references auth.users (id) on delete cascade,
  recipient text not null,
  kind text not null,
  title text not null,
  message text not null,
  -- What the person should do.
  advice text not null,
  -- Which device or place it is about.
  subject text not null,
  status text not null default 'pending',
  attempts integer not null default 0,
  next_attempt_at timestamptz not null default now(),
  message_id text,
  error text,
  -- Never to be sent, because the person got enough mail about the account.
  suppressed boolean not null default false,
  created_at timestamptz not null default now(),
  sent_at timestamptz,
  constraint kind_is_known check (kind in ('new_device', 'membership')),
  constraint status_is_known check (status in ('pending', 'sending', 'sent', 'failed'))
);

create index account_notifications_user_id
  on public.account_notifications (user_id, kind, created_at);
create index account_notifications_due on public.account_notifications (next_attempt_at)
  where status in ('pending', 'sending');

-- Identity of agents --------------------------------------------------------------------------

create table public.agent_keys (
  agent_id uuid primary key references public.agents (id) on delete cascade,
  -- Ed25519, 32 bytes in base64.
  public_key text not null,
  status text not null default 'pending',
  hostname text,
  created_at timestamptz not null default now(),
  admitted_at timestamptz,
  admitted_by uuid references auth.users (id) on delete set null,
  -- Another key asks to take over. The present one goes on working until an admin decides, or
  -- anybody who knows an agent's id could cut it off.
  waiting_key text,
  waiting_hostname text,
  waiting_since timestamptz,
  -- The key that somebody asked the agent to give up, and when it was no more the agent's, by whatever
  -- way. It names a key and no time, so that no two clocks are ever compared.
  retired_key text,
  rotation_requested_at timestamptz,
  rotation_requested_by uuid references auth.users (id) on delete set null,
  rotated_at timestamptz,
  constraint status_is_known check (status in ('admitted', 'pending', 'revoked')),
  constraint a_request_names_a_key check (
    (retired_key is null) = (rotation_requested_at is null)
    and (retired_key is not null or rotated_at is null)
  )
);

create index agent_keys_admitted_by on public.agent_keys (admitted_by);
create index agent_keys_rotation_requested_by on public.agent_keys (rotation_requested_by)
  where rotation_requested_by is not null;

-- Keys that were revoked. The row of agent_keys forgets a key once another takes its place, and no
-- token may bring a revoked one back.
create table private.revoked_keys (
  agent_id uuid not null references public.agents (id) on delete cascade,
  public_key text not null,
  revoked_at timestamptz not null default now(),
  primary key (agent_id, public_key)
);

create table public.agent_tokens (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  agent_id uuid references public.agents (id) on delete cascade,
  name text not null,
  -- Finds the row; it is no secret.
  prefix text not null unique,
  kind text not null default 'enroll',
  expires_at timestamptz not null,
  max_uses integer not null default 1,
  uses integer not null default 0,
  revoked_at timestamptz,
  last_used_at timestamptz,
  created_by uuid default auth.uid() references auth.users (id) on delete set null,
  created_at timestamptz not null default now(),
  constraint name_is_1_to_200_characters check (char_length(btrim(name)) between 1 and 200),
  constraint kind_is_enroll check (kind in ('enroll')),
  constraint max_uses_is_1_to_100000 check (max_uses between 1 and 100000),
  constraint uses_is_within_max_uses check (uses between 0 and max_uses)
);

create index agent_tokens_org_id on public.agent_tokens (org_id);
create index agent_tokens_agent_id on public.agent_tokens (agent_id);
create index agent_tokens_created_by on public.agent_tokens (created_by);

-- Apart from its row, so that no grant or policy on the row can ever show it.
create table private.agent_token_secrets (
  token_id uuid primary key references public.agent_tokens (id) on delete cascade,
  secret_sha256 text not null
);

-- Rows without rights: a project may hand out everything in public by default.
alter table public.organizations enable row level security;
alter table public.organization_members enable row level security;
alter table public.operator_looks enable row level security;
alter table public.agents enable row level security;
alter table public.agent_users enable row level security;
alter table public.agent_stats enable row level security;
alter table public.monitored_files enable row level security;
alter table public.desired_generations enable row level security;
alter table public.agent_conditions enable row level security;
alter table public.alerts enable row level security;
alter table public.alert_notifications enable row level security;
alter table public.account_notifications enable row level security;
alter table public.agent_keys enable row level security;
alter table public.agent_tokens enable row level security;
