-- What people call: who am I, which agents are mine, and the few changes that are more than one row.
-- Rows that a person may write directly have no function here.
--
-- What people can call runs as themselves. Where that is not enough, the call hands over to a function
-- of schema private, which runs as its owner, asks who calls, and cannot be reached from outside.

-- The agents among those asked for that the caller may read. Runs as the caller: the policies
-- answer, and the daemon keeps no access list of its own.
create function public.agent_access(agent_ids uuid[])
returns table (agent_id uuid, can_admin boolean)
language plpgsql stable security invoker set search_path = '' as $$
begin
  -- Also where no agent is asked for: the daemon learns so whether a token is still good.
  perform private.caller();
  return query
    select a.id, a.id in (select private.my_admin_agents())
    from public.agents a
    where a.id = any (agent_ids);
end
$$;

create function private.is_operator() returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (
    select from private.platform_operators o where o.user_id = (select private.caller())
  )
$$;

create function public.me() returns jsonb
language sql stable security invoker set search_path = '' as $$
  select jsonb_build_object(
    'id', private.caller(),
    'email', auth.jwt() ->> 'email',
    'is_operator', private.is_operator(),
    'organizations', coalesce(
      (
        select jsonb_agg(
          jsonb_build_object('id', o.id, 'name', o.name, 'role', m.role) order by o.name, o.id
        )
        from public.organization_members m
        join public.organizations o on o.id = m.org_id
        where m.user_id = (select private.caller())
      ),
      '[]'
    )
  )
$$;

create function private.require_person() returns uuid
language plpgsql stable set search_path = '' as $$
declare
  person uuid := private.caller();
begin
  if person is null then
    raise exception using errcode = '42501', message = 'sign in first: this is for people';
  end if;
  return person;
end
$$;

create function private.found_organization(name text) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  org uuid;
begin
  -- Nobody runs this many by hand; a script that loops is stopped.
  if (
    select count(*) from public.organization_members m
    where m.user_id = person and m.role = 'owner'
  ) >= 100 then
    raise exception using errcode = '22023', message = 'you already own 100 organizations';
  end if;
  insert into public.organizations (name) values (found_organization.name) returning id into org;
  insert into public.organization_members (org_id, user_id, role) values (org, person, 'owner');
  return org;
end
$$;

create function public.register_organization(name text) returns uuid
language sql volatile security invoker set search_path = '' as $$
  select private.found_organization(register_organization.name)
$$;

create function public.create_agent(name text, org uuid default null) returns uuid
language sql volatile security invoker set search_path = '' as $$
  insert into public.agents (name, owner_id, org_id)
  values (create_agent.name, auth.uid(), create_agent.org)
  returning id
$$;

create function private.issue_agent_token(
  org uuid, name text, agent uuid, expires_in interval, max_uses integer
) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  token_prefix text := left(private.random_hex(), 12);
  secret text := private.random_hex();
  token uuid;
begin
  if org is null or org not in (select private.my_admin_orgs()) then
    raise exception using errcode = '42501',
      message = 'creating an enrollment token takes the role owner or admin in the organization';
  end if;
  if agent is not null and not exists (
    select from public.agents a where a.id = agent and a.org_id = org
  ) then
    raise exception using errcode = '22023',
      message = format('there is no agent %s in this organization', agent);
  end if;
  if expires_in is null or expires_in <= interval '0' or expires_in > interval '366 days' then
    raise exception using errcode = '22023',
      message = 'expires_in must be more than nothing and at most 366 days';
  end if;
  if (
    select count(*) from public.agent_tokens t
    where t.org_id = org and t.revoked_at is null and t.expires_at > now() and t.uses < t.max_uses
  ) >= 1000 then
    raise exception using errcode = '22023',
      message = 'an organization may have 1000 tokens in force; revoke what is not needed';
  end if;
  insert into public.agent_tokens (
    org_id, agent_id, name, prefix, expires_at, max_uses, created_by
  )
  values (
    org, agent, issue_agent_token.name, token_prefix, now() + expires_in,
    issue_agent_token.max_uses, person
  )
  returning id into token;
  insert into private.agent_token_secrets (token_id, secret_sha256)
  values (token, private.sha256_hex(secret));
  return format('hidps_%s_%s', token_prefix, secret);
end
$$;

