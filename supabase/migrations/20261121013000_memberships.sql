-- Who belongs to an organization and as what: roles changed, people removed or gone by themselves,
-- open organizations joined, organizations given up. An organization always keeps an owner.
-- Nobody changes their own role, and people write no row of organization_members themselves.

-- The last owner ------------------------------------------------------------------------------

-- Also when the person is deleted altogether: an organization without an owner could never be given
-- one again by its own people.
create function private.keep_an_owner() returns trigger
language plpgsql security definer set search_path = '' as $$
declare
  orgs uuid[] := array(select distinct org_id from deleted where role = 'owner');
  orphan text;
begin
  if cardinality(orgs) = 0 then
    return null;
  end if;
  -- Two owners who unmake each other at once come one after the other.
  perform from public.organizations o where o.id = any (orgs) order by o.id for no key update;
  -- An organization that is gone needs none.
  select o.name into orphan from public.organizations o
  where o.id = any (orgs) and not exists (
    select from public.organization_members m where m.org_id = o.id and m.role = 'owner'
  )
  limit 1;
  if orphan is not null then
    raise exception using errcode = '23001',
      message = format('%s would be left without an owner', quote_literal(orphan)),
      hint = 'Make another member an owner first, or delete the organization.';
  end if;
  -- A personal organization is given anew to whoever adds an agent without having one. Whoever lost
  -- this one must not come back to it as its owner on that way.
  update public.organizations o set personal_of = null
  from deleted d
  where o.id = d.org_id and o.personal_of = d.user_id and not exists (
    select from public.organization_members m
    where m.org_id = d.org_id and m.user_id = d.user_id and m.role = 'owner'
  );
  return null;
end
$$;

create trigger keep_an_owner_on_update after update on public.organization_members
  referencing old table as deleted
  for each statement execute function private.keep_an_owner();
create trigger keep_an_owner_on_delete after delete on public.organization_members
  referencing old table as deleted
  for each statement execute function private.keep_an_owner();

-- Roles ---------------------------------------------------------------------------------------

-- The caller's role in an organization, or a refusal for whoever is not an owner or admin of it. The
-- rows of both are locked, so that neither loses a role while it is used.
create function private.require_admin(org uuid, member uuid, what text) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  mine text;
begin
  perform from public.organization_members m
  where m.org_id = org and m.user_id in (person, member)
  order by m.user_id
  for update;
  select m.role into mine from public.organization_members m
  where m.org_id = org and m.user_id = person;
  if mine is null or mine = 'user' then
    raise exception using errcode = '42501',
      message = what || ' takes the role owner or admin in the organization';
  end if;
  return mine;
end
$$;

create function private.role_of(org uuid, member uuid) returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  found_role text;
begin
  select m.role into found_role from public.organization_members m
  where m.org_id = org and m.user_id = member;
  if found_role is null then
    raise exception using errcode = '22023',
      message = format('%s is no member of this organization', coalesce(member::text, 'nobody'));
  end if;
  return found_role;
end
$$;

create function private.change_member_role(org uuid, member uuid, role text) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  mine text := private.require_admin(org, member, 'changing a role');
  theirs text := private.role_of(org, member);
begin
  if change_member_role.role is null or change_member_role.role not in ('owner', 'admin', 'user') then
    raise exception using errcode = '22023', message = 'role is owner, admin or user';
  end if;
  if member = private.require_person() then
    raise exception using errcode = '42501',
      message = 'nobody changes their own role; ask another owner or admin';
  end if;
  if mine <> 'owner' and 'owner' in (theirs, change_member_role.role) then
    raise exception using errcode = '42501', message = 'only an owner makes or unmakes an owner';
  end if;
  update public.organization_members m set role = change_member_role.role
  where m.org_id = org and m.user_id = member and m.role <> change_member_role.role;
end
$$;

