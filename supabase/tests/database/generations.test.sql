-- The laws of desired generations: a real change of intent moves the number up, nothing else does.

begin;
\ir ../support.sql

create function pg_temp.moves(what text, who text, statement text, agent text default 'host')
returns void language plpgsql as $$
declare
  before bigint := pg_temp.generation(agent);
begin
  perform pg_temp.must_match(what, pg_temp.attempt(who, statement), '^\d{1,4}$');
  perform pg_temp.must_be_true(what || ' moves the generation up', pg_temp.generation(agent) > before);
end
$$;

create function pg_temp.leaves(what text, who text, statement text, agent text default 'host')
returns void language plpgsql as $$
declare
  before bigint := pg_temp.generation(agent);
begin
  perform pg_temp.must_match(what, pg_temp.attempt(who, statement), '^\d{1,4}$');
  perform pg_temp.must_equal(what || ' leaves the generation', pg_temp.generation(agent)::text,
    before::text);
end
$$;

-- an_agent_has_generation_one_from_the_start
select pg_temp.must_equal('first generation', pg_temp.generation('host')::text, '1');

-- firewall_intent_moves_it_only_when_it_changes
select pg_temp.moves('on', 'adam',
  'update public.agent_stats set firewall_enabled = true where agent_id = pg_temp.id(''host'')');
select pg_temp.leaves('on again', 'adam',
  'update public.agent_stats set firewall_enabled = true where agent_id = pg_temp.id(''host'')');
select pg_temp.moves('off', 'adam',
  'update public.agent_stats set firewall_enabled = false where agent_id = pg_temp.id(''host'')');
select pg_temp.moves('unmanaged', 'adam',
  'update public.agent_stats set firewall_enabled = null where agent_id = pg_temp.id(''host'')');
select pg_temp.leaves('unmanaged again', 'adam',
  'update public.agent_stats set firewall_enabled = null where agent_id = pg_temp.id(''host'')');

-- monitored_files_move_it_on_insert_change_and_delete
select pg_temp.moves('insert', 'adam',
  'insert into public.monitored_files (agent_id, file_path) values (pg_temp.id(''host''), ''/a'')');
select pg_temp.leaves('ignored duplicate', 'adam',
  'insert into public.monitored_files (agent_id, file_path) values (pg_temp.id(''host''), ''/a'')
   on conflict do nothing');
select pg_temp.moves('change', 'adam',
  'update public.monitored_files set file_path = ''/b'' where agent_id = pg_temp.id(''host'')');
select pg_temp.leaves('same path again', 'adam',
  'update public.monitored_files set file_path = file_path where agent_id = pg_temp.id(''host'')');
select pg_temp.moves('deeper', 'adam',
  'update public.monitored_files set recursive = true where agent_id = pg_temp.id(''host'')');
select pg_temp.leaves('as deep again', 'adam',
  'update public.monitored_files set recursive = true where agent_id = pg_temp.id(''host'')');
select pg_temp.leaves('a change of nothing desired', 'owner',
  'update public.monitored_files set created_at = now() where agent_id = pg_temp.id(''host'')');
select pg_temp.moves('delete', 'adam',
  'delete from public.monitored_files where agent_id = pg_temp.id(''host'')');
select pg_temp.leaves('delete of nothing', 'adam',
  'delete from public.monitored_files where agent_id = pg_temp.id(''host'')');

-- nothing_observed_ever_moves_it
select pg_temp.leaves('usage', 'service', format(
  'select public.record_usage(''[{"agent_id": "%s", "cpu_usage": 9, "firewall_active": true}]'')',
  pg_temp.id('host')));
select pg_temp.leaves('presence', 'service', format(
  'select public.record_presence(''[{"agent_id": "%s", "online": true, "hostname": "h"}]'')',
  pg_temp.id('host')));
select pg_temp.leaves('conditions', 'service', format(
  'select public.report_conditions(''[{"agent_id": "%s", "type": "T", "status": "true",
   "reason": "R", "observed_generation": 1}]'')', pg_temp.id('host')));
select pg_temp.leaves('an alert', 'service', format(
  'select public.upsert_alert(''{"occurrence_id": "%s", "agent_id": "%s", "fingerprint": "f",
   "title": "T", "severity": 3}'')', gen_random_uuid(), pg_temp.id('host')));
