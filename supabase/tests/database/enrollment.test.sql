-- How a key becomes an agent's: by token, by first use, by approval; and every way it does not.

begin;
\ir ../support.sql

-- A public key that is named by a word.
create function pg_temp.key(word text) returns text language sql as $$
  select encode(sha256(convert_to(word, 'UTF8')), 'base64')
$$;

-- The status, or "SQLSTATE message".
create function pg_temp.enroll(word text, token text default null, agent text default 'host')
returns text language plpgsql as $$
declare
  statement text := format('select public.enroll_agent(%L, %L, %L, %L, ''linux'', ''x86_64'', ''1'')',
    pg_temp.id(agent), token, pg_temp.key(word), word || '.example');
begin
  return coalesce(nullif(pg_temp.refusal('service', statement), ''), pg_temp.enrolled(agent, word));
end
$$;

-- What the table says of a key, so that the answer of the function is not simply believed.
create function pg_temp.enrolled(agent text, word text) returns text language sql as $$
  select case when k.public_key = pg_temp.key(word) then k.status
    when k.waiting_key = pg_temp.key(word) then 'waiting' end
  from public.agent_keys k where k.agent_id = pg_temp.id(agent)
$$;

create function pg_temp.make_token(who text, org text, more text default '') returns text
language sql as $$
  select pg_temp.ask(who, format('select public.create_agent_token(%L, ''test'' %s)', pg_temp.id(org), more))
$$;

-- Nothing, or why the holder of the one key cannot put the other in its place.
create function pg_temp.rotate(present text, successor text) returns text language sql as $$
  select pg_temp.refusal('service', format('select public.rotate_agent_key(%L, %L, %L)',
    pg_temp.id('host'), pg_temp.key(present), pg_temp.key(successor)))
$$;

-- How many uses of the token are left, or "SQLSTATE message".
create function pg_temp.use_over_http(token text, agent uuid default pg_temp.id('host')) returns text
language plpgsql as $$
declare
  statement text := format('select public.use_agent_token(%L, %L)', agent, token);
  refusal text := pg_temp.refusal('service', statement);
begin
  if refusal <> '' then
    return refusal;
  end if;
  return (select k.max_uses - k.uses from public.agent_tokens k where k.prefix = split_part(token, '_', 2));
end
$$;

-- Makes the agent old enough that nobody is trusted on first use.
create function pg_temp.age(agent text default 'host') returns void language sql as $$
  update public.agents set created_at = now() - interval '16 minutes' where id = pg_temp.id(agent);
  delete from public.agent_keys where agent_id = pg_temp.id(agent);
$$;

-- Whose keys the daemon was told of since the last look: names, "all", or nothing.
create function pg_temp.key_hints() returns text language sql as $$
  with gone as (
    delete from realtime.messages where topic = 'hidps:feed' and event = 'keys' returning payload
  )
  select coalesce(string_agg(distinct coalesce(w.name, 'all'), ' '), '')
  from gone
  left join lateral jsonb_array_elements_text(gone.payload -> 'agents') a (id) on true
  left join pg_temp.world w on w.id = a.id::uuid
$$;

-- First use -----------------------------------------------------------------------------------

-- a_fresh_agent_trusts_its_first_key_and_keeps_it
do $$
declare
  a public.agents;
begin
  perform pg_temp.must_equal('first key', pg_temp.enroll('one'), 'admitted');
  perform pg_temp.must_equal('the same key again', pg_temp.enroll('one'), 'admitted');
  select * into a from public.agents where id = pg_temp.id('host');
  perform pg_temp.must_equal('facts', concat_ws(' ', a.hostname, a.os, a.arch, a.agent_version),
    'one.example linux x86_64 1');
  perform pg_temp.must_equal('credentials', pg_temp.ask('service', format(
    'select concat_ws('' '', status, public_key, org_id) from public.agent_credentials(array[%L::uuid])',
    pg_temp.id('host'))),
    concat_ws(' ', 'admitted', pg_temp.key('one'), a.org_id));
end
$$;

-- another_key_waits_and_the_present_one_goes_on_working
do $$
begin
  perform pg_temp.must_equal('second key', pg_temp.enroll('two'), 'waiting');
  perform pg_temp.must_equal('answer', pg_temp.ask('service', format(
    'select public.enroll_agent(%L, null, %L, ''h'', ''o'', ''a'', ''1'')', pg_temp.id('host'),
    pg_temp.key('two'))), 'pending');
  perform pg_temp.must_equal('first key', pg_temp.enrolled('host', 'one'), 'admitted');
  perform pg_temp.must_match('third key', pg_temp.enroll('three'), '^28000 another key is already waiting');
  perform pg_temp.must_equal('second key still waits', pg_temp.enrolled('host', 'two'), 'waiting');
  perform pg_temp.must_equal('facts of a key that waits are not taken', (
    select hostname from public.agents where id = pg_temp.id('host')
  ), 'one.example');
