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
    '/.hidden', '/..data', '/a/...', '/a/b.', '/$(reboot)', '/' || repeat('x', 2599)
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

rollback;
