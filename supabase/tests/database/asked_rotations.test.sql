-- An admin asks an agent for another key: who may, what it does to what is desired, and how it is read
-- back that it was done, or why not.

begin;
\ir ../support.sql

create function pg_temp.key(word text) returns text language sql as $$
  select encode(sha256(convert_to(word, 'UTF8')), 'base64')
$$;

-- Whether there was a request to take back, or why somebody is refused.
create function pg_temp.withdraw(who text) returns text language plpgsql as $$
declare
  statement text := format('select public.withdraw_key_rotation(%L)', pg_temp.id('host'));
begin
  if pg_temp.rehearse(who, statement) = '42501' then
    return pg_temp.refusal(who, statement);
  end if;
  return pg_temp.ask(who, statement);
end
$$;

-- Nothing, or why somebody is refused.
create function pg_temp.request(who text, agent text default 'host') returns text language sql as $$
  select pg_temp.refusal(who, format('select public.request_key_rotation(%L)', pg_temp.id(agent)))
$$;

create function pg_temp.retired() returns text language sql as $$
  select d.document ->> 'retired_key' from public.desired_state(array[pg_temp.id('host')]) d
$$;

-- What the view says to somebody: the reason and the message.
create function pg_temp.told(who text default 'uma') returns text language sql as $$
  select pg_temp.ask(who, format(
    'select concat_ws('' '', rotated, reason, message) from public.key_rotations where agent_id = %L',
    pg_temp.id('host')))
$$;

create function pg_temp.report(kind text, status text, reason text, generation bigint) returns void
language sql as $$
  select public.report_conditions(jsonb_build_array(jsonb_build_object(
    'agent_id', pg_temp.id('host'), 'type', kind, 'status', status, 'reason', reason,
    'message', 'why ' || reason, 'observed_generation', generation)))
$$;

create function pg_temp.connect(retires_keys boolean, agent text default 'host') returns void
language sql as $$
  select public.record_presence(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
    'agent_id', pg_temp.id(agent), 'online', true, 'age', 0, 'retires_keys', retires_keys))))
$$;

create function pg_temp.replace(present text, successor text) returns text language sql as $$
  select pg_temp.refusal('service', format('select public.rotate_agent_key(%L, %L, %L)',
    pg_temp.id('host'), pg_temp.key(present), pg_temp.key(successor)))
$$;

-- what_cannot_be_done_is_said_when_it_is_asked_for
do $$
begin
  perform pg_temp.must_match('no key', pg_temp.request('adam'), '^22023 this agent has no key');
  insert into public.agent_keys (agent_id, public_key) values (pg_temp.id('host'), pg_temp.key('one'));
  perform pg_temp.must_match('a key that waits', pg_temp.request('adam'), '^22023 this agent has no key');
  update public.agent_keys set status = 'admitted';
  perform pg_temp.must_match('never connected', pg_temp.request('adam'), '^22023 the program on this host');
  perform pg_temp.connect(null);
  perform pg_temp.must_match('an older program', pg_temp.request('adam'), '^22023 the program .* rotate-key');
  perform pg_temp.must_equal('nothing is desired', pg_temp.retired(), null);
  perform pg_temp.connect(true);
  perform pg_temp.connect(null);
  perform pg_temp.must_be_true('a sign of life says nothing of the program', (
    select retires_keys from public.agents where id = pg_temp.id('host')));
end
$$;

-- only_who_may_change_the_agent_may_ask
do $$
begin
  insert into public.agent_users (agent_id, user_id, role) values
    (pg_temp.id('host'), pg_temp.make_person('sven'), 'viewer');
  perform pg_temp.must_match('a user', pg_temp.request('uma'), '^42501 asking an agent for another key');
  perform pg_temp.must_match('shared to look at', pg_temp.request('sven'), '^42501 asking an agent');
  perform pg_temp.must_match('another tenant', pg_temp.request('otto'), '^42501 asking an agent');
  perform pg_temp.must_match('an agent that is not', pg_temp.refusal('adam',
    'select public.request_key_rotation(gen_random_uuid())'), '^42501 asking an agent');
  perform pg_temp.must_match('no agent', pg_temp.refusal('adam',
    'select public.request_key_rotation(null)'), '^42501 asking an agent');
  perform pg_temp.must_match('nobody', pg_temp.request('anon'), '^42501');
  perform pg_temp.must_match('the service key', pg_temp.request('service'), '^42501');
  perform pg_temp.must_equal('by writing the row', pg_temp.attempt('adam',
    'update public.agent_keys set retired_key = public_key, rotation_requested_at = now()'), '42501');
  perform pg_temp.must_equal('nothing is desired', pg_temp.retired(), null);
end
$$;

-- a_request_names_the_present_key_and_is_one_however_often_it_is_made
do $$
declare
  before bigint := pg_temp.generation('host');
  k public.agent_keys;
