-- What may be watched: every path that a person may write, and the sentence for every other.

begin;
\ir ../support.sql

create function pg_temp.add_path(path text) returns text language sql as $$
  select pg_temp.refusal('adam', format(
    'insert into public.monitored_files (agent_id, file_path) values (%L, %L)',
    pg_temp.id('host'), path))
$$;

-- a_plain_absolute_path_is_accepted
do $$
declare
  path text;
begin
  foreach path in array array[
    '/etc/passwd', '/a', '/etc/ssh/sshd_config.d', '/with space/and "quotes"', '/ünïcode/日本',
    '/.hidden', '/..data', '/a/...', '/a/b.', '/$(reboot)', e'/c1\u0080\u009f', '/' || repeat('x', 2599)
  ] loop
    perform pg_temp.must_equal('refusal of ' || left(path, 40), pg_temp.add_path(path), '');
  end loop;
end
$$;

-- every_other_path_is_refused_with_the_reason
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('', 'is empty'),
      ('etc/passwd', 'must begin with /'),
      ('./etc', 'must begin with /'),
      ('~/x', 'must begin with /'),
      ('/', 'root directory'),
      ('/etc/', 'ends with /'),
      ('/etc//passwd', 'empty component'),
      ('//etc', 'empty component'),
      ('/etc/../passwd', '\. or \.\. component'),
      ('/..', '\. or \.\. component'),
      ('/etc/.', '\. or \.\. component'),
      ('/./etc', '\. or \.\. component'),
      (e'/etc/\u0001passwd', 'control character'),
      (e'/etc/passwd\n', 'control character'),
      (e'/etc/\tx', 'control character'),
      (e'/\u001f', 'control character'),
      (e'/\u007f', 'control character'),
      (e'\r/etc', 'control character'),
      ('/' || repeat('x', 4999), '5000 bytes'),
      ('/' || repeat('ü', 1300), '2601 bytes')
    ) v (path, reason)
  loop
    perform pg_temp.must_match('refusal of ' || quote_literal(left(c.path, 40)),
      pg_temp.add_path(c.path), '^22023 file_path .*' || c.reason);
  end loop;
end
$$;

-- a_refusal_quotes_no_more_than_a_line_of_the_path
select pg_temp.must_be_true('length',
  length(pg_temp.add_path('/' || repeat('x', 100000))) < 300);

-- a_refusal_shows_no_control_characters
select pg_temp.must_match('message', pg_temp.add_path(e'/a\u001b[2Jb\n'), ': ''/a\?\[2Jb\?''$');

-- a_path_with_nul_cannot_even_be_said
do $$
begin
  perform convert_from('\x2f6100'::bytea, 'UTF8');
  raise exception 'FAILED: a text with NUL exists';
exception when character_not_in_repertoire then
  null;
end
$$;

-- the_longest_path_fits_its_index_whatever_its_content
do $$
declare
  path text := '/';
begin
  while length(path) < 2600 loop
    path := path || left(md5(random()::text), 2600 - length(path));
  end loop;
  perform pg_temp.must_equal('refusal', pg_temp.add_path(path), '');
end
$$;

-- a_changed_path_is_checked_too
select pg_temp.must_match('update', pg_temp.refusal('adam',
  'update public.monitored_files set file_path = ''x'''), '^22023 .*must begin with /');

-- the_same_path_twice_is_a_conflict
select pg_temp.must_match('duplicate', pg_temp.add_path('/etc/passwd'), '^23505');

-- an_agent_watches_at_most_1000_paths
do $$
begin
  delete from public.monitored_files where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('1000 paths', pg_temp.attempt('adam',
    'insert into public.monitored_files (agent_id, file_path)
     select pg_temp.id(''host''), ''/f'' || n from generate_series(1, 1000) n'), '1000');
  perform pg_temp.must_match('one more', pg_temp.add_path('/one/more'),
    '^22023 agent .* would watch more than 1000 paths');
end
$$;

-- the_paths_of_an_agent_take_1_mib_together
-- 419 paths of 2500 bytes leave 1076 of 1048576. A character may take several bytes.
do $$
declare
  limit_is constant text := '^22023 an agent''s watched paths may take 1 MiB together$';
begin
  delete from public.monitored_files where agent_id = pg_temp.id('host');
  perform pg_temp.must_equal('1 MiB but 1076 bytes', pg_temp.attempt('adam',
    'insert into public.monitored_files (agent_id, file_path)
     select pg_temp.id(''host''), ''/'' || lpad(n::text, 2499, ''0'') from generate_series(1, 419) n'), '419');
  perform pg_temp.must_match('1077 bytes more', pg_temp.add_path('/' || repeat('x', 1076)), limit_is);
  perform pg_temp.must_equal('1076 bytes more', pg_temp.add_path('/' || repeat('ü', 537) || 'x'), '');
  perform pg_temp.must_match('2 bytes more', pg_temp.add_path('/x'), limit_is);
  perform pg_temp.must_match('a longer path instead', pg_temp.refusal('adam',
    'update public.monitored_files set file_path = file_path || ''x'' where file_path like ''/%01'''), limit_is);
  perform pg_temp.must_equal('another agent', pg_temp.refusal('otto',
    'insert into public.monitored_files (agent_id, file_path) values (pg_temp.id(''other host''), ''/x'')'), '');
end
$$;

-- the_largest_document_fits_a_frame_of_8_mib
do $$
declare
  n_bytes integer;
begin
  -- What JSON doubles: quotes and backslashes.
  update public.monitored_files
  set file_path = '/' || lpad(id::text, 40, '"') || repeat('"\', (length(file_path) - 41) / 2)
  where agent_id = pg_temp.id('host');
  select octet_length(d.document::text) into n_bytes
  from public.desired_state(array[pg_temp.id('host')]) d;
  perform pg_temp.must_be_true(format('%s bytes are between 2 and 3 MiB', n_bytes),
    n_bytes between 2000000 and 3145728);
end
$$;

rollback;
