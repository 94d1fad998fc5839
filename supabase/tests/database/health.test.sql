-- Health of the daemon and the canary of its feed: for everybody to see, for the daemon to write.

begin;
\ir ../support.sql

create function pg_temp.tell(status text, reason text, message text default 'm', details text default '{}')
returns text language sql as $$
  select pg_temp.ask('service', format('select public.report_health(%L)', jsonb_build_array(
    jsonb_build_object('type', 'FeedHealthy', 'status', status, 'reason', reason, 'message', message,
      'details', details::jsonb))))
$$;

create function pg_temp.health() returns text language sql as $$
  select concat_ws(' ', status, reason, message, details,
    extract(epoch from last_transition_at - now())::integer, extract(epoch from updated_at - now())::integer)
  from public.system_health where type = 'FeedHealthy'
$$;

create function pg_temp.let_seconds_pass(n integer) returns void language sql as $$
  update public.system_health
  set updated_at = updated_at - make_interval(secs => n),
      last_transition_at = last_transition_at - make_interval(secs => n)
$$;

-- a_row_is_written_when_it_says_something_new_or_after_25_seconds
do $$
begin
  perform pg_temp.must_equal('first', pg_temp.tell('true', 'Healthy', 'm', '{"broadcast_ms": 3}'), '1');
  perform pg_temp.must_equal('row', pg_temp.health(), 'true Healthy m {"broadcast_ms": 3} 0 0');
  perform pg_temp.let_seconds_pass(24);
  perform pg_temp.must_equal('the same', pg_temp.tell('true', 'Healthy', 'm', '{"broadcast_ms": 3}'), '0');
  perform pg_temp.must_equal('other numbers', pg_temp.tell('true', 'Healthy', 'm', '{"broadcast_ms": 4}'), '0');
  perform pg_temp.let_seconds_pass(1);
  perform pg_temp.must_equal('later', pg_temp.tell('true', 'Healthy', 'm', '{"broadcast_ms": 4}'), '1');
  perform pg_temp.must_equal('row', pg_temp.health(), 'true Healthy m {"broadcast_ms": 4} -25 0');
  perform pg_temp.must_equal('another message', pg_temp.tell('true', 'Healthy', 'n'), '1');
  perform pg_temp.must_equal('row', pg_temp.health(), 'true Healthy n {} -25 0');
  perform pg_temp.must_equal('another reason', pg_temp.tell('true', 'Well', 'n'), '1');
  perform pg_temp.must_equal('another status', pg_temp.tell('false', 'CanarySilent', 'n'), '1');
  perform pg_temp.must_equal('row', pg_temp.health(), 'false CanarySilent n {} 0 0');
end
$$;

-- a_bad_report_costs_the_others_nothing_and_words_are_cleaned
do $$
declare
  bad text;
begin
  foreach bad in array array[
    '1', 'null', '[]', '"x"', '{}', '{"type": "Bad", "status": "maybe", "reason": "R"}',
    '{"type": "Bad", "reason": "R"}', '{"type": "", "status": "true"}', '{"status": "true"}',
    '{"type": "B\nad", "status": "true"}', '{"type": "LONG", "status": "true"}'
  ] loop
    delete from public.system_health;
    perform pg_temp.must_equal('beside ' || bad, pg_temp.ask('service', format(
      'select public.report_health(%L)', replace('[{"type": "ReadOnly", "status": "false", "reason": "R"}, '
        || bad || ']', 'LONG', repeat('x', 101)))), '1');
  end loop;
  perform pg_temp.tell('true', e' \u0001', repeat('m', 1001) || e'\n', '[]');
  perform pg_temp.must_equal('words', pg_temp.health(), 'true Unspecified ' || repeat('m', 1000) || ' {} 0 0');
  perform pg_temp.tell('false', repeat('r', 101), null, jsonb_build_object('k', repeat('v', 5000))::text);
  perform pg_temp.must_equal('long words', pg_temp.health(), 'false ' || repeat('r', 100) || '  {} 0 0');
end
$$;

-- the_last_of_several_reports_wins
do $$
begin
  perform pg_temp.must_equal('changed', pg_temp.ask('service', 'select public.report_health(''[
    {"type": "X", "status": "true", "reason": "First"}, {"type": "X", "status": "false", "reason": "Last"}]'')'), '1');
  perform pg_temp.must_equal('reason', (select reason from public.system_health where type = 'X'), 'Last');
end
$$;

-- everybody_signed_in_sees_the_health_and_nobody_the_canary
do $$
declare
  who text;
begin
  perform pg_temp.ask('service', 'select public.beat_canary(gen_random_uuid(), 1)');
  foreach who in array array['owen', 'uma', 'otto'] loop
    perform pg_temp.must_equal(who || ' sees', pg_temp.ask(who, 'select count(*) from public.system_health'), '3');
    perform pg_temp.must_equal(who || ' and the canary', pg_temp.attempt(who,
      'select from public.feed_canary'), '42501');
  end loop;
  perform pg_temp.must_equal('anon', pg_temp.attempt('anon', 'select from public.system_health'), '42501');
end
$$;

-- a_beat_is_one_row_per_daemon_and_a_private_broadcast
do $$
declare
  daemon uuid := gen_random_uuid();
  message record;
begin
  delete from public.feed_canary;
  delete from realtime.messages;
  perform pg_temp.must_equal('first', pg_temp.ask('service',
    format('select public.beat_canary(%L, 1) = now()', daemon)), 'true');
  select * into strict message from realtime.messages;
  perform pg_temp.must_equal('broadcast', concat_ws(' ', message.topic, message.event, message.private,
    message.payload - 'id'), format('hidps:feed canary t {"beat": 1, "daemon_id": "%s"}', daemon));
  perform pg_temp.ask('service', format('select public.beat_canary(%L, 2)', daemon));
  perform pg_temp.ask('service', format('select public.beat_canary(%L, 9)', gen_random_uuid()));
  perform pg_temp.must_equal('broadcasts', (select count(*)::text from realtime.messages), '3');
  perform pg_temp.must_equal('rows', (
    select string_agg(beat::text, ' ' order by beat) from public.feed_canary
  ), '2 9');
end
$$;

-- a_daemon_that_is_gone_leaves_no_row_after_a_day
do $$
begin
  update public.feed_canary set beaten_at = now() - case beat when 2 then interval '23 hours'
    else interval '25 hours' end;
  perform pg_temp.ask('service', format('select public.beat_canary(%L, 5)', gen_random_uuid()));
  perform pg_temp.must_equal('rows', (
    select string_agg(beat::text, ' ' order by beat) from public.feed_canary
  ), '2 5');
end
$$;

-- a_beat_without_a_name_or_number_is_refused
select pg_temp.must_match('no daemon', pg_temp.refusal('service', 'select public.beat_canary(null, 1)'), '^22023');
select pg_temp.must_match('no beat', pg_temp.refusal('service', 'select public.beat_canary(gen_random_uuid(), null)'),
  '^22023');

-- a_beat_goes_through_when_realtime_fails
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void language plpgsql as $$ begin raise exception 'realtime is broken'; end $$;
select pg_temp.must_equal('beat', pg_temp.ask('service',
  'select public.beat_canary(gen_random_uuid(), 1) is not null'), 'true');

rollback;