begin
  perform pg_temp.must_equal('ask', pg_temp.request('adam'), '');
  select * into k from public.agent_keys where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('the request', concat_ws(' ', k.retired_key, k.rotation_requested_by,
    k.rotation_requested_at = now(), k.rotated_at), concat_ws(' ', pg_temp.key('one'), pg_temp.id('adam'), 't'));
  perform pg_temp.must_equal('is desired', pg_temp.retired(), pg_temp.key('one'));
  perform pg_temp.must_equal('the generation', (pg_temp.generation('host') - before)::text, '1');
  perform pg_temp.must_equal('again, by another', pg_temp.request('owen'), '');
  perform pg_temp.must_equal('the generation stays', (pg_temp.generation('host') - before)::text, '1');
  perform pg_temp.must_be_true('and so does who asked', (
    select rotation_requested_by = pg_temp.id('adam') from public.agent_keys
    where agent_id = pg_temp.id('host')));
  perform pg_temp.must_equal('no other agent', (
    select count(*) from public.desired_generations g
    where g.agent_id <> pg_temp.id('host') and g.changed_at = now() and g.generation > 1)::text, '0');
end
$$;

-- it_is_read_back_how_far_it_is_and_why_not
do $$
declare
  present bigint := pg_temp.generation('host');
begin
  perform pg_temp.must_equal('told', pg_temp.told(), 'f Sent the agent is being told');
  perform pg_temp.report('KeyRotated', 'false', 'NotRotated', present - 1);
  perform pg_temp.must_match('of an earlier request', pg_temp.told(), '^f Sent');
  perform pg_temp.report('KeyRotated', 'false', 'NotRotated', present);
  perform pg_temp.must_equal('failed', pg_temp.told(), 'f NotRotated why NotRotated');
  perform pg_temp.report('KeyRotated', 'true', 'Rotated', present);
  perform pg_temp.must_match('a host that claims more than the database knows', pg_temp.told(), '^f Sent');
  perform pg_temp.report('Held', 'true', 'ReadOnly', present);
  perform pg_temp.must_equal('held', pg_temp.told(), 'f ReadOnly why ReadOnly');
  perform pg_temp.report('Held', 'false', 'NothingHeld', present);
  update public.desired_generations set hold = 'BlastRadius' where agent_id = pg_temp.id('host');
  perform pg_temp.must_match('held by the database', pg_temp.told(), '^f BlastRadius the change reached');
  update public.desired_generations set hold = null where agent_id = pg_temp.id('host');
  update public.agents set last_seen = now() - interval '2 minutes' where id = pg_temp.id('host');
  perform pg_temp.must_match('away', pg_temp.told(), '^f Offline the agent is not connected');
  update public.agents set last_seen = now() where id = pg_temp.id('host');
  perform pg_temp.connect(false);
  perform pg_temp.must_match('an older program again', pg_temp.told(), '^f NotSupported .*rotate-key');
  perform pg_temp.connect(true);
  update public.agent_keys set status = 'revoked' where agent_id = pg_temp.id('host');
  perform pg_temp.must_match('revoked', pg_temp.told(), '^f NotAdmitted');
  update public.agent_keys set status = 'admitted' where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('another tenant', pg_temp.told('otto'), null);
end
$$;

-- a_program_that_does_not_know_of_it_is_not_told_and_one_that_does_is
do $$
declare
  before bigint;
begin
  perform pg_temp.must_equal('desired', pg_temp.retired(), pg_temp.key('one'));
  insert into public.agent_conditions (agent_id, type, status, reason, message, observed_generation)
  values (pg_temp.id('host'), 'FirewallSynced', 'true', 'Enabled', '', pg_temp.generation('host'));
  update public.organizations set settings = settings || '{"hold_blast_min_agents": 1, "hold_blast_percent": 1}'
  where id = (select org_id from public.agents where id = pg_temp.id('host'));
  before := pg_temp.generation('host');
  perform pg_temp.connect(false);
  perform pg_temp.must_equal('another document', (pg_temp.generation('host') - before)::text, '1');
  perform pg_temp.must_equal('without it', pg_temp.retired(), null);
  perform pg_temp.must_equal('which nobody has to release', (
    select hold from public.desired_generations where agent_id = pg_temp.id('host')), null);
  perform pg_temp.must_match('told', pg_temp.told(), '^f NotSupported');
  perform pg_temp.connect(false);
  perform pg_temp.connect(null);
  perform pg_temp.must_equal('once', (pg_temp.generation('host') - before)::text, '1');
  perform pg_temp.connect(true);
  perform pg_temp.must_equal('with it', pg_temp.retired(), pg_temp.key('one'));
  perform pg_temp.must_equal('another document', (pg_temp.generation('host') - before)::text, '2');
  delete from public.agent_conditions where agent_id = pg_temp.id('host') and type = 'FirewallSynced';
  update public.organizations set settings = settings - 'hold_blast_min_agents' - 'hold_blast_percent'
  where id = (select org_id from public.agents where id = pg_temp.id('host'));
end
$$;

-- a_request_is_taken_back_by_who_may_make_it_while_it_is_not_fulfilled
do $$
declare
  before bigint := pg_temp.generation('host');
