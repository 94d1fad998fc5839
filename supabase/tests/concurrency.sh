#!/bin/sh
# What must hold when several sessions do the same thing at once. A transaction cannot show this, so
# the effects are committed; run.sh starts it last, on a database of its own.
# It never checks anything that a single session could show.
set -eu
url=$1
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
agent=0190a000-0000-7000-8000-000000000001
sessions=8

sql() { psql -X -q -At -v ON_ERROR_STOP=1 "$url" "$@"; }

must_equal() {
  if [ "$2" != "$3" ]; then
    echo "FAILED $1: expected $3, got $2" >&2
    exit 1
  fi
}

# Runs the statements of function $1 in all sessions at once: each prepares itself, then waits for a
# lock that is given up when all of them are waiting. An error in one of them is an error here.
at_once() {
  statements=$1
  sql -c "create table if not exists public.gate ()" -c "revoke all on public.gate from public"
  mkfifo "$out/hold"
  psql -X -q -At -v ON_ERROR_STOP=1 "$url" <"$out/hold" >/dev/null &
  holder=$!
  exec 9>"$out/hold"
  echo "begin; lock table public.gate;" >&9
  until_equal "select count(*) from pg_locks where relation = 'public.gate'::regclass and granted" 1
  pids=
  n=0
  while [ $n -lt $sessions ]; do
    n=$((n + 1))
    { echo "lock table public.gate in access share mode;"; "$statements" $n; } >"$out/$n.sql"
    psql -X -q -At -v ON_ERROR_STOP=1 "$url" -1 -f "$out/$n.sql" >"$out/$n.out" 2>&1 &
    pids="$pids $!"
  done
  until_equal "select count(*) from pg_locks where relation = 'public.gate'::regclass and not granted" \
    $sessions
  echo "commit;" >&9
  exec 9>&-
  wait $holder
  for pid in $pids; do
    wait "$pid" || { cat "$out"/*.out >&2; echo "FAILED a session of $statements" >&2; exit 1; }
  done
  rm -f "$out/hold"
  sql -c "drop table public.gate"
}

until_equal() {
  deadline=$(($(date +%s) + 30))
  while [ "$(sql -c "$1")" != "$2" ]; do
    if [ "$(date +%s)" -ge $deadline ]; then
      echo "FAILED waiting for $2 from: $1" >&2
      exit 1
    fi
    sleep 0.05
  done
}

# different_occurrences_at_once_make_one_alert_that_counts_them_all
different_occurrences() {
  cat <<SQL
    select public.upsert_alert(jsonb_build_object('occurrence_id', gen_random_uuid(), 'agent_id',
      '$agent', 'fingerprint', 'race', 'title', 'session $1', 'severity', 3)) from generate_series(1, 20);
SQL
}
at_once different_occurrences
must_equal "alerts" "$(sql -c "select count(*) || ' ' || sum(occurrences) from alerts where fingerprint = 'race'")" \
  "1 160"
must_equal "people told twice" "$(sql -c "select count(*) - count(distinct n.recipient)
  from alert_notifications n join alerts a on a.id = n.alert_id where a.fingerprint = 'race'")" 0

# one_occurrence_sent_by_all_at_once_counts_once
one_occurrence() {
  cat <<SQL
    select public.upsert_alert('{"occurrence_id": "0190a000-0000-7000-8000-00000000face",
      "agent_id": "$agent", "fingerprint": "once", "title": "T", "severity": 3}');
SQL
}
at_once one_occurrence
must_equal "occurrences" "$(sql -c "select sum(occurrences) from alerts where fingerprint = 'once'")" 1

# a_flood_from_all_at_once_is_30_mails_and_one_about_the_storm
sql -c "delete from alerts"
flood() {
  cat <<SQL
    select public.upsert_alert(jsonb_build_object('occurrence_id', gen_random_uuid(), 'agent_id',
      '$agent', 'fingerprint', 'flood $1 ' || n, 'title', 'T', 'severity', 3)) from generate_series(1, 10) n;
SQL
}
at_once flood
must_equal "mails to one person" "$(sql -c "select string_agg(line, ' ' order by line) from (
  select stage || '=' || count(*) as line from alert_notifications
  where recipient = 'admin@acme.test' and not suppressed group by stage) t")" "raised=30 storm=1"
must_equal "alerts" "$(sql -c "select count(*) from alerts where fingerprint like 'flood %'")" 80

# a_token_of_one_use_admits_one_of_many_agents
token=$(sql -c "with t as (
    insert into agent_tokens (org_id, name, prefix, expires_at)
    select org_id, 'race', 'aaaaaaaaaaaa', now() + interval '1 hour' from agents where id = '$agent'
    returning id
  )
  insert into private.agent_token_secrets
  select id, encode(sha256(convert_to(repeat('b', 64), 'UTF8')), 'hex') from t
  returning 'hidps_aaaaaaaaaaaa_' || repeat('b', 64)")
sql -c "insert into agents (id, name, owner_id, org_id)
  select md5(n::text)::uuid, 'race', owner_id, org_id from agents, generate_series(1, $sessions) n
  where id = '$agent'"
one_token() {
  cat <<SQL
    do \$\$ begin
      perform public.enroll_agent(md5('$1')::uuid, '$token',
        encode(sha256('$1'), 'base64'), 'h', 'o', 'a', '1');
    exception when sqlstate 'PGRST' then null;
    end \$\$;
SQL
}
at_once one_token
must_equal "admitted" "$(sql -c "select count(*) from agent_keys k join agents a on a.id = k.agent_id
  where a.name = 'race' and k.status = 'admitted'")" 1
must_equal "uses" "$(sql -c "select uses from agent_tokens where name = 'race'")" 1

# of_many_first_keys_at_once_one_is_trusted
sql -c "delete from agent_keys where agent_id = '$agent'" \
  -c "update agents set created_at = now() where id = '$agent'"
first_use() {
  cat <<SQL
    do \$\$ begin
      perform public.enroll_agent('$agent', null, encode(sha256('$1'), 'base64'), 'h$1', 'o', 'a', '1');
    exception when sqlstate 'PGRST' then null;
    end \$\$;
SQL
}
at_once first_use
must_equal "keys" "$(sql -c "select status || ' ' || (waiting_key is not null) || ' ' || (waiting_key <> public_key)
  from agent_keys where agent_id = '$agent'")" "admitted true true"

# claims_at_once_share_the_outbox_without_overlap
sql -c "delete from alert_notifications" \
  -c "insert into alert_notifications (alert_id, agent_id, recipient)
      select id, agent_id, n || '@race.test' from alerts, generate_series(1, 200) n
      where fingerprint = 'flood 1 1'"
claims() {
  echo "select id from public.claim_notifications(40, 60);"
}
at_once claims
must_equal "claimed" "$(sql -c "select count(*) || ' ' || max(attempts) from alert_notifications
  where status = 'sending'")" "200 1"

# writers_of_the_same_agents_lose_no_bump
generations() {
  sql -c "select sum(g.generation) from desired_generations g
    join agents a on a.id = g.agent_id where a.name = 'race'"
}
before=$(generations)
same_agents() {
  cat <<SQL
    insert into monitored_files (agent_id, file_path, added_by)
    select id, '/race/$1', owner_id from agents where name = 'race';
SQL
}
at_once same_agents
must_equal "bumps" "$(($(generations) - before))" $((sessions * sessions))

# many_small_changes_at_once_are_judged_together
sql -c "insert into agents (id, name, owner_id, org_id)
    select md5('wide ' || n)::uuid, 'wide ' || n, owner_id, org_id from agents, generate_series(1, 30) n
    where id = '$agent'" \
  -c "insert into agent_conditions (agent_id, type, status, reason, observed_generation)
    select id, 'FilesWatched', 'true', 'AllWatched', 1 from agents where name like 'wide %'"
held() {
  sql -c "select count(*) from desired_generations g join agents a on a.id = g.agent_id
    where a.name like 'wide %' and g.hold is not null"
}
three_hosts_each() {
  cat <<SQL
    insert into monitored_files (agent_id, file_path, added_by)
    select id, '/wide', owner_id from agents
    where name in ('wide $(($1 * 3))', 'wide $(($1 * 3 - 1))', 'wide $(($1 * 3 - 2))');
SQL
}
at_once three_hosts_each
must_equal "held" "$(held)" $((sessions * 3))

# releases_and_changes_at_once_lose_neither
before=$(sql -c "select sum(g.generation) from desired_generations g join agents a on a.id = g.agent_id
  where a.name like 'wide %'")
releases_and_changes() {
  if [ $(($1 % 2)) = 0 ]; then
    echo "insert into held_releases (org_id) select org_id from agents where id = '$agent';"
  else
    echo "insert into monitored_files (agent_id, file_path, added_by)
      select id, '/wide/$1', owner_id from agents where name = 'wide 1';"
  fi
}
at_once releases_and_changes
must_equal "held" "$(held)" 0
must_equal "released once" "$(sql -c "select sum(released) from held_releases")" $((sessions * 3))
must_equal "steps" "$(sql -c "select sum(g.generation) - $before from desired_generations g
  join agents a on a.id = g.agent_id where a.name like 'wide %'")" $((sessions * 3 + sessions / 2))

# reports_of_the_same_times_in_any_order_neither_deadlock_nor_lose_a_step
steps_of_changes() {
  order=asc
  [ $(($1 % 2)) = 0 ] || order=desc
  column=$(echo "sent_at applied_at observed_at changed_at" | cut -d' ' -f$((($1 - 1) / 2 + 1)))
  cat <<SQL
    select public.record_changes((select jsonb_agg(jsonb_build_object('agent_id', '$agent',
      'generation', n, '$column', now()) order by n $order) from generate_series(1, 200) n));
SQL
}
at_once steps_of_changes
must_equal "complete rows" "$(sql -c "select count(*) from desired_changes where agent_id = '$agent'
  and num_nulls(changed_at, sent_at, applied_at, observed_at) = 0")" 200

# leases_ending_while_agents_are_heard_of_deadlock_nobody_and_the_next_sign_of_life_stands
sql -c "update agents set is_online = true, last_seen = now() - interval '2 minutes' where name like 'wide %'" \
  -c "insert into agent_conditions (agent_id, type, status, reason)
    select id, 'Connected', 'true', 'Connected' from agents where name like 'wide %'"
heard_of() {
  cat <<SQL
    select public.record_presence((select jsonb_agg(jsonb_build_object('agent_id', id, 'online', true)
      order by random()) from agents where name like 'wide %'));
SQL
}
leases() {
  if [ $(($1 % 2)) = 0 ]; then echo "select public.expire_presence();"; else heard_of; fi
}
at_once leases
sql -c "$(heard_of)" >/dev/null
must_equal "online and connected" "$(sql -c "select count(*) from agents a join agent_conditions c on c.agent_id = a.id
  where a.name like 'wide %' and a.is_online and c.type = 'Connected' and c.status = 'true'")" 30

# owners_who_unmake_each_other_at_once_leave_one
sql -c "insert into auth.users (id, email) select md5('owner ' || n)::uuid, 'owner' || n || '@race.test'
    from generate_series(1, $sessions) n" \
  -c "insert into organizations (id, name) values (md5('owners')::uuid, 'owners')" \
  -c "insert into organization_members (org_id, user_id, role)
    select md5('owners')::uuid, md5('owner ' || n)::uuid, 'owner' from generate_series(1, $sessions) n"
unmaking() {
  cat <<SQL
    do \$\$ begin
      update organization_members set role = 'user'
      where org_id = md5('owners')::uuid and user_id = md5('owner $1')::uuid;
    exception when restrict_violation then null;
    end \$\$;
SQL
}
at_once unmaking
must_equal "owners left" "$(sql -c "select count(*) from organization_members
  where org_id = md5('owners')::uuid and role = 'owner'")" 1

# an_invite_taken_by_many_at_once_makes_one_member
sql -c "with i as (
    insert into organization_invites (org_id, prefix, expires_at)
    values (md5('owners')::uuid, repeat('c', 12), now() + interval '1 hour') returning id
  )
  insert into private.organization_invite_secrets
  select id, encode(sha256(convert_to(repeat('d', 64), 'UTF8')), 'hex') from i" \
  -c "insert into auth.users (id, email) select md5('guest ' || n)::uuid, 'guest' || n || '@race.test'
    from generate_series(1, $sessions) n"
accepting() {
  cat <<SQL
    select set_config('request.jwt.claims', json_build_object('sub', md5('guest $1')::uuid)::text, true);
    select public.accept_invite('hidps_invite_' || repeat('c', 12) || '_' || repeat('d', 64));
SQL
}
at_once accepting
must_equal "guests let in" "$(sql -c "select count(*) from organization_members
  where org_id = md5('owners')::uuid")" $((sessions + 1))

# acts_at_once_are_one_unbroken_chain_with_every_act_in_it
before=$(sql -c "select coalesce(sum(n_changes), 0) from audit_log l join agents a on a.id = '$agent'
  where l.org_id = a.org_id and l.action = 'monitored_file.create'")
acting() {
  cat <<SQL
    insert into monitored_files (agent_id, file_path, added_by)
    select '$agent', '/act/$1/' || n, owner_id from agents, generate_series(1, 5) n where id = '$agent';
    update organizations set name = 'by $1' where id = md5('owners')::uuid;
    update agent_stats set firewall_enabled = $1 % 2 = 0 where agent_id = '$agent';
SQL
}
at_once acting
must_equal "files told of" "$(sql -c "select sum(n_changes) - $before from audit_log l
  join agents a on a.id = '$agent' where l.org_id = a.org_id and l.action = 'monitored_file.create'")" \
  $((sessions * 5))
must_equal "broken chains" "$(sql -c "select count(*) filter (where not (v).ok) || ' of ' || count(*) from (
  select private.check_chain(c.org_id, null, null) as v from private.audit_chains c) t")" "0 of $(sql -c \
  "select count(*) from private.audit_chains")"
must_equal "left in the queue" "$(sql -c "select count(*) from private.audit_queue")" 0
