-- Who hears of an alert, and the outbox that every message goes through.

begin;
\ir ../support.sql

create function pg_temp.raise_alert(fingerprint text, severity integer default 3, agent text default 'host')
returns text language sql as $$
  select pg_temp.ask('service', format('select id from public.upsert_alert(%L)', jsonb_build_object(
    'occurrence_id', gen_random_uuid(), 'agent_id', pg_temp.id(agent), 'fingerprint', fingerprint,
    'title', 'Title', 'severity', severity)))
$$;

create function pg_temp.told(alert text) returns text language sql as $$
  select string_agg(split_part(n.recipient, '@', 1), ' ' order by n.recipient)
  from public.alert_notifications n where n.alert_id = alert::uuid
$$;

create function pg_temp.claim(how_many integer default 10, lease integer default 60) returns text
language sql as $$
  select pg_temp.ask('service', format(
    'select string_agg(split_part(recipient, ''@'', 1) || '' '' || attempts, '', '' order by recipient)
     from public.claim_notifications(%s, %s)', how_many, lease))
$$;

create function pg_temp.finish(person text, outcome text, fault text default null, seconds integer default 60)
returns text language sql as $$
  select pg_temp.refusal('service', format(
    'select public.finish_notification(%L, %L, %L, %L)',
    (select id from public.alert_notifications where recipient = person || '@people.test'),
    outcome, fault, seconds))
$$;

-- Notifications of the seed are not the subject.
delete from public.alert_notifications;

-- the_owner_the_members_and_the_shared_hear_once_each
do $$
begin
  insert into public.agent_users (agent_id, user_id, role) values
    (pg_temp.id('host'), pg_temp.make_person('shared'), 'viewer'),
    (pg_temp.id('host'), pg_temp.id('uma'), 'user');
  perform pg_temp.must_equal('told', pg_temp.told(pg_temp.raise_alert('all')), 'adam owen shared uma');
  perform pg_temp.must_equal('told of the other host', pg_temp.told(pg_temp.raise_alert('x', 3, 'other host')),
    'otto');
end
$$;

-- an_owner_who_left_the_organization_hears_nothing
do $$
begin
  -- An organization keeps an owner.
  update public.organization_members set role = 'owner' where user_id = pg_temp.id('adam');
  delete from public.organization_members where user_id = pg_temp.id('owen');
  perform pg_temp.must_equal('told', pg_temp.told(pg_temp.raise_alert('left')), 'adam shared uma');
  insert into public.organization_members (org_id, user_id, role)
  values (pg_temp.id('org'), pg_temp.id('owen'), 'owner');
  update public.organization_members set role = 'admin' where user_id = pg_temp.id('adam');
  -- Mail about that is another test's.
  delete from public.account_notifications;
end
$$;

-- a_repeated_occurrence_tells_nobody_again
do $$
begin
  perform pg_temp.raise_alert('all');
  perform pg_temp.must_equal('rows', (
    select count(*)::text from public.alert_notifications n
    join public.alerts a on a.id = n.alert_id where a.fingerprint = 'all'
  ), '4');
end
$$;

-- people_without_an_address_or_who_switched_mail_off_hear_nothing
do $$
begin
  update auth.users set email = null where id = pg_temp.id('adam');
  update auth.users set raw_user_meta_data = '{"notifications": false}' where id = pg_temp.id('uma');
  update auth.users set deleted_at = now() where id = pg_temp.id('shared');
  perform pg_temp.must_equal('told', pg_temp.told(pg_temp.raise_alert('few')), 'owen');
end
$$;

-- one_address_in_two_accounts_hears_once
do $$
declare
  raised uuid;
begin
  update auth.users set email = 'OWEN@people.test' where id = pg_temp.id('adam');
  raised := pg_temp.raise_alert('twice');
  perform pg_temp.must_equal('rows', (
    select count(*)::text from public.alert_notifications where alert_id = raised
  ), '1');
  update auth.users set email = null where id = pg_temp.id('adam');
end
$$;

-- below_the_organizations_severity_nobody_hears
do $$
begin
  perform pg_temp.must_equal('severity 1', pg_temp.told(pg_temp.raise_alert('low', 1)), null);
  perform pg_temp.must_equal('severity 2', pg_temp.told(pg_temp.raise_alert('medium', 2)), 'owen');
  update public.organizations set settings = '{"notify_min_severity": 4}' where id = pg_temp.id('org');
  perform pg_temp.must_equal('severity 3 of 4', pg_temp.told(pg_temp.raise_alert('high', 3)), null);
  perform pg_temp.must_equal('severity 4 of 4', pg_temp.told(pg_temp.raise_alert('critical', 4)), 'owen');
  update public.organizations set settings = '{}' where id = pg_temp.id('org');
end
$$;

-- an_alert_that_is_recorded_as_resolved_tells_nobody
do $$
declare
  recorded uuid;
begin
  insert into public.alerts (agent_id, title, severity, resolved) values
    (pg_temp.id('host'), 'past', 4, true) returning id into recorded;
  perform pg_temp.must_equal('told', pg_temp.told(recorded::text), null);
end
$$;

-- the_daemon_is_woken_once_per_alert_and_not_for_nothing
do $$
begin
  delete from realtime.messages;
  perform pg_temp.raise_alert('wake', 4);
  perform pg_temp.raise_alert('wake', 4);
  perform pg_temp.raise_alert('quiet', 1);
  perform pg_temp.must_equal('hints', (
    select string_agg(concat_ws(' ', topic, event, private), ', ') from realtime.messages
  ), 'hidps:feed notification t');
end
$$;

-- Floods --------------------------------------------------------------------------------------

-- Mails about an agent by stage and status, to one person.
create function pg_temp.mails(person text, agent text default 'host') returns text language sql as $$
  select string_agg(t.line, ', ' order by t.line) from (
    select format('%s %s %s', n.stage, n.status, count(*)) as line
    from public.alert_notifications n
    where n.recipient = person || '@people.test' and n.agent_id = pg_temp.id(agent)
    group by n.stage, n.status
  ) t
$$;

create function pg_temp.flood(how_many integer, agent text default 'host') returns void language sql as $$
  select pg_temp.raise_alert(gen_random_uuid()::text, 3, agent) from generate_series(1, how_many)
$$;

-- above_30_mails_an_hour_about_an_agent_one_tells_of_the_storm
do $$
begin
  delete from public.alert_notifications;
  delete from public.alerts;
  perform pg_temp.flood(30);
  perform pg_temp.must_equal('30 alerts', pg_temp.mails('owen'), 'raised pending 30');
  delete from realtime.messages;
  perform pg_temp.flood(1);
  perform pg_temp.must_equal('the 31st', pg_temp.mails('owen'),
    'raised failed 1, raised pending 30, storm pending 1');
  perform pg_temp.must_equal('the storm wakes the daemon', (select count(*)::text from realtime.messages), '1');
  perform pg_temp.flood(10);
  perform pg_temp.must_equal('10 more', pg_temp.mails('owen'),
    'raised failed 11, raised pending 30, storm pending 1');
  perform pg_temp.must_equal('what is not sent wakes nobody', (select count(*)::text from realtime.messages), '1');
  perform pg_temp.must_equal('every alert is there', (select count(*)::text from public.alerts), '41');
  perform pg_temp.must_equal('why', (
    select string_agg(distinct error, '') from public.alert_notifications where suppressed
  ), 'suppressed: more than 30 mails about this agent within an hour');
  perform pg_temp.must_equal('claimed', pg_temp.ask('service',
    'select string_agg(distinct stage, '' '') || '' '' || count(*) from public.claim_notifications(500, 60)'),
    'raised storm 31');
end
$$;

-- a_flood_of_one_agent_silences_no_other
do $$
begin
  perform pg_temp.flood(1, 'other host');
  perform pg_temp.must_equal('otto', pg_temp.mails('otto', 'other host'), 'raised pending 1');
end
$$;

-- a_repeated_alert_is_counted_and_is_no_mail
do $$
begin
  delete from public.alerts;
  for n in 1..40 loop
    perform pg_temp.raise_alert('same');
  end loop;
  perform pg_temp.must_equal('mails', pg_temp.mails('owen'), 'raised pending 1');
  perform pg_temp.must_equal('occurrences', (
    select occurrences::text from public.alerts where fingerprint = 'same'
  ), '40');
end
$$;

-- after_an_hour_mails_go_out_again_and_the_next_storm_is_told_of
do $$
begin
  delete from public.alerts;
  update public.organizations set settings = '{"max_mails_per_hour": 3}' where id = pg_temp.id('org');
  perform pg_temp.flood(5);
  perform pg_temp.must_equal('the organization''s number', pg_temp.mails('owen'),
    'raised failed 2, raised pending 3, storm pending 1');
  perform pg_temp.must_equal('why', (
    select string_agg(distinct error, '') from public.alert_notifications where suppressed
  ), 'suppressed: more than 3 mails about this agent within an hour');
  update public.alert_notifications set created_at = created_at - interval '59 minutes';
  perform pg_temp.flood(1);
  perform pg_temp.must_equal('59 minutes later', pg_temp.mails('owen'),
    'raised failed 3, raised pending 3, storm pending 1');
  update public.alert_notifications set created_at = created_at - interval '1 minute';
  perform pg_temp.flood(4);
  perform pg_temp.must_equal('an hour later', pg_temp.mails('owen'),
    'raised failed 4, raised pending 6, storm pending 2');
end
$$;

-- alerts_written_by_one_statement_are_counted_like_others
do $$
begin
  delete from public.alerts;
  insert into public.alerts (agent_id, title, severity)
  select pg_temp.id(a.name), 'T', 3 from (values ('host'), ('other host')) a (name), generate_series(1, 6);
  perform pg_temp.must_equal('of 3 an hour', pg_temp.mails('owen'),
    'raised failed 3, raised pending 3, storm pending 1');
  perform pg_temp.must_equal('of 30 an hour', pg_temp.mails('otto', 'other host'), 'raised pending 6');
  delete from public.alerts;
  update public.organizations set settings = '{}' where id = pg_temp.id('org');
end
$$;

-- a_number_of_mails_that_makes_no_sense_is_refused
do $$
declare
  number text;
begin
  foreach number in array array['0', '-1', '1001', '"many"', '[]'] loop
    perform pg_temp.must_equal(number, pg_temp.rehearse('adam', format(
      'update public.organizations set settings = ''{"max_mails_per_hour": %s}'' where id = pg_temp.id(''org'')',
      number)), '23514');
  end loop;
end
$$;

-- Outbox --------------------------------------------------------------------------------------

-- From here on: one alert told to owen and otto.
delete from public.alert_notifications;
delete from public.alerts where agent_id in (pg_temp.id('host'), pg_temp.id('other host'));
insert into public.agent_users (agent_id, user_id) values (pg_temp.id('host'), pg_temp.id('otto'));
select pg_temp.remember('alert', pg_temp.raise_alert('outbox')::uuid);

-- a_claim_is_bounded_and_hands_out_each_row_once
do $$
begin
  perform pg_temp.must_equal('zero', pg_temp.claim(0), null);
  perform pg_temp.must_match('one', pg_temp.claim(1), '^\w+ 1$');
  perform pg_temp.must_match('the other', pg_temp.claim(), '^\w+ 1$');
  perform pg_temp.must_equal('none left', pg_temp.claim(), null);
end
$$;

-- an_unfinished_claim_comes_back_when_its_lease_ends_with_the_same_message_id
do $$
declare
  ids text := (select string_agg(message_id, ' ' order by id) from public.alert_notifications);
begin
  perform pg_temp.must_match('message ids', ids, format('^<alert\.%s\.[0-9a-f-]{36}@hidps> <alert',
    pg_temp.id('alert')));
  update public.alert_notifications set next_attempt_at = now() where recipient like 'owen@%';
  perform pg_temp.must_equal('claimed again', pg_temp.claim(), 'owen 2');
  perform pg_temp.must_equal('message ids', (
    select string_agg(message_id, ' ' order by id) from public.alert_notifications
  ), ids);
end
$$;

-- a_claim_carries_the_whole_story
update public.alert_notifications set next_attempt_at = now() where recipient like 'otto@%';
select pg_temp.must_equal('claim', (
  select concat_ws('|', c.recipient, c.stage, c.attempts, c.alert_id = pg_temp.id('alert'), c.title,
    c.severity, c.occurrences, c.agent_id = pg_temp.id('host'), c.agent_name, c.organization_name)
  from public.claim_notifications(1, 60) c
), 'otto@people.test|raised|2|t|Title|3|1|t|host|Test');

-- a_retry_waits_and_a_success_or_failure_is_final
do $$
begin
  perform pg_temp.must_equal('retry', pg_temp.finish('owen', 'retry', 'greylisted', 120), '');
  perform pg_temp.must_equal('row', (
    select concat_ws(' ', status, error, next_attempt_at = now() + interval '120 seconds')
    from public.alert_notifications where recipient like 'owen@%'
  ), 'pending greylisted t');
  perform pg_temp.must_equal('not yet', pg_temp.claim(), null);
  update public.alert_notifications set next_attempt_at = now() where recipient like 'owen@%';
  perform pg_temp.must_equal('again', pg_temp.claim(), 'owen 3');
  perform pg_temp.must_equal('sent', pg_temp.finish('owen', 'sent'), '');
  perform pg_temp.must_equal('row', (
    select concat_ws(' ', status, error is null, sent_at = now())
    from public.alert_notifications where recipient like 'owen@%'
  ), 'sent t t');
  perform pg_temp.must_equal('finishing twice is harmless', pg_temp.finish('owen', 'failed', 'x'), '');
  perform pg_temp.must_equal('failed', pg_temp.finish('otto', 'failed', repeat('x', 5000)), '');
  perform pg_temp.must_equal('rows', (
    select string_agg(status || ' ' || coalesce(char_length(error), 0), ', ' order by recipient)
    from public.alert_notifications
  ), 'failed 1000, sent 0');
  update public.alert_notifications set next_attempt_at = now() - interval '1 day';
  perform pg_temp.must_equal('nothing to claim', pg_temp.claim(), null);
end
$$;

-- an_unknown_outcome_or_notification_is_refused
select pg_temp.must_match('outcome', pg_temp.finish('owen', 'perhaps'), '^22023 outcome ''perhaps''');
select pg_temp.must_match('outcome', pg_temp.finish('owen', null), '^22023 outcome NULL');
select pg_temp.must_match('notification', pg_temp.refusal('service', format(
  'select public.finish_notification(%L, ''sent'', null, null)', gen_random_uuid())), '^22023 there is no');

-- people_see_what_was_sent_to_them_and_admins_see_all_of_their_agents
do $$
begin
  perform pg_temp.must_equal('owen', pg_temp.rehearse('owen', 'select from public.alert_notifications'), '2');
  perform pg_temp.must_equal('adam', pg_temp.rehearse('adam', 'select from public.alert_notifications'), '2');
  perform pg_temp.must_equal('uma', pg_temp.rehearse('uma', 'select from public.alert_notifications'), '0');
  perform pg_temp.must_equal('otto', pg_temp.rehearse('otto', 'select from public.alert_notifications'), '1');
end
$$;

rollback;
