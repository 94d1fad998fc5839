#!/bin/sh
# Proves the schema from the database's side: loads everything into an empty database and runs every
# test file. It never starts or stops a server.
#
#   supabase/tests/run.sh postgres://postgres@127.0.0.1:5432/empty_database
#
# The role needs superuser rights. With HIDPS_OLD_DEFAULT_GRANTS=1 the database first gets the default
# privileges of projects made before 2026, which hand out everything in public.
set -eu

main() {
  if [ $# -ne 1 ]; then
    echo "usage: $0 <libpq URL of an empty database>" >&2
    exit 2
  fi
  url=$1
  root=$(cd "$(dirname "$0")/../.." && pwd)
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
  failed=0

  # Only the server's own answers count, not somebody's ~/.psqlrc.
  sql() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }

  if [ "$(sql -At "$url" -c "select count(*) from pg_namespace where nspname = 'auth'")" != 0 ]; then
    echo "$0: the database is not empty: it has a schema auth" >&2
    exit 2
  fi

  load "$root/crates/local-supabase/sql/bootstrap.sql"
  load "$root/crates/local-supabase/sql/auth_for_tests.sql"
  if [ "${HIDPS_OLD_DEFAULT_GRANTS:-}" = 1 ]; then
    load "$root/supabase/tests/old_default_grants.sql"
  fi
  for file in "$root"/supabase/migrations/*.sql; do load "$file"; done
  load "$root/supabase/seed.sql"

  for file in "$root"/supabase/tests/database/*.test.sql; do
    verdict "$(basename "$file")" sql "$url" -f "$file"
  done
  # Last, because it commits what it does.
  verdict concurrency.sh sh "$root/supabase/tests/concurrency.sh" "$url"

  if [ "$failed" -ne 0 ]; then
    echo "$failed of the test files failed" >&2
    exit 1
  fi
}

# Loads one file, or says which one failed and stops.
load() {
  if ! sql "$url" -f "$1" >"$out/load" 2>&1; then
    grep -v 'NOTICE:' "$out/load" >&2
    echo "FAILED to load ${1#"$root"/}" >&2
    exit 1
  fi
}

# Runs a command, prints one line, and on failure what the command said.
verdict() {
  name=$1
  shift
  if "$@" >"$out/test" 2>&1; then
    echo "ok     $name"
  else
    echo "FAILED $name"
    grep -E 'ERROR|FATAL|FAILED' "$out/test" >&2 || cat "$out/test" >&2
    failed=$((failed + 1))
  fi
}

main "$@"