end
$$;

-- an_admin_admits_the_key_that_waits
do $$
declare
  k public.agent_keys;
begin
  perform pg_temp.must_equal('a read-only person', pg_temp.rehearse('uma',
    'update public.agent_keys set status = ''admitted'''), '42501');
  perform pg_temp.must_equal('admin, another key', pg_temp.attempt('adam', format(
    'update public.agent_keys set status = ''admitted'' where waiting_key = %L', pg_temp.key('three'))), '0');
  perform pg_temp.must_equal('admin', pg_temp.attempt('adam', format(
    'update public.agent_keys set status = ''admitted'' where waiting_key = %L', pg_temp.key('two'))), '1');
  select * into k from public.agent_keys where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('key', concat_ws(' ', k.public_key, k.hostname, k.status, k.waiting_key),
    pg_temp.key('two') || ' two.example admitted');
  perform pg_temp.must_equal('by', k.admitted_by::text, pg_temp.id('adam')::text);
  perform pg_temp.must_be_true('at', k.admitted_at = now());
end
$$;

-- an_admin_refuses_the_key_that_waits
do $$
begin
  perform pg_temp.must_equal('queue', pg_temp.enroll('three'), 'waiting');
  perform pg_temp.must_equal('planting a key', pg_temp.rehearse('adam', format(
    'update public.agent_keys set waiting_key = %L', pg_temp.key('planted'))), '42501');
  perform pg_temp.must_equal('refuse', pg_temp.attempt('adam',
    'update public.agent_keys set waiting_key = null'), '1');
  perform pg_temp.must_equal('three', pg_temp.enrolled('host', 'three'), null);
  perform pg_temp.must_equal('two', pg_temp.enrolled('host', 'two'), 'admitted');
end
$$;

-- a_revoked_key_stays_out_until_an_admin_lets_it_in
do $$
begin
  perform pg_temp.must_equal('revoke', pg_temp.attempt('adam',
    'update public.agent_keys set status = ''revoked'''), '1');
  perform pg_temp.must_match('enroll', pg_temp.enroll('two'), '^28000 this key was revoked');
  perform pg_temp.must_equal('credentials', pg_temp.ask('service', format(
    'select status from public.agent_credentials(array[%L::uuid])', pg_temp.id('host'))), 'revoked');
  perform pg_temp.must_equal('back to pending', pg_temp.rehearse('adam',
    'update public.agent_keys set status = ''pending'''), '42501');
  perform pg_temp.must_equal('admit', pg_temp.attempt('adam',
    'update public.agent_keys set status = ''admitted'''), '1');
  perform pg_temp.must_equal('enroll', pg_temp.enroll('two'), 'admitted');
end
$$;

-- a_revoked_key_is_refused_even_with_a_valid_token_and_a_new_key_is_not
do $$
declare
  token text := pg_temp.make_token('adam', 'org');
begin
  perform pg_temp.attempt('adam', 'update public.agent_keys set status = ''revoked''');
  perform pg_temp.must_match('the revoked key', pg_temp.enroll('two', token), '^28000 this key was revoked');
  perform pg_temp.must_equal('still revoked', pg_temp.enrolled('host', 'two'), 'revoked');
  perform pg_temp.must_equal('the token is not used', (
    select uses::text from public.agent_tokens where prefix = split_part(token, '_', 2)
  ), '0');
  perform pg_temp.must_equal('a new key', pg_temp.enroll('after', token), 'admitted');
end
$$;

-- a_revoked_key_stays_revoked_after_another_took_its_place
do $$
begin
  perform pg_temp.must_match('with a token', pg_temp.enroll('two', pg_temp.make_token('adam', 'org')),
    '^28000 this key was revoked');
  perform pg_temp.must_match('without one', pg_temp.enroll('two'), '^28000 this key was revoked');
  perform pg_temp.must_equal('the present key', pg_temp.enrolled('host', 'after'), 'admitted');
  perform pg_temp.must_equal('nothing waits', pg_temp.enrolled('host', 'two'), null);
end
$$;