-- Returns the token once; only its hash is kept.
create function public.create_agent_token(
  org uuid, name text, agent uuid default null, expires_in interval default '1 hour',
  max_uses integer default 1
) returns text
language sql volatile security invoker set search_path = '' as $$
  select private.issue_agent_token(
    create_agent_token.org, create_agent_token.name, create_agent_token.agent,
    create_agent_token.expires_in, create_agent_token.max_uses
  )
$$;

-- How often a person tried something that could be guessing, in the hour that began with the first.
create table private.attempts (
  person uuid not null references auth.users (id) on delete cascade,
  kind text not null,
  hour_began timestamptz not null default now(),
  n_attempts integer not null default 1,
  primary key (person, kind)
);

create function private.count_attempt(who uuid, what text) returns integer
language sql volatile security definer set search_path = '' as $$
  insert into private.attempts as a (person, kind) values (who, what)
  on conflict (person, kind) do update set
    hour_began = case when a.hour_began > now() - interval '1 hour' then a.hour_began else now() end,
    n_attempts = case
      when a.hour_began > now() - interval '1 hour' then least(a.n_attempts, 1000000) + 1
      else 1
    end
  returning a.n_attempts
$$;

create function private.find_person(user_email text) returns uuid
language plpgsql volatile security definer set search_path = '' as $$
declare
  asker uuid := private.require_person();
  address text := lower(btrim(user_email));
  person uuid;
begin
  select u.id into person from auth.users u
  where lower(u.email) = address and u.deleted_at is null
    and exists (
      select from public.organization_members m
      where m.user_id = u.id and m.org_id in (select private.my_orgs())
    )
  order by u.created_at, u.id
  limit 1;
  if person is not null then
    return person;
  end if;
  -- From here on nothing may depend on whether the address exists.
  if not exists (select private.my_admin_agents()) then
    raise exception using errcode = '42501',
      message = 'looking up people outside of your organizations takes an agent that you may share';
  end if;
  -- Nobody shares with more people by hand, and a list of addresses takes months.
  if private.count_attempt(asker, 'lookup') > 20 then
    perform private.refuse('54000', 429,
      'you looked up 20 people outside of your organizations within an hour; try again later');
  end if;
  return (
    select u.id from auth.users u
    where lower(u.email) = address and u.deleted_at is null
    order by u.created_at, u.id
    limit 1
  );
end
$$;

-- For sharing an agent by address.
create function public.get_user_id_by_email(user_email text) returns uuid
language sql volatile security invoker set search_path = '' as $$
  select private.find_person(get_user_id_by_email.user_email)
$$;

comment on function public.get_user_id_by_email(text) is
$$The id of the person with this e-mail address, or null, for sharing an agent with them.

Answers freely about people who share an organization with the caller. About everybody else it answers
only a caller who may share an agent, at most 20 times an hour, whether the address exists or not.

What remains: anybody can sign up, make an organization and an agent, and then find out for 20
addresses an hour and account whether they have an account here. Sharing by address has to tell, as
long as it answers at once; an invitation that the invited person accepts would not. Where sign-up is
open, limit it, because every further account may ask again.$$;

revoke all on all functions in schema private from public;
revoke all on function public.agent_access(uuid[]) from public, anon, service_role;
revoke all on function public.me() from public, anon, service_role;
revoke all on function public.register_organization(text) from public, anon, service_role;
revoke all on function public.create_agent(text, uuid) from public, anon, service_role;
revoke all on function public.create_agent_token(uuid, text, uuid, interval, integer)
  from public, anon, service_role;
revoke all on function public.get_user_id_by_email(text) from public, anon, service_role;
grant execute on function public.agent_access(uuid[]) to authenticated;
grant execute on function public.me() to authenticated;
grant execute on function public.register_organization(text) to authenticated;
grant execute on function public.create_agent(text, uuid) to authenticated;
grant execute on function public.create_agent_token(uuid, text, uuid, interval, integer)
  to authenticated;
grant execute on function public.get_user_id_by_email(text) to authenticated;
grant execute on function private.is_operator() to authenticated;
grant execute on function private.found_organization(text) to authenticated;
grant execute on function private.issue_agent_token(uuid, text, uuid, interval, integer)
  to authenticated;
grant execute on function private.find_person(text) to authenticated;
