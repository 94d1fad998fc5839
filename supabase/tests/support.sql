-- A small world for the SQL tests and the verbs to act in it. Included by every test inside its
-- transaction, so nothing of it stays.
-- It never asserts anything about HIDPS itself.

-- Names of the world's things, for people of every role to look up.
create temp table world (name text primary key, id uuid not null);
grant select on world to public;

create function pg_temp.id(thing text) returns uuid language plpgsql as $$
declare
  found_id uuid;
begin
  select w.id into found_id from pg_temp.world w where w.name = thing;
  if found_id is null then
    raise exception 'the test names something that is not in the world: %', thing;
  end if;
  return found_id;
end
$$;

create function pg_temp.remember(thing text, thing_id uuid) returns uuid language sql as $$
  insert into pg_temp.world (name, id) values (thing, thing_id) returning id
$$;

create function pg_temp.make_person(person text) returns uuid language plpgsql as $$
begin
  insert into auth.users (id, email, email_confirmed_at, created_at)
  values (pg_temp.remember(person, gen_random_uuid()), person || '@people.test', now(), now());
  return pg_temp.id(person);
end
$$;

-- Acts as a person by name, or as 'anon', 'service' or 'owner' (of the database), from here on.
create function pg_temp.become(who text) returns void language plpgsql as $$
declare
  api_role text := case who when 'anon' then 'anon' when 'service' then 'service_role'
    when 'owner' then 'none' else 'authenticated' end;
  claims jsonb := jsonb_build_object('role', api_role);
begin
  if api_role = 'authenticated' then
    claims := claims || jsonb_build_object(
      'sub', pg_temp.id(who), 'email', who || '@people.test'
    );
  end if;
  perform set_config('request.jwt.claims', case api_role when 'none' then '' else claims::text end, true);
  perform set_config('role', api_role, true);
end
$$;

-- Runs one statement as somebody: the number of rows it touched, or the SQLSTATE that refused it.
create function pg_temp.attempt(who text, statement text) returns text language plpgsql as $$
declare
  n_rows bigint;
begin
  perform pg_temp.become(who);
  execute statement;
  get diagnostics n_rows = row_count;
  perform pg_temp.become('owner');
  return n_rows::text;
exception when others then
  return sqlstate;
end
$$;

-- The same, and takes the effect back.
create function pg_temp.rehearse(who text, statement text) returns text language plpgsql as $$
declare
  verdict text;
begin
  verdict := pg_temp.attempt(who, statement);
  raise exception using errcode = 'TBACK';
exception when sqlstate 'TBACK' then
  return verdict;
end
$$;

-- Why somebody is refused: "SQLSTATE message", or "" if the statement goes through. The code inside
-- an answer that is meant for PostgREST is unwrapped.
create function pg_temp.refusal(who text, statement text) returns text language plpgsql as $$
begin
  perform pg_temp.become(who);
  execute statement;
  perform pg_temp.become('owner');
  return '';
exception
  when sqlstate 'PGRST' then
    return (sqlerrm::jsonb ->> 'code') || ' ' || (sqlerrm::jsonb ->> 'message');
  when others then
    return sqlstate || ' ' || sqlerrm;
end
$$;

-- The first column of the first row that a query gives somebody, as text.
create function pg_temp.ask(who text, query text) returns text language plpgsql as $$
declare
  answer text;
begin
  perform pg_temp.become(who);
  execute 'select (array_agg(q))[1]::text from (select (' || query || ')) as t (q)' into answer;
  perform pg_temp.become('owner');
  return answer;
end
$$;

create function pg_temp.must_equal(what text, actual text, expected text) returns void
language plpgsql as $$
begin
  if actual is distinct from expected then
    raise exception 'FAILED %: expected %, got %', what, quote_nullable(expected),
      quote_nullable(actual);
  end if;
end
$$;

create function pg_temp.must_match(what text, actual text, pattern text) returns void
language plpgsql as $$
begin
  if actual is null or actual !~ pattern then
    raise exception 'FAILED %: expected a match of %, got %', what, quote_literal(pattern),
      quote_nullable(actual);
  end if;
end
$$;

create function pg_temp.must_be_true(what text, actual boolean) returns void language plpgsql as $$
begin
  if actual is not true then
    raise exception 'FAILED %', what;
  end if;
end
$$;

create function pg_temp.generation(agent text) returns bigint language sql as $$
  select g.generation from public.desired_generations g where g.agent_id = pg_temp.id(agent)
$$;

-- One organization with an owner, an admin and a read-only user, one agent in it, and a stranger who
-- runs another.
do $$
begin
  perform pg_temp.make_person('owen'), pg_temp.make_person('adam'), pg_temp.make_person('uma'),
    pg_temp.make_person('otto');
  insert into public.organizations (id, name) values
    (pg_temp.remember('org', gen_random_uuid()), 'Test'),
    (pg_temp.remember('other org', gen_random_uuid()), 'Other');
  insert into public.organization_members (org_id, user_id, role) values
    (pg_temp.id('org'), pg_temp.id('owen'), 'owner'),
    (pg_temp.id('org'), pg_temp.id('adam'), 'admin'),
    (pg_temp.id('org'), pg_temp.id('uma'), 'user'),
    (pg_temp.id('other org'), pg_temp.id('otto'), 'owner');
  insert into public.agents (id, name, owner_id, org_id) values
    (pg_temp.remember('host', gen_random_uuid()), 'host', pg_temp.id('owen'), pg_temp.id('org')),
    (pg_temp.remember('other host', gen_random_uuid()), 'other host', pg_temp.id('otto'),
      pg_temp.id('other org'));
end
$$;