begin
  perform pg_temp.must_match('a user', pg_temp.withdraw('uma'), '^42501 taking back a request');
  perform pg_temp.must_match('shared to look at', pg_temp.withdraw('sven'), '^42501 taking back');
  perform pg_temp.must_match('another tenant', pg_temp.withdraw('otto'), '^42501 taking back');
  perform pg_temp.must_match('nobody', pg_temp.withdraw('anon'), '^42501');
  perform pg_temp.must_equal('still desired', pg_temp.retired(), pg_temp.key('one'));
  perform pg_temp.must_equal('an owner', pg_temp.withdraw('owen'), 'true');
  perform pg_temp.must_equal('nothing is desired', pg_temp.retired(), null);
  perform pg_temp.must_equal('nor told', pg_temp.told(), null);
  perform pg_temp.must_equal('the generation', (pg_temp.generation('host') - before)::text, '1');
  perform pg_temp.must_equal('again', pg_temp.withdraw('owen'), 'false');
  perform pg_temp.must_equal('the generation stays', (pg_temp.generation('host') - before)::text, '1');
  perform pg_temp.must_equal('ask anew', pg_temp.request('adam'), '');
  perform pg_temp.must_equal('desired', pg_temp.retired(), pg_temp.key('one'));
end
$$;

-- another_key_ends_the_request_without_another_generation
do $$
declare
  before bigint := pg_temp.generation('host');
begin
  perform pg_temp.must_equal('rotate', pg_temp.replace('one', 'two'), '');
  perform pg_temp.must_equal('told', pg_temp.told(), 't Rotated the key was replaced');
  perform pg_temp.must_be_true('when', (
    select rotated_at = now() from public.key_rotations where agent_id = pg_temp.id('host')));
  perform pg_temp.must_equal('still desired', pg_temp.retired(), pg_temp.key('one'));
  perform pg_temp.must_equal('the generation', pg_temp.generation('host')::text, before::text);
  perform pg_temp.must_equal('it cannot be taken back', pg_temp.withdraw('adam'), 'false');
  perform pg_temp.must_match('and stays readable', pg_temp.told(), '^t Rotated');
  perform pg_temp.connect(false);
  perform pg_temp.must_equal('an older program is not told', pg_temp.retired(), null);
  perform pg_temp.must_match('and it stays readable', pg_temp.told(), '^t Rotated');
  perform pg_temp.connect(true);
  perform pg_temp.must_equal('another rotation is none of it', pg_temp.replace('two', 'three'), '');
  perform pg_temp.must_equal('still desired', pg_temp.retired(), pg_temp.key('one'));
end
$$;

-- a_later_request_names_the_key_of_then_and_an_approval_ends_it_too
do $$
declare
  before bigint := pg_temp.generation('host');
begin
  perform pg_temp.must_equal('ask', pg_temp.request('adam'), '');
  perform pg_temp.must_equal('desired', pg_temp.retired(), pg_temp.key('three'));
  perform pg_temp.must_equal('the generation', (pg_temp.generation('host') - before)::text, '1');
  perform pg_temp.must_match('told', pg_temp.told(), '^f Sent');
  perform pg_temp.must_be_true('the end of the former one is not this one''s', (
    select rotated_at is null from public.key_rotations where agent_id = pg_temp.id('host')));
  update public.agent_keys set waiting_key = pg_temp.key('four'), waiting_since = now()
  where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('an admin admits another', pg_temp.attempt('adam',
    'update public.agent_keys set status = ''admitted'''), '1');
  perform pg_temp.must_match('told', pg_temp.told(), '^t Rotated');
  before := pg_temp.generation('host');
  delete from public.agent_keys where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('a row that goes', (pg_temp.generation('host') - before)::text, '1');
end
$$;

-- who_has_had_all_its_keys_is_refused_to_whoever_asks
do $$
begin
  insert into public.agent_keys (agent_id, public_key, status)
  values (pg_temp.id('host'), pg_temp.key('five'), 'admitted');
  insert into private.revoked_keys (agent_id, public_key, revoked_at)
  select pg_temp.id('host'), 'former ' || n, now() - interval '1 day' from generate_series(1, 1000) n;
  perform pg_temp.must_match('asked', pg_temp.request('adam'), '^54000 this agent has had 1,000 keys');
  perform pg_temp.must_equal('nothing is desired', pg_temp.retired(), null);
  delete from private.revoked_keys where agent_id = pg_temp.id('host');
  delete from public.agent_keys where agent_id = pg_temp.id('host');
end
$$;

-- a_script_that_asks_without_end_is_stopped
do $$
begin
  insert into public.agent_keys (agent_id, public_key, status)
  values (pg_temp.id('host'), pg_temp.key('five'), 'admitted');
  insert into private.attempts (person, kind, n_attempts) values (pg_temp.id('owen'), 'rotation', 999)
  on conflict (person, kind) do update set n_attempts = 999;
  perform pg_temp.must_equal('the thousandth', pg_temp.request('owen'), '');
  perform pg_temp.must_match('one more', pg_temp.request('owen'), '^54000 you asked agents');
  perform pg_temp.must_equal('somebody else', pg_temp.request('adam'), '');
end
$$;

rollback;
