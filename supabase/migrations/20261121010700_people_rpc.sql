-- What people call: who am I, which agents are mine, and the few changes that are more than one row.
-- Rows that a person may write directly have no function here.

-- The agents among those asked for that the caller may read. Runs as the caller: the policies
-- answer, and the daemon keeps no access list of its own.
create function public.agent_access(agent_ids uuid[])
returns table (agent_id uuid, can_admin boolean)
language sql stable security invoker set search_path = '' as $$
  select a.id, a.id in (select private.my_admin_agents())
  from public.agents a
  where a.id = any (agent_ids)
$$;

create function public.me() returns jsonb
language sql stable security invoker set search_path = '' as $$
  select jsonb_build_object(
    'id', auth.uid(),
    'email', auth.jwt() ->> 'email',
    'organizations', coalesce(
      (
        select jsonb_agg(
          jsonb_build_object('id', o.id, 'name', o.name, 'role', m.role) order by o.name, o.id
        )
        from public.organization_members m
        join public.organizations o on o.id = m.org_id
        where m.user_id = (select auth.uid())
      ),
      '[]'
    )
  )
$$;

create function private.require_person() returns uuid
language plpgsql stable set search_path = '' as $$
begin
  if auth.uid() is null then
    raise exception using errcode = '42501', message = 'sign in first: this is for people';
  end if;
  return auth.uid();
end
$$;

create function public.register_organization(name text) returns uuid
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
  insert into public.organizations (name) values (register_organization.name) returning id into org;
  insert into public.organization_members (org_id, user_id, role) values (org, person, 'owner');
  return org;
end
$$;

create function public.create_agent(name text, org uuid default null) returns uuid
language sql volatile security invoker set search_path = '' as $$
  insert into public.agents (name, owner_id, org_id)
  values (create_agent.name, auth.uid(), create_agent.org)
  returning id
$$;

-- Returns the token once; only its hash is kept.
create function public.create_agent_token(
  org uuid, name text, agent uuid default null, expires_in interval default '1 hour',
  max_uses integer default 1
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
  insert into public.agent_tokens (
    org_id, agent_id, name, prefix, expires_at, max_uses, created_by
  )
  values (
    org, agent, create_agent_token.name, token_prefix, now() + expires_in,
    create_agent_token.max_uses, person
  )
  returning id into token;
  insert into private.agent_token_secrets (token_id, secret_sha256)
  values (token, private.sha256_hex(secret));
  return format('hidps_%s_%s', token_prefix, secret);
end
$$;

-- For sharing an agent by address. Only people who run something may ask, or anybody could find out
-- who has an account.
create function public.get_user_id_by_email(user_email text) returns uuid
language plpgsql stable security definer set search_path = '' as $$
begin
  perform private.require_person();
  if not exists (select private.my_admin_orgs()) then
    raise exception using errcode = '42501',
      message = 'looking people up takes the role owner or admin in some organization';
  end if;
  return (
    select u.id from auth.users u
    where lower(u.email) = lower(btrim(user_email)) and u.deleted_at is null
    order by u.created_at, u.id
    limit 1
  );
end
$$;

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
