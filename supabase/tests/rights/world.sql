-- Who may do what is asked in this world: a row in every table of public, and one caller of every kind.
-- It extends support.sql and is included after it; it asserts nothing.
--
-- anon     nobody                         sven, sara  shared the host: as viewer, as admin
-- nina     signed in, in no organization  opal, oona  operators: not looking, looking into the organization
-- otto     owner of another organization  service     the service key
-- uma, adam, owen                         user, admin and owner of the organization

create function pg_temp.callers() returns text[] language sql as $$
  select array['anon', 'nina', 'otto', 'uma', 'sven', 'sara', 'adam', 'owen', 'opal', 'oona', 'service']
$$;

-- The row that each attempt is about.
do $$
begin
  insert into public.agent_users (agent_id, user_id, role) values
    (pg_temp.id('host'), pg_temp.make_person('sven'), 'viewer'),
    (pg_temp.id('host'), pg_temp.make_person('sara'), 'admin');
  perform pg_temp.make_person('nina');
  insert into private.platform_operators (user_id, note) values
    (pg_temp.make_person('opal'), 'operator'), (pg_temp.make_person('oona'), 'operator');
  insert into public.operator_looks (id, org_id, operator_id, reason, ends_at) values
    (pg_temp.remember('look', gen_random_uuid()), pg_temp.id('org'), pg_temp.id('oona'), 'support',
      now() + interval '1 hour');
  insert into public.organization_invites (id, org_id, prefix, expires_at, created_by)
  values (pg_temp.remember('invite', gen_random_uuid()), pg_temp.id('org'), repeat('a', 12),
    now() + interval '1 hour', pg_temp.id('owen'));
  insert into private.organization_invite_secrets
  values (pg_temp.id('invite'), private.sha256_hex(repeat('b', 64)));
  insert into auth.sessions (id, user_id) values (gen_random_uuid(), pg_temp.id('uma'));
  insert into public.known_devices (user_id, fingerprint) values (pg_temp.id('uma'), 'f');
  insert into public.account_notifications (user_id, recipient, kind, title, message, advice, subject)
  values (pg_temp.id('uma'), 'uma@people.test', 'new_device', 'T', 'M', 'A', 'S');
  -- The audit log has its entries now and not at the end of the transaction.
  set constraints all immediate;
  insert into public.monitored_files (id, agent_id, file_path, added_by)
  values (pg_temp.remember('file', gen_random_uuid()), pg_temp.id('host'), '/etc/x', pg_temp.id('owen'));
  insert into public.firewall_rules (id, agent_id, action, protocol, port_from)
  values (pg_temp.remember('firewall rule', gen_random_uuid()), pg_temp.id('host'), 'allow', 'tcp', 22);
  insert into public.firewall_settings (agent_id) values (pg_temp.id('host'));
  insert into public.agent_conditions (id, agent_id, type, status, reason)
  values (pg_temp.remember('condition', gen_random_uuid()), pg_temp.id('host'), 'X', 'true', 'Y');
  insert into public.alerts (id, agent_id, title, severity)
  values (pg_temp.remember('alert', gen_random_uuid()), pg_temp.id('host'), 'T', 3);
  insert into public.desired_changes (agent_id, generation) values (pg_temp.id('host'), 1);
  insert into public.system_health (type, status, reason) values ('FeedHealthy', 'true', 'Healthy');
  insert into public.feed_canary (daemon_id, beat) values (gen_random_uuid(), 1);
  insert into public.held_releases (id, org_id)
  values (pg_temp.remember('release', gen_random_uuid()), pg_temp.id('org'));
  insert into public.detection_rules (id, org_id, name, body)
  values (pg_temp.remember('rule', gen_random_uuid()), pg_temp.id('org'), 'R', 'title: R');
  insert into public.detection_overrides (id, org_id, rule_id)
  values (pg_temp.remember('override', gen_random_uuid()), pg_temp.id('org'), 'r');
  insert into public.suppressions (id, org_id, rule_id, note)
  values (pg_temp.remember('suppression', gen_random_uuid()), pg_temp.id('org'), 'r', 'n');
  insert into public.shadow_matches (org_id, rule_id) values (pg_temp.id('org'), 'r');
  insert into public.detection_status (org_id, status) values (pg_temp.id('org'), 'accepted');
  insert into public.agent_risk (agent_id, score, window_secs) values (pg_temp.id('host'), 1, 3600);
  insert into public.collection_settings (agent_id) values (pg_temp.id('host'));
  insert into public.agent_processes (agent_id, total) values (pg_temp.id('host'), 0);
  insert into public.agent_facts (agent_id) values (pg_temp.id('host'));
  insert into public.agent_keys (agent_id, public_key, status, retired_key, rotation_requested_at)
  values (pg_temp.id('host'), 'k', 'admitted', 'former', now());
  update public.agents set retires_keys = true where id = pg_temp.id('host');
  insert into public.agent_tokens (id, org_id, name, prefix, expires_at)
  values (pg_temp.remember('token', gen_random_uuid()), pg_temp.id('org'), 'T', 'p', now());
end
$$;

-- The letter for a call, whose effect is taken back.
create function pg_temp.rehearse_call(who text, statement text) returns text language plpgsql as $$
declare
  n_rows bigint;
  verdict text;
begin
  begin
    perform set_config('response.status', '', true);
    perform pg_temp.become(who);
    execute statement;
    get diagnostics n_rows = row_count;
    verdict := case
      when current_setting('response.status') = '403' then 'D'
      when n_rows = 0 then 'N'
      else 'R'
    end;
    raise exception using errcode = 'TBACK';
  exception
    when sqlstate 'TBACK' then null;
    when sqlstate '42501' then verdict := 'D';
    when sqlstate '22023' then verdict := 'I';
    when sqlstate '23001' then verdict := 'K';
    when others then verdict := sqlstate || ' ' || sqlerrm;
  end;
  perform pg_temp.become('owner');
  return verdict;
end
$$;