-- Whoever leaves or is removed keeps nothing of the organization, also not what was shared with them
-- alone; it may be shared with them again.
create function private.end_membership(org uuid, member uuid) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  mine text;
begin
  if member is distinct from private.require_person() then
    mine := private.require_admin(org, member, 'removing a member');
    if private.role_of(org, member) = 'owner' and mine <> 'owner' then
      raise exception using errcode = '42501', message = 'only an owner removes an owner';
    end if;
  else
    perform private.role_of(org, member);
  end if;
  delete from public.agent_users s using public.agents a
  where s.user_id = member and a.id = s.agent_id and a.org_id = org;
  delete from public.organization_members m where m.org_id = org and m.user_id = member;
end
$$;

-- Joining -------------------------------------------------------------------------------------

-- Only where the organization says so. Whether it exists is not told, and guessing is counted, so the
-- refusal is an answer and no exception.
create function private.enter_open_organization(org uuid) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
begin
  if private.count_attempt(person, 'join') > 20 then
    return private.refusal_answer('54000', 429,
      'you tried to join organizations 20 times within an hour; try again later');
  end if;
  perform from public.organizations o
  where o.id = org and o.settings -> 'open_join' = 'true'
  -- Closed at this moment, it is closed.
  for share;
  if not found then
    return private.refusal_answer('42501', 403,
      'there is no such organization, or it does not let people join by themselves; ask for an invite');
  end if;
  insert into public.organization_members (org_id, user_id, role) values (org, person, 'user')
  on conflict (org_id, user_id) do nothing;
  return jsonb_build_object('org_id', org);
end
$$;

-- Giving up -----------------------------------------------------------------------------------

-- Not while it has agents: each would go on with its last firewall and nobody to ask.
create function private.give_up_organization(org uuid, name text) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
begin
  if private.require_admin(org, person, 'deleting an organization') <> 'owner' then
    raise exception using errcode = '42501', message = 'only an owner deletes an organization';
  end if;
  if not exists (
    select from public.organizations o where o.id = org and o.name = give_up_organization.name
  ) then
    raise exception using errcode = '22023',
      message = 'name must be the present name of the organization, to be sure which one is meant';
  end if;
  if exists (select from public.agents a where a.org_id = org) then
    raise exception using errcode = '23001',
      message = 'the organization still has agents',
      hint = 'Uninstall and delete its agents first.';
  end if;
  delete from public.organizations o where o.id = org;
end
$$;

-- Calls ---------------------------------------------------------------------------------------

create function public.set_member_role(org uuid, member uuid, role text) returns void
language sql volatile security invoker set search_path = '' as $$
  select private.change_member_role(set_member_role.org, set_member_role.member, set_member_role.role)
$$;

-- Removes another member, or the caller.
create function public.remove_member(org uuid, member uuid) returns void
language sql volatile security invoker set search_path = '' as $$
  select private.end_membership(remove_member.org, remove_member.member)
$$;

-- {"org_id": …}, or with status 403 or 429 {"code": …, "message": …}.
create function public.join_organization(org uuid) returns jsonb
language sql volatile security invoker set search_path = '' as $$
  select private.enter_open_organization(join_organization.org)
$$;

create function public.delete_organization(org uuid, name text) returns void
language sql volatile security invoker set search_path = '' as $$
  select private.give_up_organization(delete_organization.org, delete_organization.name)
$$;

revoke all on all functions in schema private from public;
revoke all on function public.set_member_role(uuid, uuid, text) from public, anon, service_role;
revoke all on function public.remove_member(uuid, uuid) from public, anon, service_role;
revoke all on function public.join_organization(uuid) from public, anon, service_role;
revoke all on function public.delete_organization(uuid, text) from public, anon, service_role;
grant execute on function public.set_member_role(uuid, uuid, text) to authenticated;
grant execute on function public.remove_member(uuid, uuid) to authenticated;
grant execute on function public.join_organization(uuid) to authenticated;
grant execute on function public.delete_organization(uuid, text) to authenticated;
grant execute on function private.change_member_role(uuid, uuid, text) to authenticated;
grant execute on function private.end_membership(uuid, uuid) to authenticated;
grant execute on function private.enter_open_organization(uuid) to authenticated;
grant execute on function private.give_up_organization(uuid, text) to authenticated;
