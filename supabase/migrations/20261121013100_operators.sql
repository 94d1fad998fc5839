-- Operators of the platform: they see an organization while they look into it, for a stated reason and
-- a limited time, as a read-only member would, and change nothing. Each look is a row that the
-- organization's admins read.
-- Nobody becomes an operator over the Data API but by the service key.

create function public.appoint_operator(person uuid, note text) returns void
language sql volatile security definer set search_path = '' as $$
  insert into private.platform_operators (user_id, note)
  values (appoint_operator.person, appoint_operator.note)
  on conflict (user_id) do update set note = excluded.note
$$;

-- Looks under way end with it.
create function public.dismiss_operator(person uuid) returns boolean
language sql volatile security definer set search_path = '' as $$
  with ended as (
    update public.operator_looks l set ends_at = now()
    where l.operator_id = dismiss_operator.person and l.ends_at > now()
  ),
  dismissed as (
    delete from private.platform_operators o where o.user_id = dismiss_operator.person returning 1
  )
  select exists (select from dismissed)
$$;

create function private.require_operator() returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
begin
  if not private.is_operator() then
    raise exception using errcode = '42501', message = 'this is for operators of the platform';
  end if;
  return person;
end
$$;

create function private.begin_look(org uuid, reason text, lasts interval) returns timestamptz
language plpgsql volatile security definer set search_path = '' as $$
declare
  operator uuid := private.require_operator();
  until timestamptz;
begin
  if lasts is null or lasts <= interval '0' or lasts > interval '8 hours' then
    raise exception using errcode = '22023',
      message = 'lasts must be more than nothing and at most 8 hours';
  end if;
  if not exists (select from public.organizations o where o.id = org) then
    raise exception using errcode = '22023',
      message = format('there is no organization %s', coalesce(org::text, 'without an id'));
  end if;
  insert into public.operator_looks (org_id, operator_id, reason, ends_at)
  values (org, operator, begin_look.reason, now() + lasts)
  returning ends_at into until;
  return until;
end
$$;

create function private.finish_look(org uuid) returns integer
language plpgsql volatile security definer set search_path = '' as $$
declare
  operator uuid := private.require_operator();
  n_ended integer;
begin
  update public.operator_looks l set ends_at = now()
  where l.operator_id = operator and l.org_id = org and l.ends_at > now();
  get diagnostics n_ended = row_count;
  return n_ended;
end
$$;

-- By name or id, to know where to look. That it was asked is in the platform's own audit log.
create function private.organizations_like(wanted text)
returns table (id uuid, name text, n_members bigint, n_agents bigint)
language plpgsql volatile security definer set search_path = '' as $$
declare
  pattern text := '%' || replace(replace(replace(
    coalesce(private.clean_text(wanted, 200), ''), '\', '\\'), '%', '\%'), '_', '\_') || '%';
begin
  perform private.require_operator();
  perform private.audit(private.platform(), 'operator_look.search', 'operator_looks',
    jsonb_build_object('new', jsonb_build_object('wanted', private.clean_text(wanted, 200))));
  return query
    select o.id, o.name,
      (select count(*) from public.organization_members m where m.org_id = o.id),
      (select count(*) from public.agents a where a.org_id = o.id)
    from public.organizations o
    where o.name ilike pattern or o.id::text = wanted
    order by o.name, o.id
    limit 100;
end
$$;

-- Calls ---------------------------------------------------------------------------------------

create function public.find_organizations(wanted text default '')
returns table (id uuid, name text, n_members bigint, n_agents bigint)
language sql volatile security invoker set search_path = '' as $$
  select * from private.organizations_like(find_organizations.wanted)
$$;

-- Returns when the look ends by itself.
create function public.look_into_organization(
  org uuid, reason text, lasts interval default '1 hour'
) returns timestamptz
language sql volatile security invoker set search_path = '' as $$
  select private.begin_look(
    look_into_organization.org, look_into_organization.reason, look_into_organization.lasts
  )
$$;

create function public.end_look(org uuid) returns integer
language sql volatile security invoker set search_path = '' as $$
  select private.finish_look(end_look.org)
$$;

revoke all on all functions in schema private from public;
revoke all on function public.appoint_operator(uuid, text) from public, anon, authenticated;
revoke all on function public.dismiss_operator(uuid) from public, anon, authenticated;
revoke all on function public.look_into_organization(uuid, text, interval)
  from public, anon, service_role;
revoke all on function public.find_organizations(text) from public, anon, service_role;
revoke all on function public.end_look(uuid) from public, anon, service_role;
grant execute on function public.appoint_operator(uuid, text) to service_role;
grant execute on function public.dismiss_operator(uuid) to service_role;
grant execute on function public.look_into_organization(uuid, text, interval) to authenticated;
grant execute on function public.end_look(uuid) to authenticated;
grant execute on function private.begin_look(uuid, text, interval) to authenticated;
grant execute on function private.finish_look(uuid) to authenticated;
grant execute on function public.find_organizations(text) to authenticated;
grant execute on function private.organizations_like(text) to authenticated;
