-- Tells the daemon at once that a key stopped being good, so that the connection it opened ends now.
-- It decides nothing: a hint that is lost costs a connection until the daemon looks by itself.

-- Null, or more agents than a message should carry, is all of them.
create function private.hint_keys(agents uuid[]) returns void
language plpgsql volatile security definer set search_path = '' as $$
begin
  if agents is null or cardinality(agents) > 100 then
    perform private.hint_daemon('keys', '{}');
  elsif cardinality(agents) > 0 then
    perform private.hint_daemon('keys', jsonb_build_object('agents', to_jsonb(agents)));
  end if;
end
$$;

-- A key that begins to be good ends nothing.
create function private.hint_ended_keys() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'DELETE' then
    perform private.hint_keys(array(select agent_id from was where status = 'admitted'));
  else
    perform private.hint_keys(array(
      select w.agent_id from was w join became b using (agent_id)
      where w.status = 'admitted'
        and (b.status <> 'admitted' or b.public_key <> w.public_key)
    ));
  end if;
  return null;
end
$$;

create trigger hint_keys_on_update after update on public.agent_keys
  referencing old table as was new table as became
  for each statement execute function private.hint_ended_keys();
create trigger hint_keys_on_delete after delete on public.agent_keys
  referencing old table as was
  for each statement execute function private.hint_ended_keys();

revoke all on all functions in schema private from public;
