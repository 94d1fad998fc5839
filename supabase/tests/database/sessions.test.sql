-- A person's own sessions and devices, and the mail about a new one.

begin;
\ir ../support.sql

create function pg_temp.seal() returns void language plpgsql as $$
begin
  set constraints all immediate;
  set constraints all deferred;
end
$$;

-- Signs somebody in, as the Auth server does it.
create function pg_temp.sign_in(who text, program text, address inet) returns uuid language sql as $$
  insert into auth.sessions (id, user_id, user_agent, ip)
  values (gen_random_uuid(), pg_temp.id(who), program, address) returning id
$$;

create function pg_temp.in_session(who text, session uuid, query text) returns text language plpgsql as $$
declare
  answer text;
begin
  perform set_config('request.jwt.claims', json_build_object('role', 'authenticated',
    'sub', pg_temp.id(who), 'session_id', session)::text, true);
  perform set_config('role', 'authenticated', true);
  execute query into answer;
  perform pg_temp.become('owner');
  return answer;
exception when sqlstate 'PGRST' then
  return sqlerrm::jsonb ->> 'code';
end
$$;

create function pg_temp.n_mails(who text) returns text language sql as $$
  select count(*)::text from public.account_notifications where user_id = pg_temp.id(who) and not suppressed
$$;

-- people_list_and_end_their_own_sessions_and_nobody_elses
do $$
declare
  here uuid := pg_temp.sign_in('uma', 'Firefox/128.0', '203.0.113.7');
  there uuid := pg_temp.sign_in('uma', 'Firefox/128.0', '203.0.113.7');
  others uuid := pg_temp.sign_in('owen', 'Firefox/128.0', '203.0.113.7');
begin
  perform pg_temp.must_equal('listed', pg_temp.in_session('uma', here,
    'select count(*) || '' '' || count(*) filter (where is_current) from public.my_sessions()'), '2 1');
  perform pg_temp.must_equal('another one''s', pg_temp.in_session('uma', here, format(
    'select public.revoke_session(%L)', others)), 'false');
  perform pg_temp.must_equal('none', pg_temp.in_session('uma', here,
    'select public.revoke_session(null)'), 'false');
  perform pg_temp.must_equal('her own', pg_temp.in_session('uma', here, format(
    'select public.revoke_session(%L)', there)), 'true');
  perform pg_temp.must_equal('is refused from then on', pg_temp.in_session('uma', there,
    'select count(*) from public.agents'), '28000');
  perform pg_temp.must_equal('the others go on', pg_temp.in_session('owen', others,
    'select count(*) from public.agents'), '1');
  perform pg_temp.sign_in('uma', 'Firefox/128.0', '203.0.113.7');
  perform pg_temp.must_equal('all others', pg_temp.in_session('uma', here,
    'select public.revoke_other_sessions()'), '1');
  perform pg_temp.must_equal('left', pg_temp.in_session('uma', here,
    'select count(*) from public.my_sessions()'), '1');
end
$$;

-- sessions_are_in_the_persons_own_log
do $$
begin
  perform pg_temp.seal();
  perform pg_temp.must_equal('told', pg_temp.ask('uma',
    'select string_agg(distinct action, '' '' order by action) from public.audit_log'),
    'session.begin session.end session.revoke');
  perform pg_temp.must_equal('from where', pg_temp.ask('uma',
    'select distinct reported_ips || '' '' || user_agent from public.audit_log where action = ''session.begin'''),
    '203.0.113.7 Firefox/128.0');
  perform pg_temp.must_equal('of others', pg_temp.ask('uma',
    'select count(*) from public.audit_log where actor_id <> auth.uid()'), '0');
end
$$;

-- a_new_device_is_told_by_mail_but_not_the_first_nor_an_update
do $$
begin
  perform pg_temp.must_equal('the first', pg_temp.n_mails('uma'), '0');
  perform pg_temp.sign_in('uma', 'Firefox/129.0.1', '203.0.113.99');
  perform pg_temp.must_equal('an update, another address', pg_temp.n_mails('uma'), '0');
  perform pg_temp.sign_in('uma', 'Firefox/129.0.1', '198.51.100.4');
  perform pg_temp.must_equal('another network', pg_temp.n_mails('uma'), '1');
  perform pg_temp.must_match('the mail', (
    select recipient || ': ' || title || ': ' || message from public.account_notifications
  ), '^uma@people.test: New sign-in .* Firefox/129.0.1, from 198.51.100.0/24');
  perform pg_temp.must_equal('owen', pg_temp.n_mails('owen'), '0');
end
$$;

-- mail_about_an_account_is_claimed_and_finished_as_mail_about_alerts
do $$
declare
  claimed record;
