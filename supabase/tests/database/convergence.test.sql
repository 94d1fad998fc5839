-- Which hosts have converged, since when, and if not, why; and presence as a lease.

begin;
\ir ../support.sql

-- Converged from a minute ago on, at generation 5, until a test says otherwise.
create function pg_temp.settle_host(agent text) returns void language sql as $$
  update public.agents set is_online = true, last_seen = now() - interval '10 s',
    created_at = now() - interval '1 day' where id = pg_temp.id(agent);
  update public.desired_generations
  set generation = 5, changed_at = now() - interval '100 s', hold = null where agent_id = pg_temp.id(agent);
  delete from public.agent_conditions where agent_id = pg_temp.id(agent);
  delete from public.desired_changes where agent_id = pg_temp.id(agent);
  insert into public.agent_conditions
    (agent_id, type, status, reason, message, observed_generation, last_transition_at)
  values
    (pg_temp.id(agent), 'FirewallSynced', 'true', 'Enabled', 'fw', 5, now() - interval '90 s'),
    (pg_temp.id(agent), 'FilesWatched', 'true', 'AllWatched', 'files', 5, now() - interval '60 s'),
    (pg_temp.id(agent), 'Held', 'false', 'NothingHeld', 'held', 5, now() - interval '200 s'),
    (pg_temp.id(agent), 'Connected', 'true', 'Connected', 'here', null, now() - interval '300 s');
$$;

create function pg_temp.convergence(agent text) returns text language sql as $$
  select format('%s %s %s %s', v.converged, v.reasons, extract(epoch from v.since - now())::integer,
    coalesce(v.observed_generation::text, '-'))
  from public.fleet_convergence v where v.agent_id = pg_temp.id(agent)
$$;

-- every_way_not_to_have_converged_has_its_reason_and_its_beginning
do $$
declare
  c record;
  v public.fleet_convergence;
  host constant text := 'where agent_id = pg_temp.id(''host'')';