-- a_revocation_counts_whoever_wrote_it_and_whatever_waits
do $$
begin
  perform pg_temp.must_equal('another waits', pg_temp.enroll('queued'), 'waiting');
  update public.agent_keys set status = 'revoked' where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('an admin admits the one that waits', pg_temp.attempt('adam',
    'update public.agent_keys set status = ''admitted'''), '1');
  perform pg_temp.must_equal('it is in', pg_temp.enrolled('host', 'queued'), 'admitted');
  perform pg_temp.must_match('the revoked one', pg_temp.enroll('after',
    pg_temp.make_token('adam', 'org')), '^28000 this key was revoked');
end
$$;

-- the_daemon_is_told_at_once_of_a_key_that_stopped_being_good_and_of_no_other
do $$
declare
  token text := pg_temp.make_token('adam', 'org');
begin
  update public.agent_keys set status = 'revoked' where agent_id = pg_temp.id('host');
  perform pg_temp.key_hints();
  perform pg_temp.must_equal('a key that begins to be good', pg_temp.attempt('adam',
    'update public.agent_keys set status = ''admitted'''), '1');
  perform pg_temp.must_equal('ends nothing', pg_temp.key_hints(), '');
  perform pg_temp.enroll('waits');
  perform pg_temp.must_equal('a key that waits', pg_temp.key_hints(), '');
  perform pg_temp.enroll('instead', token);
  perform pg_temp.must_equal('another key', pg_temp.key_hints(), 'host');
  perform pg_temp.attempt('adam', 'update public.agent_keys set status = ''revoked''');
  perform pg_temp.must_equal('a revocation', pg_temp.key_hints(), 'host');
  perform pg_temp.attempt('adam', 'update public.agent_keys set status = ''revoked''');
  perform pg_temp.must_equal('said twice', pg_temp.key_hints(), '');
  update public.agent_keys set status = 'admitted';
  delete from public.agent_keys where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('a row that is gone', pg_temp.key_hints(), 'host');
  perform private.hint_keys(array(select gen_random_uuid() from generate_series(1, 101)));
  perform pg_temp.must_equal('many', pg_temp.key_hints(), 'all');
end
$$;

-- a_key_gives_way_to_another_for_its_holder_alone_and_never_comes_back
do $$
declare
  token text := pg_temp.make_token('adam', 'org', ', max_uses => 9');
begin
  perform pg_temp.enroll('present', token);
  perform pg_temp.must_match('by another key', pg_temp.rotate('stolen', 'mine'), '^28000 this key is not');
  perform pg_temp.must_match('to itself', pg_temp.rotate('present', 'present'), '^22023 the new key is');
  perform pg_temp.must_match('to no key', pg_temp.refusal('service', format(
    'select public.rotate_agent_key(%L, %L, ''x'')', pg_temp.id('host'), pg_temp.key('present'))),
    '^22023 public_key must be');
  perform pg_temp.must_equal('untouched', pg_temp.enrolled('host', 'present'), 'admitted');
  perform pg_temp.enroll('queued up');
  perform pg_temp.must_equal('rotate', pg_temp.rotate('present', 'successor'), '');
  perform pg_temp.must_equal('the new key', pg_temp.enrolled('host', 'successor'), 'admitted');
  perform pg_temp.must_equal('who waited', pg_temp.enrolled('host', 'queued up'), 'waiting');
  perform pg_temp.must_match('again', pg_temp.rotate('present', 'third'), '^28000 this key is not');
  perform pg_temp.must_match('the old key with a token', pg_temp.enroll('present', token),
    '^28000 this key was revoked');
  perform pg_temp.must_match('back to it', pg_temp.rotate('successor', 'present'),
    '^22023 the new key was in use before');
  perform pg_temp.attempt('adam', 'update public.agent_keys set waiting_key = null');
  perform pg_temp.attempt('adam', 'update public.agent_keys set status = ''revoked''');
  perform pg_temp.must_match('once revoked', pg_temp.rotate('successor', 'fourth'),
    '^28000 this key is not');
end
$$;

-- an_agent_replaces_ten_keys_an_hour_and_a_thousand_ever
do $$
declare
  present integer;