begin
  perform pg_temp.become('service');
  select * into claimed from public.claim_notifications(10, 60);
  perform pg_temp.must_equal('claimed', concat_ws(' ', claimed.stage, claimed.recipient, claimed.agent_name,
    claimed.attempts), 'account uma@people.test 198.51.100.0/24 1');
  perform pg_temp.must_match('what to do', claimed.explanation ->> 'advice', 'change your password');
  perform pg_temp.must_equal('claimed once', (
    select count(*)::text from public.claim_notifications(10, 60)), '0');
  perform public.finish_notification(claimed.id, 'retry', 'busy', 1);
  perform pg_temp.must_equal('it waits', (
    select status || ' ' || error from public.account_notifications), 'pending busy');
  perform pg_temp.become('owner');
  update public.account_notifications set next_attempt_at = now();
  perform pg_temp.become('service');
  perform public.claim_notifications(1, 60);
  perform public.finish_notification(claimed.id, 'sent', null, null);
  perform pg_temp.must_equal('sent', (select status from public.account_notifications), 'sent');
  perform pg_temp.become('owner');
end
$$;

-- whoever_signs_in_from_ever_new_places_fills_no_mailbox_and_no_table
do $$
begin
  for n in 1..120 loop
    perform pg_temp.sign_in('uma', 'curl', ('2001:db8:' || n || '::1')::inet);
  end loop;
  perform pg_temp.must_equal('mails', pg_temp.n_mails('uma'), '10');
  perform pg_temp.must_equal('rows about the rest', (
    select count(*)::text from public.account_notifications where suppressed), '1');
  perform pg_temp.must_be_true('devices', (
    select count(*) <= 101 from public.known_devices where user_id = pg_temp.id('uma')));
end
$$;

-- whoever_is_given_another_role_or_removed_by_somebody_else_hears_of_it
do $$
declare
  org uuid := pg_temp.id('org');
begin
  delete from public.account_notifications;
  perform pg_temp.attempt('owen', format('select public.set_member_role(%L, %L, ''user'')', org,
    pg_temp.id('adam')));
  perform pg_temp.must_equal('the mail', (
    select recipient || ': ' || message from public.account_notifications
  ), 'adam@people.test: Your role in Test was admin and is user now; this was done by owen@people.test.');
  delete from public.account_notifications;
  perform pg_temp.attempt('owen', format('select public.remove_member(%L, %L)', org, pg_temp.id('adam')));
  perform pg_temp.must_match('the mail', (
    select recipient || ': ' || message from public.account_notifications
  ), '^adam@people.test: You are no member of Test any more; this was done by owen@people.test');
  insert into public.organization_members values (org, pg_temp.id('adam'), 'admin');
  delete from public.account_notifications;
  perform pg_temp.attempt('adam', format('select public.remove_member(%L, %L)', org, pg_temp.id('adam')));
  perform pg_temp.must_equal('who leaves', pg_temp.n_mails('adam'), '0');
  insert into public.organization_members values (org, pg_temp.id('adam'), 'admin');
  delete from public.organizations where id = pg_temp.id('other org');
  perform pg_temp.must_equal('what goes with its organization', pg_temp.n_mails('otto'), '0');
end
$$;

-- text_of_a_program_is_cleaned_and_a_broken_sign_in_record_stops_nobody
do $$
declare
  session uuid;
begin
  delete from public.account_notifications;
  session := pg_temp.sign_in('owen', e'evil\u001b[2J\r\nBcc: x@y' || repeat('z', 5000), '192.0.2.1');
  perform pg_temp.must_be_true('one line, short', (
    select message !~ '[\u0001-\u001f]' and char_length(message) < 600 from public.account_notifications));
  alter table public.known_devices rename to away;
  session := pg_temp.sign_in('owen', 'x', '192.0.2.9');
  perform pg_temp.must_be_true('signed in', exists (select from auth.sessions where id = session));
  alter table public.away rename to known_devices;
end
$$;

-- without_triggers_a_frontend_says_that_somebody_signed_in
do $$
begin
  perform set_config('request.headers',
    '{"x-forwarded-for": "192.0.2.77, 10.0.0.1", "user-agent": "Safari"}', true);
  perform pg_temp.must_equal('the first', pg_temp.ask('adam', 'select public.touch_session()'),
    '{"is_new": false}');
  perform set_config('request.headers',
    '{"x-forwarded-for": "198.51.100.77", "user-agent": "Safari"}', true);
  perform pg_temp.must_equal('another', pg_temp.ask('adam', 'select public.touch_session()'),
    '{"is_new": true}');
  perform pg_temp.must_equal('again', pg_temp.ask('adam', 'select public.touch_session()'),
    '{"is_new": false}');
  perform pg_temp.must_equal('forgets one', pg_temp.ask('adam',
    'select public.forget_device(id) from public.known_devices limit 1'), 'true');
  perform pg_temp.must_equal('not another one''s', pg_temp.ask('adam', format(
    'select public.forget_device(%L)', (select id from public.known_devices
      where user_id = pg_temp.id('uma') limit 1))), 'false');
end
$$;

rollback;