begin
  for c in
    select * from (values
      ('nothing', 'select', 't {} -60 5'),
      ('observed late', 'insert into public.desired_changes (agent_id, generation, observed_at)
        values (pg_temp.id(''host''), 5, now() - interval ''30 s'')', 't {} -30 5'),
      ('observed of another generation', 'insert into public.desired_changes (agent_id, generation, observed_at)
        values (pg_temp.id(''host''), 4, now() - interval ''30 s'')', 't {} -60 5'),
      ('observed by a clock ahead', 'insert into public.desired_changes (agent_id, generation, observed_at)
        values (pg_temp.id(''host''), 5, now() + interval ''1 day'')', 't {} 0 5'),
      ('never connected', 'update public.agents set last_seen = null, is_online = false where id = pg_temp.id(''host'')',
        'f {NeverConnected} -86400 5'),
      ('never connected and nothing reported', 'with a as (update public.agents set last_seen = null
        where id = pg_temp.id(''host'')) delete from public.agent_conditions ' || host, 'f {NeverConnected} -86400 -'),
      ('offline', 'update public.agents set is_online = false where id = pg_temp.id(''host'')', 'f {Offline} -10 5'),
      ('said to be online too long ago', 'update public.agents set last_seen = now() - interval ''90 s''
        where id = pg_temp.id(''host'')', 'f {Offline} -90 5'),
      ('just within the lease', 'update public.agents set last_seen = now() - interval ''89 s''
        where id = pg_temp.id(''host'')', 't {} -60 5'),
      ('held by the database', 'update public.desired_generations set hold = ''BlastRadius'' ' || host,
        'f {Held/BlastRadius} -100 5'),
      ('held by the daemon', 'update public.agent_conditions set status = ''true'', reason = ''Emptied'' '
        || host || ' and type = ''Held''', 'f {Held/Emptied} -200 5'),
      ('held by both for one reason', 'with g as (update public.desired_generations set hold = ''BlastRadius'' '
        || host || ') update public.agent_conditions set status = ''true'', reason = ''BlastRadius'' '
        || host || ' and type = ''Held''', 'f {Held/BlastRadius} -200 5'),
      ('held by both for two', 'with g as (update public.desired_generations set hold = ''BlastRadius'' '
        || host || ') update public.agent_conditions set status = ''true'', reason = ''Emptied'' '
        || host || ' and type = ''Held''', 'f {Held/Emptied,Held/BlastRadius} -200 5'),
      ('holding unknown', 'update public.agent_conditions set status = ''unknown'' ' || host || ' and type = ''Held''',
        't {} -60 5'),
      ('nothing said of holding', 'delete from public.agent_conditions ' || host || ' and type = ''Held''',
        't {} -60 5'),
      ('a facet false', 'update public.agent_conditions set status = ''false'', reason = ''PathMissing'' '
        || host || ' and type = ''FilesWatched''', 'f {FilesWatched/PathMissing} -60 5'),
      ('a facet unknown', 'update public.agent_conditions set status = ''unknown'', reason = ''NoAnswer'' '
        || host || ' and type = ''FirewallSynced''', 'f {FirewallSynced/NoAnswer} -90 5'),
      ('both facets', 'update public.agent_conditions set status = ''false'', reason = ''X'' '
        || host || ' and type in (''FirewallSynced'', ''FilesWatched'')', 'f {FirewallSynced/X,FilesWatched/X} -90 5'),
      ('a facet not reported', 'delete from public.agent_conditions ' || host || ' and type = ''FilesWatched''',
        'f {FilesWatched/NotReported,Behind} -100 -'),
      ('a facet of no generation', 'update public.agent_conditions set observed_generation = null '
        || host || ' and type = ''FilesWatched''', 'f {Behind} -100 -'),
      ('a facet behind', 'update public.agent_conditions set observed_generation = 4 '
        || host || ' and type = ''FilesWatched''', 'f {Behind} -100 4'),
      ('a newer generation', 'update public.desired_generations set generation = 6, changed_at = now() - interval ''3 s'' '
        || host, 'f {Behind} -3 5'),
      ('offline and behind', 'with g as (update public.desired_generations set generation = 6,
        changed_at = now() - interval ''3 s'' ' || host || ') update public.agents set is_online = false
        where id = pg_temp.id(''host'')', 'f {Offline,Behind} -10 5'),
      ('ahead', 'update public.agent_conditions set observed_generation = 8 ' || host, 'f {Ahead} -100 8'),
      ('one facet ahead', 'update public.agent_conditions set observed_generation = 8 '
        || host || ' and type = ''FilesWatched''', 'f {Ahead} -100 5'),
      ('one behind, one ahead', 'update public.agent_conditions
        set observed_generation = case type when ''FilesWatched'' then 8 else 3 end ' || host, 'f {Behind} -100 3'),
      ('a condition nobody knows', 'insert into public.agent_conditions (agent_id, type, status, reason, observed_generation)
        values (pg_temp.id(''host''), ''Novel'', ''false'', ''R'', 1)', 't {} -60 5'),
      ('a facet nobody knows that is told', 'insert into public.agent_conditions
        (agent_id, type, status, reason, message, observed_generation, last_transition_at)
        values (pg_temp.id(''host''), ''Novel'', ''false'', ''R'', ''m'', 5, now() - interval ''20 s'')',
        'f {Novel/R} -20 5'),
      ('one that is as desired', 'insert into public.agent_conditions
        (agent_id, type, status, reason, message, observed_generation, last_transition_at)
        values (pg_temp.id(''host''), ''Novel'', ''true'', ''R'', ''m'', 5, now() - interval ''20 s'')',
        't {} -20 5'),
      ('an interval is desired and nothing said of it', 'insert into public.collection_settings
        (agent_id, network_interval) values (pg_temp.id(''host''), 5);
        update public.desired_generations set generation = 5, changed_at = now() - interval ''100 s'' ' || host,
        'f {CollectionSynced/NotReported,Behind} -100 -'),
      ('an interval is desired and refused', 'insert into public.agent_conditions
        (agent_id, type, status, reason, message, observed_generation, last_transition_at)
        values (pg_temp.id(''host''), ''CollectionSynced'', ''false'', ''IntervalRefused'', ''m'', 5,
        now() - interval ''7 s'')', 'f {CollectionSynced/IntervalRefused} -7 5'),
      ('every line of a log is desired', 'update public.collection_settings
        set network_interval = null;
        update public.desired_generations set generation = 5, changed_at = now() - interval ''100 s'' ' || host,
        't {} -60 5'),
      ('one of ten is', 'update public.collection_settings set sampling = 10;
        update public.desired_generations set generation = 5, changed_at = now() - interval ''100 s'' ' || host,
        'f {CollectionSynced/NotReported,Behind} -100 -'),
      ('no interval is desired any more', 'delete from public.collection_settings;
        update public.desired_generations set generation = 5, changed_at = now() - interval ''100 s'' ' || host,
        't {} -60 5')
    ) t (what, statement, expected)
  loop
    perform pg_temp.settle_host('host');
    execute c.statement;
    perform pg_temp.must_equal(c.what, pg_temp.convergence('host'), c.expected);
    select * into v from public.fleet_convergence where agent_id = pg_temp.id('host');
    perform pg_temp.must_equal('messages of ' || c.what, cardinality(v.messages)::text, cardinality(v.reasons)::text);
  end loop;
end
$$;

-- messages_name_times_and_numbers
do $$
declare
  v public.fleet_convergence;
begin
  perform pg_temp.settle_host('host');
  update public.agents set last_seen = '2026-01-02T03:04:05Z' where id = pg_temp.id('host');
  update public.desired_generations set generation = 6, hold = 'BlastRadius' where agent_id = pg_temp.id('host');
  perform set_config('timezone', 'Asia/Tokyo', true);
  select * into v from public.fleet_convergence where agent_id = pg_temp.id('host');
  perform set_config('timezone', 'UTC', true);
  perform pg_temp.must_equal('reasons', v.reasons::text, '{Offline,Held/BlastRadius,Behind}');
  perform pg_temp.must_equal('offline', v.messages[1], 'last heard of at 2026-01-02T03:04:05Z');
  perform pg_temp.must_match('held', v.messages[2], 'admin');
  perform pg_temp.must_equal('behind', v.messages[3], 'generation 6 is desired, and 5 was read back');
end
$$;

-- over_random_states_converged_means_exactly_what_it_says
do $$
declare
  seed double precision := random();
  v public.fleet_convergence;
  expected boolean;
  n_true integer := 0;
begin
  perform setseed(seed);
  for step in 1..600 loop
    perform pg_temp.settle_host('host');
    for turn in 1..floor(random() * 3)::integer loop
      case floor(random() * 7)::integer
        when 0 then update public.agents set is_online = random() < 0.5 where id = pg_temp.id('host');
        when 1 then update public.agents set last_seen = now() - make_interval(secs => random() * 180)
          where id = pg_temp.id('host');
        when 2 then update public.desired_generations set generation = 4 + floor(random() * 3)::integer
          where agent_id = pg_temp.id('host');
        when 3 then update public.desired_generations
          set hold = case when random() < 0.5 then 'BlastRadius' end where agent_id = pg_temp.id('host');
        when 4 then update public.agent_conditions
          set status = (array['true', 'false', 'unknown'])[1 + floor(random() * 3)::integer]
          where agent_id = pg_temp.id('host')
            and type = (array['FirewallSynced', 'FilesWatched', 'Held'])[1 + floor(random() * 3)::integer];
        when 5 then update public.agent_conditions set observed_generation = 4 + floor(random() * 3)::integer
          where agent_id = pg_temp.id('host') and random() < 0.7;
        else delete from public.agent_conditions where agent_id = pg_temp.id('host') and random() < 0.2;
      end case;
    end loop;
    select * into v from public.fleet_convergence where agent_id = pg_temp.id('host');
    select a.is_online and a.last_seen > now() - interval '90 s' and g.hold is null
      and not exists (select from public.agent_conditions c
        where c.agent_id = a.id and c.type = 'Held' and c.status = 'true')
      and (select count(*) from public.agent_conditions c
        where c.agent_id = a.id and c.type in ('FirewallSynced', 'FilesWatched') and c.status = 'true'
          and c.observed_generation = g.generation) = 2
    into expected
    from public.agents a join public.desired_generations g on g.agent_id = a.id
    where a.id = pg_temp.id('host');
    if v.converged is distinct from expected or v.converged <> (v.reasons = '{}')
       or cardinality(v.reasons) <> cardinality(v.messages) or v.since is null or v.since > now() then
      raise exception 'FAILED seed % step %: % although %', seed, step, v, expected;
    end if;
    n_true := n_true + v.converged::integer;
  end loop;
  perform pg_temp.must_be_true('some converge and some do not', n_true between 50 and 550);
end
$$;

-- everybody_sees_the_hosts_they_may_see_and_no_other
do $$
declare
  c record;
begin
  insert into public.agent_users (agent_id, user_id, role)
  values (pg_temp.id('host'), pg_temp.make_person('shared'), 'viewer');
  perform pg_temp.make_person('nobody');
  perform pg_temp.settle_host('host');
  perform pg_temp.settle_host('other host');
  for c in
    select * from (values
      ('owen', 'host t {}'), ('adam', 'host t {}'), ('uma', 'host t {}'),
      ('shared', 'host t {}'), ('otto', 'other host t {}'), ('nobody', null)
    ) v (who, seen)
  loop
    perform pg_temp.must_equal(c.who, pg_temp.ask(c.who,
      'select string_agg(concat_ws('' '', name, converged, reasons), '', '') from public.fleet_convergence
       where name in (''host'', ''other host'')'), c.seen);
  end loop;
  perform pg_temp.must_equal('service', pg_temp.ask('service',
    'select count(*) from public.fleet_convergence where name in (''host'', ''other host'')'), '2');
  perform pg_temp.must_equal('anon', pg_temp.attempt('anon', 'select from public.fleet_convergence'), '42501');
end
$$;

-- Presence ------------------------------------------------------------------------------------

create function pg_temp.presence(agent text) returns text language sql as $$
  select format('%s %s %s %s', a.is_online, public.online(a), c.status, c.reason)
  from public.agents a left join public.agent_conditions c on c.agent_id = a.id and c.type = 'Connected'
  where a.id = pg_temp.id(agent)
$$;

-- only_a_lease_that_nobody_renewed_ends
do $$
declare
  c record;
  seen timestamptz;
begin
  for c in
    select * from (values
      (true, '89', 'true', '0', 't t true Connected'),
      (true, '90', 'true', '1', 'f f unknown LeaseExpired'),
      (true, '100000', 'true', '1', 'f f unknown LeaseExpired'),
      (true, null, 'true', '1', 'f f unknown LeaseExpired'),
      (true, '100', 'false', '1', 'f f false Connected'),
      (true, '100', 'unknown', '1', 'f f unknown Connected'),
      (false, '100', 'true', '0', 'f f unknown LeaseExpired'),
      (false, '100', 'false', '0', 'f f false Connected'),
      (false, '10', 'true', '0', 'f f true Connected'),
      (true, '-30', 'true', '0', 't t true Connected')
    ) v (is_online, ago, connected, expired, presence)
  loop
    perform pg_temp.settle_host('host');
    update public.agents a set is_online = c.is_online, last_seen = now() - make_interval(secs => c.ago::integer)
    where id = pg_temp.id('host') returning last_seen into seen;
    update public.agent_conditions set status = c.connected
    where agent_id = pg_temp.id('host') and type = 'Connected';
    perform pg_temp.must_equal('expired of ' || c, pg_temp.ask('service', 'select public.expire_presence()'), c.expired);
    perform pg_temp.must_equal('presence of ' || c, pg_temp.presence('host'), c.presence);
    perform pg_temp.must_be_true('last_seen stays', (
      select last_seen is not distinct from seen from public.agents where id = pg_temp.id('host')
    ));
    perform pg_temp.must_equal('again', pg_temp.ask('service', 'select public.expire_presence()'), '0');
  end loop;
  perform pg_temp.must_equal('others', pg_temp.presence('other host'), 't t true Connected');
end
$$;

-- a_host_that_asks_regularly_stays_online_between_its_requests_and_is_told_to_be_missed_at_once
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('Polling', 'true', 301, '0', 't t true Polling', 't'),
      ('Polling', 'true', 899, '0', 't t true Polling', 't'),
      ('Polling', 'true', 900, '1', 'f f unknown PollingLapsed', 'f'),
      ('StoppedAsking', 'false', 91, '1', 'f f false StoppedAsking', 'f'),
      ('Polled', 'true', 91, '1', 'f f false Polled', 'f')
    ) v (reason, connected, ago, expired, presence, converged)
  loop
    perform pg_temp.settle_host('host');
    update public.agents set last_seen = now() - make_interval(secs => c.ago)
    where id = pg_temp.id('host');
    update public.agent_conditions set status = c.connected, reason = c.reason
    where agent_id = pg_temp.id('host') and type = 'Connected';
    perform pg_temp.must_equal('online for an owner, ' || c, pg_temp.ask('owen', format(
      'select left(public.online(a)::text, 1) from public.agents a where id = %L', pg_temp.id('host'))), c.converged);
    perform pg_temp.must_equal('converged, ' || c, pg_temp.ask('owen', format(
      'select left(converged::text, 1) from public.fleet_convergence where agent_id = %L',
      pg_temp.id('host'))), c.converged);
    perform pg_temp.must_equal('expired of ' || c, pg_temp.ask('service', 'select public.expire_presence()'), c.expired);
    perform pg_temp.must_equal('presence of ' || c, pg_temp.presence('host'), c.presence);
  end loop;
  perform pg_temp.settle_host('host');
end
$$;

-- an_expiry_that_changes_nothing_rewrites_no_row
do $$
declare
  before text;
begin
  select string_agg(xmin::text || ctid::text, ' ' order by id) into before from public.agents;
  perform pg_temp.ask('service', 'select public.expire_presence()');
  perform pg_temp.must_equal('rows', (select string_agg(xmin::text || ctid::text, ' ' order by id) from public.agents),
    before);
end
$$;

-- an_agent_that_is_heard_of_again_is_online_and_connected_again
do $$
begin
  perform pg_temp.settle_host('host');
  update public.agents set last_seen = now() - interval '2 minutes' where id = pg_temp.id('host');
  perform pg_temp.ask('service', 'select public.expire_presence()');
  perform pg_temp.must_equal('expired', pg_temp.presence('host'), 'f f unknown LeaseExpired');
  perform pg_temp.must_equal('a mere sign of life', pg_temp.ask('service', format(
    'select public.record_presence(''[{"agent_id": "%s", "online": true}]'')', pg_temp.id('host'))), '1');
  perform pg_temp.must_equal('again', pg_temp.presence('host'), 't t true Connected');
  -- What the daemon itself has said meanwhile stands.
  update public.agents set is_online = false where id = pg_temp.id('host');
  update public.agent_conditions set status = 'false', reason = 'Disconnected'
  where agent_id = pg_temp.id('host') and type = 'Connected';
  perform pg_temp.ask('service', format(
    'select public.record_presence(''[{"agent_id": "%s", "online": true}]'')', pg_temp.id('host')));
  perform pg_temp.must_equal('the daemon''s word', pg_temp.presence('host'), 't t false Disconnected');
end
$$;

-- whoever_asks_over_http_is_known_by_that_through_expiry_return_and_restart
do $$
declare
  c record;
begin
  insert into public.agent_keys (agent_id, public_key, status)
  values (pg_temp.id('host'), 'polls', 'admitted')
  on conflict (agent_id) do update set status = 'admitted';
  for c in
    select * from (values
      ('Polling', 'f f unknown PollingLapsed', 't t true Polling', 't'),
      ('Polled', 'f f false Polled', 't t true Polled', null),
      ('Connected', 'f f unknown LeaseExpired', 't t true Connected', 'f')
    ) t (reason, expired, again, polls)
  loop
    perform pg_temp.settle_host('host');
    update public.agent_conditions set reason = c.reason
    where agent_id = pg_temp.id('host') and type = 'Connected';
    update public.agents set last_seen = now() - interval '15 minutes' where id = pg_temp.id('host');
    perform pg_temp.ask('service', 'select public.expire_presence()');
    perform pg_temp.must_equal(c.reason || ' expired', pg_temp.presence('host'), c.expired);
    perform pg_temp.ask('service', format(
      'select public.record_presence(''[{"agent_id": "%s", "online": true}]'')', pg_temp.id('host')));
    perform pg_temp.must_equal(c.reason || ' again', pg_temp.presence('host'), c.again);
    perform pg_temp.ask('service', 'select public.reset_presence()');
    perform pg_temp.must_equal(c.reason || ' restarted', pg_temp.presence('host'),
      replace(c.expired, 'LeaseExpired', 'DaemonRestarted'));
    perform pg_temp.must_equal(c.reason || ' unheard', pg_temp.ask('service', format(
      'select polls::text from public.unheard_agents(null, 1000) where agent_id = %L',
      pg_temp.id('host'))), case c.polls when 't' then 'true' when 'f' then 'false' end);
  end loop;
  perform pg_temp.settle_host('host');
  perform pg_temp.settle_host('other host');
end
$$;

-- a_sign_of_life_too_small_to_be_written_still_ends_an_expiry
do $$
begin
  perform pg_temp.settle_host('host');
  update public.agent_conditions set status = 'unknown', reason = 'LeaseExpired'
  where agent_id = pg_temp.id('host') and type = 'Connected';
  perform pg_temp.must_equal('rows of agents', pg_temp.ask('service', format(
    'select public.record_presence(''[{"agent_id": "%s", "online": true}]'')', pg_temp.id('host'))), '0');
  perform pg_temp.must_equal('again', pg_temp.presence('host'), 't t true Connected');
  update public.agent_conditions set status = 'unknown', reason = 'LeaseExpired'
  where agent_id = pg_temp.id('host') and type = 'Connected';
  perform pg_temp.ask('service', format(
    'select public.record_presence(''[{"agent_id": "%s", "online": false}]'')', pg_temp.id('host')));
  perform pg_temp.must_equal('gone', pg_temp.presence('host'), 'f f unknown LeaseExpired');
end
$$;

-- a_daemon_that_died_leaves_no_health_behind
do $$
begin
  insert into public.system_health (type, status, reason, updated_at, last_transition_at) values
    ('Old', 'true', 'Healthy', now() - interval '90 s', '2020-01-01'),
    ('New', 'true', 'Healthy', now() - interval '89 s', '2020-01-01'),
    ('Unknown', 'unknown', 'X', now() - interval '1 day', '2020-01-01');
  perform pg_temp.ask('service', 'select public.expire_presence()');
  perform pg_temp.must_equal('health', (
    select string_agg(concat_ws(' ', type, status, reason, last_transition_at = now(), updated_at < now()), ', ' order by type)
    from public.system_health
  ), 'New true Healthy f t, Old unknown LeaseExpired t t, Unknown unknown X f t');
  perform pg_temp.ask('service',
    'select public.report_health(''[{"type": "Old", "status": "true", "reason": "Healthy"}]'')');
  perform pg_temp.must_equal('the daemon is back', (
    select concat_ws(' ', status, reason, updated_at = now()) from public.system_health where type = 'Old'
  ), 'true Healthy t');
end
$$;

-- people_read_presence_as_a_column_of_the_agents_they_see
do $$
begin
  perform pg_temp.settle_host('host');
  perform pg_temp.must_equal('a member', pg_temp.ask('uma', 'select string_agg(a.online::text, '' '') from public.agents a'), 'true');
  perform pg_temp.must_equal('a stranger', pg_temp.ask('otto',
    'select string_agg(a.name, '' '') from public.agents a where a.online'), 'other host');
end
$$;

rollback;
