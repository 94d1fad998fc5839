-- When somebody's sight ends: sessions and locked accounts are refused, and the daemon is told whom to ask
-- about again.

begin;
\ir ../support.sql

-- Acts as a person with a session, and says what the answer to a query is, or why there is none.
create function pg_temp.ask_in_session(who text, session text, query text) returns text
language plpgsql as $$
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
  return (sqlerrm::jsonb ->> 'code') || ' ' || (sqlerrm::jsonb ->> 'message');
end
$$;

-- Whom the hints since the last look are about: names, "everybody", or nothing.
create function pg_temp.hinted() returns text language plpgsql as $$
declare
  found_names text;
begin
  with gone as (
    delete from realtime.messages where topic = 'hidps:feed' and event = 'access' returning payload
  )
  select string_agg(distinct coalesce(w.name, 'everybody'), ' ' order by coalesce(w.name, 'everybody'))
  into found_names
  from gone
  left join lateral jsonb_array_elements_text(gone.payload -> 'persons') p (id) on true
  left join pg_temp.world w on w.id = p.id::uuid;
  return coalesce(found_names, '');
end
$$;

-- an_ended_session_is_refused_in_words_and_not_shown_an_empty_world
do $$
declare
  session uuid := gen_random_uuid();
  query text;
begin
  insert into auth.sessions (id, user_id) values (session, pg_temp.id('owen'));
  perform pg_temp.must_equal('while it lives', pg_temp.ask_in_session('owen', session::text,
    'select count(*) from public.agents'), '1');
  delete from auth.sessions where id = session;
  foreach query in array array[
    'select count(*) from public.agents', 'select count(*) from public.organizations',
    'select public.me()', 'select count(*) from public.agent_access(''{}'')',
    'select public.register_organization(''x'')'
  ] loop
    perform pg_temp.must_match(query, pg_temp.ask_in_session('owen', session::text, query),
      '^28000 this session was ended');
  end loop;
  perform pg_temp.must_match('a session that never was', pg_temp.ask_in_session('owen', 'x',
    'select count(*) from public.agents'), '^28000');
end
$$;

-- a_locked_account_is_refused_at_once
do $$
begin
  update auth.users set banned_until = now() + interval '1 day' where id = pg_temp.id('uma');
  perform pg_temp.must_match('locked', pg_temp.ask_in_session('uma', null,
    'select count(*) from public.agents'), '^28000 this account is locked');
  update auth.users set banned_until = now() - interval '1 day' where id = pg_temp.id('uma');
  perform pg_temp.must_equal('a lock that is over', pg_temp.ask_in_session('uma', null,
    'select count(*) from public.agents'), '1');
end
$$;

-- the_daemon_is_told_of_whom_to_ask_again
do $$
declare
  session uuid := gen_random_uuid();
begin
  perform pg_temp.hinted();
  update public.organization_members set role = 'admin' where user_id = pg_temp.id('uma');
  perform pg_temp.must_equal('a role', pg_temp.hinted(), 'uma');
  delete from public.organization_members where user_id = pg_temp.id('uma');
  perform pg_temp.must_equal('a removal', pg_temp.hinted(), 'uma');
  insert into public.organization_members values (pg_temp.id('org'), pg_temp.id('uma'), 'user');
  perform pg_temp.must_equal('a new member', pg_temp.hinted(), 'uma');
  insert into public.agent_users (agent_id, user_id) values (pg_temp.id('host'), pg_temp.id('otto'));
  perform pg_temp.must_equal('sharing', pg_temp.hinted(), 'otto');
  delete from public.agent_users;
  perform pg_temp.must_equal('its end', pg_temp.hinted(), 'otto');
  insert into private.platform_operators values (pg_temp.make_person('opal'), 'x');
  perform pg_temp.attempt('opal', format('select public.look_into_organization(%L, ''x'')', pg_temp.id('org')));
  perform pg_temp.must_equal('a look', pg_temp.hinted(), 'opal');
  perform pg_temp.attempt('service', format('select public.dismiss_operator(%L)', pg_temp.id('opal')));
  perform pg_temp.must_equal('its end', pg_temp.hinted(), 'opal');
  update public.agents set owner_id = pg_temp.id('adam') where id = pg_temp.id('host');
  perform pg_temp.must_equal('another owner', pg_temp.hinted(), 'everybody');
  update public.agents set last_seen = now();
  perform pg_temp.must_equal('a sign of life', pg_temp.hinted(), '');
  insert into auth.sessions (id, user_id) values (session, pg_temp.id('owen'));
  perform pg_temp.must_equal('a session that begins', pg_temp.hinted(), '');
  delete from auth.sessions where id = session;
  perform pg_temp.must_equal('a session that ends', pg_temp.hinted(), 'owen');
  update auth.users set banned_until = now() + interval '1 day' where id = pg_temp.id('otto');
  perform pg_temp.must_equal('an account that is locked', pg_temp.hinted(), 'otto');
  perform pg_temp.attempt('uma', 'delete from public.agents where false');
  perform pg_temp.must_equal('nothing deleted', pg_temp.hinted(), '');
  delete from public.agents where id = pg_temp.id('host');
  perform pg_temp.must_equal('an agent that is gone', pg_temp.hinted(), 'everybody');
end
$$;

rollback;
