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

-- Calls ---------------------------------------------------------------------------------------

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
revoke all on function public.end_look(uuid) from public, anon, service_role;
grant execute on function public.appoint_operator(uuid, text) to service_role;
grant execute on function public.dismiss_operator(uuid) to service_role;
grant execute on function public.look_into_organization(uuid, text, interval) to authenticated;
grant execute on function public.end_look(uuid) to authenticated;
grant execute on function private.begin_look(uuid, text, interval) to authenticated;
grant execute on function private.finish_look(uuid) to authenticated;
