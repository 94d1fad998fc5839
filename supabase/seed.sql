-- A demo organization with two people and one agent, and a stranger's organization beside it, for
-- `supabase db reset` and the local stack.
-- It never touches people who have signed up already: they are found by e-mail. Whoever is missing is
-- made with the password "hidps-demo-password". It may be run again over its own result.

-- Finds or makes a person. Auth servers differ in the columns of auth.users, so only those that
-- exist are written.
create function pg_temp.ensure_person(address text, full_name text) returns uuid
language plpgsql as $$
declare
  person uuid;
  fields jsonb;
  columns text;
  crypted text;
begin
  select u.id into person from auth.users u where lower(u.email) = address;
  if found then
    return person;
  end if;
  -- pgcrypto makes the hash on Supabase; where it is absent, nobody can sign in as this person.
  if exists (
    select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'extensions' and p.proname = 'crypt'
  ) then
    execute 'select extensions.crypt($1, extensions.gen_salt(''bf''))'
      into crypted using 'hidps-demo-password';
  end if;
  person := gen_random_uuid();
  fields := jsonb_build_object(
    'id', person,
    'instance_id', '00000000-0000-0000-0000-000000000000',
    'aud', 'authenticated',
    'role', 'authenticated',
    'email', address,
    'encrypted_password', crypted,
    'email_confirmed_at', now(),
    'raw_app_meta_data', '{"provider": "email", "providers": ["email"]}'::jsonb,
    'raw_user_meta_data', jsonb_build_object('full_name', full_name),
    'created_at', now(),
    'updated_at', now(),
    -- Supabase's Auth server fails on nulls here.
    'confirmation_token', '', 'recovery_token', '',
    'email_change', '', 'email_change_token_new', ''
  );
  select string_agg(quote_ident(a.attname), ', ') into columns
  from pg_attribute a
  where a.attrelid = 'auth.users'::regclass and a.attnum > 0
    and not a.attisdropped and a.attgenerated = '' and fields ? a.attname::text;
  execute format(
    'insert into auth.users (%1$s) select %1$s from jsonb_populate_record(null::auth.users, $1)',
    columns
  ) using fields;
  if to_regclass('auth.identities') is not null then
    execute 'insert into auth.identities (id, provider, provider_id, user_id, identity_data)
             values (gen_random_uuid(), ''email'', $1::text, $1, $2)'
      using person, jsonb_build_object('sub', person, 'email', address, 'email_verified', true);
  end if;
  return person;
end
$$;

do $$
declare
  -- Fixed, so that docs and scripts can name them.
  acme constant uuid := '0190a000-0000-7000-8000-000000000a01';
  globex constant uuid := '0190a000-0000-7000-8000-000000000a02';
  web_01 constant uuid := '0190a000-0000-7000-8000-000000000001';
  admin uuid := pg_temp.ensure_person('admin@acme.test', 'Ada Admin');
  viewer uuid := pg_temp.ensure_person('viewer@acme.test', 'Vic Viewer');
  stranger uuid := pg_temp.ensure_person('admin@other.test', 'Otto Other');
begin
  insert into public.organizations (id, name)
  values (acme, 'Acme'), (globex, 'Globex')
  on conflict (id) do nothing;

  insert into public.organization_members (org_id, user_id, role)
  values (acme, admin, 'owner'), (acme, viewer, 'user'), (globex, stranger, 'owner')
  on conflict (org_id, user_id) do nothing;

  insert into public.agents (id, name, owner_id, org_id)
  values (web_01, 'web-01', admin, acme)
  on conflict (id) do nothing;

  insert into public.monitored_files (agent_id, file_path, added_by)
  values (web_01, '/etc/passwd', admin), (web_01, '/etc/ssh/sshd_config', admin)
  on conflict (agent_id, file_path) do nothing;

  insert into public.agent_conditions (agent_id, type, status, reason, message)
  values
    (web_01, 'FirewallSynced', 'unknown', 'NeverConnected', 'The agent has not connected yet.'),
    (web_01, 'FilesWatched', 'unknown', 'NeverConnected', 'The agent has not connected yet.')
  on conflict (agent_id, type) do nothing;

  -- Resolved, so that it is history to look at and nobody gets mail.
  insert into public.alerts (
    id, agent_id, title, message, alert_type, severity, risk, rule_id, fingerprint, occurrences,
    created_at, first_seen, last_seen, resolved, resolved_at, resolved_by, evidence, explanation
  )
  values (
    '0190a000-0000-7000-8000-0000000000e1', web_01, 'Failed logins from one address',
    '14 failed SSH logins from 203.0.113.9 within 60 seconds', 'login', 3, 70, 'demo-seed',
    'demo-seed', 14, now() - interval '2 days', now() - interval '2 days',
    now() - interval '2 days', true, now() - interval '47 hours', admin,
    '["sshd: Failed password for invalid user admin from 203.0.113.9"]',
    '{"note": "An example that the seed made; no rule fired."}'
  )
  on conflict (id) do nothing;
end
$$;