begin
  perform pg_temp.enroll('key 0', pg_temp.make_token('adam', 'org'));
  delete from private.revoked_keys where agent_id = pg_temp.id('host');
  for present in 0..9 loop
    perform pg_temp.must_equal('one of ten', pg_temp.rotate('key ' || present, 'key ' || present + 1), '');
  end loop;
  perform pg_temp.must_match('one more', pg_temp.rotate('key 10', 'key 11'), '^54000 .* within the hour');
  perform pg_temp.must_equal('untouched', pg_temp.enrolled('host', 'key 10'), 'admitted');
  update private.revoked_keys set revoked_at = now() - interval '61 minutes';
  perform pg_temp.must_equal('an hour later', pg_temp.rotate('key 10', 'key 11'), '');
  insert into private.revoked_keys (agent_id, public_key, revoked_at)
  select pg_temp.id('host'), 'former ' || n, now() - interval '1 year' from generate_series(12, 1000) n;
  perform pg_temp.must_match('a thousand', pg_temp.rotate('key 11', 'key 12'), '^54000 .* 1,000 keys');
end
$$;

-- a_stale_agent_lets_its_first_key_wait_for_an_admin
do $$
begin
  perform pg_temp.age();
  perform pg_temp.must_equal('enroll', pg_temp.enroll('late'), 'pending');
  perform pg_temp.must_equal('again', pg_temp.enroll('late'), 'pending');
  perform pg_temp.must_match('another', pg_temp.enroll('later'), '^28000 another key is already waiting');
  perform pg_temp.attempt('adam', 'update public.agent_keys set status = ''admitted''');
  perform pg_temp.must_equal('after approval', pg_temp.enroll('late'), 'admitted');
end
$$;

-- the_organization_decides_how_long_an_agent_is_fresh
do $$
begin
  perform pg_temp.age();
  perform pg_temp.must_equal('longer', pg_temp.attempt('adam',
    'update public.organizations set settings = ''{"first_use_minutes": 20}'' where id = pg_temp.id(''org'')'), '1');
  perform pg_temp.must_equal('enroll', pg_temp.enroll('fresh'), 'admitted');
  update public.agents set created_at = now() where id = pg_temp.id('host');
  delete from public.agent_keys;
  update public.organizations set settings = '{"first_use_minutes": 0}' where id = pg_temp.id('org');
  perform pg_temp.must_equal('never', pg_temp.enroll('fresh'), 'pending');
  perform pg_temp.must_equal('nonsense', pg_temp.rehearse('adam',
    'update public.organizations set settings = ''{"first_use_minutes": "long"}'' where id = pg_temp.id(''org'')'),
    '23514');
  update public.organizations set settings = '{}' where id = pg_temp.id('org');
end
$$;

-- Tokens --------------------------------------------------------------------------------------

-- a_token_admits_at_once_and_is_used_up
do $$
declare
  token text := pg_temp.make_token('adam', 'org');
begin
  perform pg_temp.age();
  perform pg_temp.must_match('shape', token, '^hidps_[0-9a-f]{12}_[0-9a-f]{64}$');
  perform pg_temp.must_equal('enroll', pg_temp.enroll('tok', token), 'admitted');
  perform pg_temp.must_equal('the same key with the used token', pg_temp.enroll('tok', token), 'admitted');
  perform pg_temp.must_equal('uses', (
    select concat_ws(' ', uses, last_used_at = now()) from public.agent_tokens
    where prefix = split_part(token, '_', 2)
  ), '1 t');
  perform pg_temp.must_match('another key', pg_temp.enroll('tok2', token), '^28000 .*is used up; create a new one');
  perform pg_temp.must_equal('the first key', pg_temp.enrolled('host', 'tok'), 'admitted');
end
$$;

-- a_valid_token_replaces_a_key_whatever_waits
do $$
begin
  perform pg_temp.enroll('waits');
  perform pg_temp.must_equal('enroll', pg_temp.enroll('new', pg_temp.make_token('adam', 'org')), 'admitted');
  perform pg_temp.must_equal('old', pg_temp.enrolled('host', 'tok'), null);
  perform pg_temp.must_equal('waiting', pg_temp.enrolled('host', 'waits'), null);
end
$$;

-- a_token_of_many_uses_admits_that_many
do $$
declare
  token text := pg_temp.make_token('adam', 'org', ', max_uses => 2');
begin
  perform pg_temp.must_equal('first', pg_temp.enroll('m1', token), 'admitted');
  perform pg_temp.must_equal('second', pg_temp.enroll('m2', token), 'admitted');
  perform pg_temp.must_match('third', pg_temp.enroll('m3', token), '^28000 .*used up');
end
$$;