select pg_temp.leaves('resolving', 'adam', 'update public.alerts set resolved = true');
select pg_temp.leaves('renaming', 'adam',
  'update public.agents set name = ''new'' where id = pg_temp.id(''host'')');

-- it_moves_in_the_writers_transaction_and_back_with_it
do $$
declare
  before bigint := pg_temp.generation('host');
begin
  perform pg_temp.rehearse('adam',
    'update public.agent_stats set firewall_enabled = true where agent_id = pg_temp.id(''host'')');
  perform pg_temp.must_equal('generation after a rollback', pg_temp.generation('host')::text,
    before::text);
end
$$;

-- one_statement_over_many_agents_moves_each_of_them_and_no_other
do $$
declare
  others bigint := pg_temp.generation('other host');
  n_moved integer;
begin
  insert into public.agents (name, owner_id, org_id)
  select 'fleet ' || n, pg_temp.id('owen'), pg_temp.id('org') from generate_series(1, 150) n;
  delete from realtime.messages;
  perform pg_temp.attempt('adam', 'insert into public.monitored_files (agent_id, file_path)
    select id, ''/fleet'' from public.agents where name like ''fleet %''');
  select count(*) into n_moved from public.desired_generations g
  join public.agents a on a.id = g.agent_id where a.name like 'fleet %' and g.generation = 2;
  perform pg_temp.must_equal('moved', n_moved::text, '150');
  perform pg_temp.must_equal('others', pg_temp.generation('other host')::text, others::text);
  perform pg_temp.must_equal('broadcasts of a change of a whole fleet are capped',
    (select count(*)::text from realtime.messages), '101');
  perform pg_temp.must_equal('the last of them names no agent',
    (select count(*)::text from realtime.messages where payload - 'id' = '{}'), '1');
end
$$;

-- an_agent_can_be_deleted_with_everything_desired_of_it
select pg_temp.must_equal('insert', pg_temp.attempt('adam',
  'insert into public.monitored_files (agent_id, file_path) values (pg_temp.id(''host''), ''/a'')'), '1');
select pg_temp.must_equal('delete', pg_temp.rehearse('adam',
  'delete from public.agents where id = pg_temp.id(''host'')'), '1');

-- Documents -----------------------------------------------------------------------------------


-- a_document_is_complete_sorted_and_hashed
do $$
declare
  d record;
begin
  delete from public.monitored_files;
  insert into public.monitored_files (agent_id, file_path, added_by)
  select pg_temp.id('host'), p, pg_temp.id('owen') from unnest(array['/b', '/B', '/a b', '/ä', '/a']) p;
  update public.agent_stats set firewall_enabled = false where agent_id = pg_temp.id('host');
  select * into d from public.desired_state(array[pg_temp.id('host')]);
  perform pg_temp.must_equal('document', d.document::text,
    '{"monitored_files": ["/B", "/a", "/a b", "/b", "/ä"], "firewall_enabled": false}');
  perform pg_temp.must_equal('hash', d.content_hash,
    encode(sha256(convert_to(d.document::text, 'UTF8')), 'hex'));
  perform pg_temp.must_equal('generation', d.generation::text, pg_temp.generation('host')::text);
end
$$;

-- a_document_names_the_recursive_paths_only_while_there_are_any
do $$
begin
  update public.monitored_files set recursive = file_path in ('/b', '/B');
  perform pg_temp.must_equal('recursive', (
    select document::text from public.desired_state(array[pg_temp.id('host')])
  ), '{"monitored_files": ["/B", "/a", "/a b", "/b", "/ä"], "firewall_enabled": false, '
    || '"monitored_recursively": ["/B", "/b"]}');
  update public.monitored_files set recursive = false;
  perform pg_temp.must_equal('none', (
    select document::text from public.desired_state(array[pg_temp.id('host')])
  ), '{"monitored_files": ["/B", "/a", "/a b", "/b", "/ä"], "firewall_enabled": false}');
end
$$;

-- a_read_gives_one_row_per_existing_agent_asked_for
do $$
declare
  n integer;
begin
  select count(*) into n from public.desired_state(array[
    pg_temp.id('host'), pg_temp.id('host'), pg_temp.id('other host'), gen_random_uuid(), null
  ]);
  perform pg_temp.must_equal('rows', n::text, '2');
  select count(*) into n from public.desired_state('{}');
  perform pg_temp.must_equal('rows for nobody', n::text, '0');
end
$$;

-- an_untouched_agent_is_unmanaged_and_watches_nothing
select pg_temp.must_equal('document', (
  select document::text from public.desired_state(array[pg_temp.id('other host')])
), '{"monitored_files": [], "firewall_enabled": null}');

-- over_random_changes_the_generation_moves_exactly_when_the_document_does
do $$
declare
  seed double precision := random();
  step integer;
  statement text;
  before record;
  after record;
  n_moves integer := 0;
begin
  perform setseed(seed);
  for step in 1..400 loop
    select * into before from public.desired_state(array[pg_temp.id('host')]);
    statement := (array[
      'update public.agent_stats set firewall_enabled = (array[true, false, null])[1 + floor(random() * 3)::int]
       where agent_id = pg_temp.id(''host'')',
      'insert into public.monitored_files (agent_id, file_path)
       values (pg_temp.id(''host''), ''/r'' || floor(random() * 6)::int) on conflict do nothing',
      'delete from public.monitored_files where agent_id = pg_temp.id(''host'')
       and file_path = ''/r'' || floor(random() * 6)::int',
      'update public.monitored_files set file_path = file_path where agent_id = pg_temp.id(''host'')',
      'update public.monitored_files set recursive = random() < 0.5
       where agent_id = pg_temp.id(''host'')',
      'update public.monitored_files m set file_path = ''/r'' || floor(random() * 6)::int
       where m.id = (select id from public.monitored_files order by file_path limit 1)',
      'update public.agents set name = ''n'' || random() where id = pg_temp.id(''host'')'
    ])[1 + floor(random() * 7)::int];
    -- A path that exists already is refused, which changes nothing.
    perform pg_temp.attempt('adam', statement);
    select * into after from public.desired_state(array[pg_temp.id('host')]);
    if (after.document is distinct from before.document) <> (after.generation > before.generation)
       or after.generation < before.generation
       or (after.document is distinct from before.document)
          <> (after.content_hash is distinct from before.content_hash) then
      raise exception 'FAILED seed % step %: % took % to %', seed, step, statement, before, after;
    end if;
    n_moves := n_moves + (after.generation > before.generation)::integer;
  end loop;
  perform pg_temp.must_be_true('the walk changes something', n_moves > 20);
end
$$;

-- Feed ----------------------------------------------------------------------------------------

-- a_change_is_broadcast_privately_with_agent_and_generation
do $$
declare
  message record;
begin
  delete from realtime.messages;
  perform pg_temp.attempt('adam',
    'update public.agent_stats set firewall_enabled = not coalesce(firewall_enabled, false)
     where agent_id = pg_temp.id(''host'')');
  select * into strict message from realtime.messages;
  perform pg_temp.must_equal('topic', message.topic, 'hidps:feed');
  perform pg_temp.must_equal('event', message.event, 'generation');
  perform pg_temp.must_equal('private', message.private::text, 'true');
  perform pg_temp.must_equal('agent', message.payload ->> 'agent_id', pg_temp.id('host')::text);
  perform pg_temp.must_equal('generation', message.payload ->> 'generation',
    pg_temp.generation('host')::text);
end
$$;

-- people_cannot_read_or_send_on_the_feed
select pg_temp.must_equal('read', pg_temp.rehearse('adam', 'select from realtime.messages'), '0');
select pg_temp.must_equal('send', pg_temp.rehearse('adam',
  'insert into realtime.messages (topic, extension, private) values (''hidps:feed'', ''broadcast'', true)'),
  '42501');

-- a_writer_goes_through_when_realtime_fails
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void language plpgsql as $$ begin raise exception 'realtime is broken'; end $$;
select pg_temp.moves('a write while realtime raises', 'adam',
  'update public.agent_stats set firewall_enabled = not coalesce(firewall_enabled, false)
   where agent_id = pg_temp.id(''host'')');

-- a_writer_goes_through_without_realtime
drop function realtime.send(jsonb, text, text, boolean);
select pg_temp.moves('a write without realtime', 'adam',
  'update public.agent_stats set firewall_enabled = not coalesce(firewall_enabled, false)
   where agent_id = pg_temp.id(''host'')');

rollback;
