-- Invites to an organization: for one person, once, until they expire.
-- The token is shown once and only its hash is kept; nobody writes a row but through the calls.

create table public.organization_invites (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.organizations (id) on delete cascade,
  -- Whose it is; null is whoever holds it.
  email text,
  role text not null default 'user',
  -- Finds the row; it is no secret.
  prefix text not null unique,
  expires_at timestamptz not null,
  accepted_at timestamptz,
  accepted_by uuid references auth.users (id) on delete set null,
  revoked_at timestamptz,
  created_by uuid references auth.users (id) on delete cascade,
  created_at timestamptz not null default now(),
  constraint email_is_an_address_of_at_most_320_characters check (
    email like '%_@_%' and char_length(email) <= 320
  ),
  -- An owner is made of a member, whom one has seen.
  constraint role_is_admin_or_user check (role in ('admin', 'user')),
  constraint accepted_or_revoked check (num_nonnulls(accepted_at, revoked_at) < 2)
);

create index organization_invites_org_id on public.organization_invites (org_id);
create index organization_invites_accepted_by on public.organization_invites (accepted_by)
  where accepted_by is not null;
create index organization_invites_created_by on public.organization_invites (created_by)
  where created_by is not null;

create table private.organization_invite_secrets (
  invite_id uuid primary key references public.organization_invites (id) on delete cascade,
  secret_sha256 text not null
);

alter table public.organization_invites enable row level security;
revoke all on public.organization_invites from public, anon, authenticated, service_role;
grant select on public.organization_invites to authenticated, service_role;

-- Addresses of people who are not even members are for admins.
create policy admins_read on public.organization_invites for select to authenticated
using (org_id in (select private.my_admin_orgs()));

create function private.issue_invite(org uuid, role text, email text, expires_in interval)
returns text
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  invite_prefix text := left(private.random_hex(), 12);
  secret text := private.random_hex();
  invite uuid;
begin
  perform private.require_admin(org, person, 'inviting people');
  if expires_in is null or expires_in <= interval '0' or expires_in > interval '30 days' then
    raise exception using errcode = '22023',
      message = 'expires_in must be more than nothing and at most 30 days';
  end if;
  if (
    select count(*) from public.organization_invites i
    where i.org_id = org and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()
  ) >= 1000 then
    raise exception using errcode = '22023',
      message = 'an organization may have 1000 open invites; revoke what is not needed';
  end if;
  insert into public.organization_invites (org_id, email, role, prefix, expires_at, created_by)
  values (
    org, lower(nullif(btrim(issue_invite.email), '')), issue_invite.role, invite_prefix,
    now() + expires_in, person
  )
  returning id into invite;
  insert into private.organization_invite_secrets (invite_id, secret_sha256)
  values (invite, private.sha256_hex(secret));
  return format('hidps_invite_%s_%s', invite_prefix, secret);
end
$$;

create function private.withdraw_invite(invite uuid) returns void
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  org uuid;
begin
  select i.org_id into org from public.organization_invites i where i.id = invite for update;
  -- The same words for an invite that is not there: whether one exists is for admins.
  perform private.require_admin(org, person, 'revoking an invite');
  update public.organization_invites i set revoked_at = now()
  where i.id = invite and i.revoked_at is null and i.accepted_at is null;
end
$$;

-- Whoever may not invite any more has not invited: an open invite of theirs would be a way back.
create function private.withdraw_invites_of_former_admins() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.organization_invites i set revoked_at = now()
  from deleted d
  where i.org_id = d.org_id and i.created_by = d.user_id
    and i.accepted_at is null and i.revoked_at is null
    and not exists (
      select from public.organization_members m
      where m.org_id = d.org_id and m.user_id = d.user_id and m.role in ('owner', 'admin')
    );
  return null;
end
$$;

create trigger withdraw_invites_on_update after update on public.organization_members
  referencing old table as deleted
  for each statement execute function private.withdraw_invites_of_former_admins();
create trigger withdraw_invites_on_delete after delete on public.organization_members
  referencing old table as deleted
  for each statement execute function private.withdraw_invites_of_former_admins();

-- What is wrong with an invite for this person, or null. Without the right secret the answer is
-- always the same.
create function private.invite_fault(
  invite public.organization_invites, secret text, person uuid
) returns text
language sql stable security definer set search_path = '' as $$
  select case
    -- Hashes are compared, and one is always made, so time tells nothing about the secret.
    when private.sha256_hex(coalesce(secret, '')) is distinct from (
      select s.secret_sha256 from private.organization_invite_secrets s where s.invite_id = invite.id
    ) then 'is not valid'
    when invite.revoked_at is not null then 'was revoked'
    when invite.accepted_at is not null then 'was used already'
    when invite.expires_at <= now() then 'has expired'
    -- An address that was never confirmed proves nothing.
    when invite.email is not null and not exists (
      select from auth.users u
      where u.id = person and lower(u.email) = invite.email and u.email_confirmed_at is not null
    ) then 'is for another address; sign in with the confirmed address that was invited'
  end
$$;

-- A refusal is an answer and no exception, so that what was tried stays counted.
create function private.redeem_invite(token text) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
declare
  person uuid := private.require_person();
  parts text[] := regexp_match(token, '^hidps_invite_([0-9a-f]{12})_([0-9a-f]{64})$');
  invite public.organization_invites;
  fault text;
begin
  if private.count_attempt(person, 'invite') > 20 then
    return private.refusal_answer('54000', 429,
      'you tried 20 invites within an hour; try again later');
  end if;
  select i.* into invite from public.organization_invites i where i.prefix = parts[1] for update;
  fault := private.invite_fault(invite, parts[2], person);
  if fault is not null then
    return private.refusal_answer('28000', 403, format('the invite %s; ask for another one', fault));
  end if;
  -- A member keeps role and invite.
  insert into public.organization_members (org_id, user_id, role)
  values (invite.org_id, person, invite.role)
  on conflict (org_id, user_id) do nothing;
  if found then
    update public.organization_invites i set accepted_at = now(), accepted_by = person
    where i.id = invite.id;
  end if;
  return jsonb_build_object('org_id', invite.org_id);
end
$$;

-- Calls ---------------------------------------------------------------------------------------

-- Returns the invite once.
create function public.create_invite(
  org uuid, role text default 'user', email text default null, expires_in interval default '7 days'
) returns text
language sql volatile security invoker set search_path = '' as $$
  select private.issue_invite(
    create_invite.org, create_invite.role, create_invite.email, create_invite.expires_in
  )
$$;

create function public.revoke_invite(invite uuid) returns void
language sql volatile security invoker set search_path = '' as $$
  select private.withdraw_invite(revoke_invite.invite)
$$;

-- {"org_id": …}, or with status 403 or 429 {"code": …, "message": …}.
create function public.accept_invite(token text) returns jsonb
language sql volatile security invoker set search_path = '' as $$
  select private.redeem_invite(accept_invite.token)
$$;

revoke all on all functions in schema private from public;
revoke all on function public.create_invite(uuid, text, text, interval)
  from public, anon, service_role;
revoke all on function public.revoke_invite(uuid) from public, anon, service_role;
revoke all on function public.accept_invite(text) from public, anon, service_role;
grant execute on function public.create_invite(uuid, text, text, interval) to authenticated;
grant execute on function public.revoke_invite(uuid) to authenticated;
grant execute on function public.accept_invite(text) to authenticated;
grant execute on function private.issue_invite(uuid, text, text, interval) to authenticated;
grant execute on function private.withdraw_invite(uuid) to authenticated;
grant execute on function private.redeem_invite(text) to authenticated;