-- every_bad_token_is_refused_and_a_wrong_secret_learns_nothing
do $$
declare
  good text := pg_temp.make_token('adam', 'org');
  expired text := pg_temp.make_token('adam', 'org');
  revoked text := pg_temp.make_token('adam', 'org');
  foreign_token text := pg_temp.make_token('otto', 'other org');
  bound text := pg_temp.make_token('adam', 'org', format(', agent => %L', pg_temp.ask('adam',
    'select public.create_agent(''elsewhere'')')));
  nothing constant text := '^28000 the enrollment token is not valid for this agent; create a new one';
  wrong text;
begin
  perform pg_temp.age();
  update public.agent_tokens set expires_at = now() where prefix = split_part(expired, '_', 2);
  perform pg_temp.must_equal('revoke', pg_temp.attempt('adam', format(
    'update public.agent_tokens set revoked_at = ''2999-01-01'' where prefix = %L',
    split_part(revoked, '_', 2))), '1');
  perform pg_temp.must_match('expired', pg_temp.enroll('x', expired), '^28000 .*has expired; create');
  perform pg_temp.must_match('revoked', pg_temp.enroll('x', revoked), '^28000 .*was revoked; create');
  perform pg_temp.must_match('of another organization', pg_temp.enroll('x', foreign_token), nothing);
  perform pg_temp.must_match('bound to another agent', pg_temp.enroll('x', bound), nothing);
  foreach wrong in array array[
    left(good, -1) || case right(good, 1) when '0' then '1' else '0' end,
    'hidps_000000000000_' || split_part(good, '_', 3),
    left(expired, -4) || 'beef',
    split_part(good, '_', 3), 'hidps__', '', ' ', good || ' ', upper(good), repeat('x', 100000)
  ] loop
    perform pg_temp.must_match('wrong ' || left(wrong, 30), pg_temp.enroll('x', wrong), nothing);
  end loop;
  perform pg_temp.must_equal('no key came of it', pg_temp.enrolled('host', 'x'), null);
  perform pg_temp.must_equal('the good one is unused and works', pg_temp.enroll('x', good), 'admitted');
end
$$;

-- a_token_bound_to_an_agent_admits_that_agent
select pg_temp.must_equal('enroll', pg_temp.enroll('bound', pg_temp.make_token('adam', 'org',
  format(', agent => %L', pg_temp.id('host')))), 'admitted');

-- a_revoked_token_cannot_be_revived
select pg_temp.must_match('revive', pg_temp.refusal('adam',
  'update public.agent_tokens set revoked_at = null where revoked_at is not null'),
  '^42501 a revoked token stays revoked');

-- the_raw_token_is_nowhere
do $$
declare
  secret text := split_part(pg_temp.make_token('adam', 'org'), '_', 3);
begin
  perform pg_temp.must_be_true('not in the table', not exists (
    select from public.agent_tokens t where t::text like '%' || secret || '%'
  ));
  perform pg_temp.must_equal('its hash is', (
    select count(*)::text from private.agent_token_secrets
    where secret_sha256 = encode(sha256(convert_to(secret, 'UTF8')), 'hex')
  ), '1');
end
$$;

-- only_admins_make_tokens_and_only_for_their_own_agents
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('uma', '', '^42501 .*owner or admin'),
      ('otto', '', '^42501 .*owner or admin'),
      ('anon', '', '^42501'),
      ('service', '', '^42501'),
      ('adam', ', agent => pg_temp.id(''other host'')', '^22023 there is no agent'),
      ('adam', ', expires_in => ''0 seconds''', '^22023 expires_in'),
      ('adam', ', expires_in => ''-1 hour''', '^22023 expires_in'),
      ('adam', ', expires_in => ''10 years''', '^22023 expires_in'),
      ('adam', ', expires_in => null', '^22023 expires_in'),
      ('adam', ', max_uses => 0', '^23514 .*max_uses_is_1_to_100000')
    ) v (who, more, reason)
  loop
    perform pg_temp.must_match(c.who || c.more, pg_temp.refusal(c.who, format(
      'select public.create_agent_token(pg_temp.id(''org''), ''t'' %s)', c.more)), c.reason);
  end loop;
end
$$;

-- Bad input -----------------------------------------------------------------------------------

-- an_unknown_agent_is_said_to_be_unknown
select pg_temp.must_match('refusal', pg_temp.refusal('service', format(
  'select public.enroll_agent(%L, null, %L, '''', '''', '''', '''')', gen_random_uuid(), pg_temp.key('x'))),
  '^P0002 there is no agent .*; check the id');

-- a_refusal_carries_the_http_status_for_postgrest
do $$
declare
  status text;
