-- What projects made before 2026 grant by default on everything that is created in public, so that
-- the tests can show that the migrations do not rely on the newer, empty default.
-- It is loaded by run.sh on demand and by nothing else.

alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