begin
  perform public.enroll_agent(gen_random_uuid(), null, pg_temp.key('x'), '', '', '', '');
  raise exception 'FAILED: enrolled an agent that does not exist';
exception when sqlstate 'PGRST' then
  get stacked diagnostics status = pg_exception_detail;
  perform pg_temp.must_equal('detail', status::jsonb::text, '{"status": 404, "headers": {}}');
end
$$;

-- a_malformed_key_is_refused
do $$
declare
  key text;
begin
  foreach key in array array[
    '', 'AAAA', 'not base64!', encode(sha256('x'), 'hex'), left(pg_temp.key('x'), -1),
    pg_temp.key('x') || 'AAAA', repeat('A', 100000)
  ] loop
    perform pg_temp.must_match('key ' || left(key, 30), pg_temp.refusal('service', format(
      'select public.enroll_agent(%L, null, %L, '''', '''', '''', '''')', pg_temp.id('host'), key)),
      '^22023 public_key must be an Ed25519 public key');
  end loop;
  perform pg_temp.must_match('null', pg_temp.refusal('service', format(
    'select public.enroll_agent(%L, null, null, '''', '''', '''', '''')', pg_temp.id('host'))), '^22023');
end
$$;

-- an_agent_over_http_uses_a_token_of_its_own_up_and_no_other
do $$
declare
  own text := format(', agent => %L', pg_temp.id('host'));
  token text := pg_temp.make_token('adam', 'org', own || ', max_uses => 2');
  foreign_token text := pg_temp.make_token('otto', 'other org');
  revoked text := pg_temp.make_token('adam', 'org', own);
  fleet text := pg_temp.make_token('adam', 'org', ', max_uses => 2');
begin
  perform pg_temp.must_equal('first', pg_temp.use_over_http(token), '1');
  perform pg_temp.must_equal('last', pg_temp.use_over_http(token), '0');
  perform pg_temp.must_match('one more', pg_temp.use_over_http(token), '^28000 .*is used up');
  perform pg_temp.must_match('wrong secret', pg_temp.use_over_http(
    left(token, -1) || case right(token, 1) when '0' then '1' else '0' end),
    '^28000 .*is not valid for this agent');
  perform pg_temp.must_match('of others', pg_temp.use_over_http(foreign_token),
    '^28000 .*is not valid for this agent');
  perform pg_temp.must_match('of the fleet', pg_temp.use_over_http(fleet), '^28000 .*for no one agent');
  perform pg_temp.must_equal('uses of the fleet''s', (
    select k.uses::text from public.agent_tokens k where k.prefix = split_part(fleet, '_', 2)
  ), '0');
  update public.agent_tokens set revoked_at = now() where prefix = split_part(revoked, '_', 2);
  perform pg_temp.must_match('revoked', pg_temp.use_over_http(revoked), '^28000 .*was revoked');
  perform pg_temp.must_match('nobody', pg_temp.use_over_http(token, gen_random_uuid()), '^P0002');
  perform pg_temp.must_match('nothing', pg_temp.use_over_http(null), '^22023');
  perform pg_temp.must_match('nonsense', pg_temp.use_over_http(token || ' '), '^22023');
end
$$;

-- long_claims_are_cut
do $$
begin
  perform pg_temp.ask('service', format(
    'select public.enroll_agent(%L, %L, %L, %4$L, %4$L, %4$L, %4$L)', pg_temp.id('host'),
    pg_temp.make_token('adam', 'org'), pg_temp.key('long'), repeat('x', 10000)));
  perform pg_temp.must_equal('lengths', (
    select concat_ws(' ', length(hostname), length(os), length(arch), length(agent_version))
    from public.agents where id = pg_temp.id('host')
  ), '255 100 100 100');
end
$$;

-- an_organization_has_no_more_than_1000_tokens_in_force
do $$
declare
  statement text := format('select public.create_agent_token(%L, ''x'')', pg_temp.id('org'));
begin
  insert into public.agent_tokens (org_id, name, prefix, expires_at)
  select pg_temp.id('org'), 'many', 'many ' || n, now() + interval '1 hour' from generate_series(1, 1000) n;
  perform pg_temp.must_match('one more', pg_temp.refusal('adam', statement), '^22023 .* 1000 tokens');
  update public.agent_tokens set revoked_at = now() where prefix like 'many 1%';
  perform pg_temp.must_equal('after some were revoked', pg_temp.refusal('adam', statement), '');
end
$$;

rollback;
