-- What may be desired of a firewall, in which order, and when a host hears of it.

begin;
\ir ../support.sql

create function pg_temp.add_rule(columns text, row_values text) returns text language sql as $$
  select pg_temp.refusal('adam', format(
    'insert into public.firewall_rules (agent_id, %s) values (%L, %s)',
    columns, pg_temp.id('host'), row_values))
$$;

create function pg_temp.document(agent text default 'host') returns jsonb language sql as $$
  select document from public.desired_state(array[pg_temp.id(agent)])
$$;

-- an_agent_without_rules_has_a_document_without_them
select pg_temp.must_equal('document', pg_temp.document()::text,
  '{"monitored_files": [], "firewall_enabled": null}');

-- a_rule_that_makes_sense_is_accepted
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('action', $v$'allow'$v$),
      ('action, protocol, port_from', $v$'allow', 'tcp', 22$v$),
      ('action, protocol, port_from, port_to', $v$'deny', 'udp', 1, 65535$v$),
      ('action, protocol, source', $v$'reject', 'icmp', '203.0.113.7'$v$),
      ('action, source', $v$'deny', '2001:db8::/32'$v$),
      ('action, source', $v$'deny', '0.0.0.0/0'$v$),
      ('action, direction, destination', $v$'deny', 'out', '198.51.100.0/24'$v$),
      ('action, direction, protocol, port_from', $v$'allow', 'out', 'tcp', 443$v$)
    ) v (columns, row_values)
  loop
    perform pg_temp.must_equal(format('refusal of (%s) %s', c.columns, c.row_values),
      pg_temp.add_rule(c.columns, c.row_values), '');
  end loop;
  delete from public.firewall_rules;
end
$$;

-- every_other_rule_is_refused_with_what_to_write_instead
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('action', $v$'drop'$v$, 'write allow, deny or reject'),
      ('action', $v$null$v$, 'write allow, deny or reject'),
      ('action, direction', $v$'allow', 'both'$v$, 'write in or out'),
      ('action, protocol', $v$'allow', 'http'$v$, 'write tcp, udp, icmp or any'),
      ('action, port_from', $v$'allow', 22$v$, 'write tcp or udp'),
      ('action, protocol, port_from', $v$'allow', 'icmp', 8$v$, 'write tcp or udp'),
      ('action, protocol, port_from', $v$'allow', 'tcp', 0$v$, 'from 1 to 65535'),
      ('action, protocol, port_from, port_to', $v$'allow', 'tcp', 1, 65536$v$, 'from 1 to 65535'),
      ('action, protocol, port_from, port_to', $v$'allow', 'tcp', 9, 8$v$, 'the smaller port as'),
      ('action, protocol, port_to', $v$'allow', 'tcp', 8$v$, 'a single port as port_from'),
      ('action, source', $v$'allow', 'example.org'$v$, 'write an IPv4 or IPv6 address'),
      ('action, source', $v$'allow', ''$v$, 'or null for everybody'),
      ('action, source', $v$'allow', '10.0.0.300'$v$, 'write an IPv4 or IPv6 address'),
      ('action, source', $v$'allow', '10.0.0.1 or 1=1'$v$, 'write an IPv4 or IPv6 address'),
      ('action, source', $v$'allow', 'fe80::1%eth0'$v$, 'write an IPv4 or IPv6 address'),
      ('action, source', $v$'allow', '10.0.0.5/8'$v$, 'write 10.0.0.5 or 10.0.0.0/8'),
      ('action, source', $v$'allow', '::ffff:10.0.0.5'$v$, 'write it as IPv4'),
      ('action, destination', $v$'allow', '10.0.0.5'$v$, 'write source instead'),
      ('action, direction, source', $v$'allow', 'out', '10.0.0.5'$v$, 'write destination instead'),
      ('action, comment', $v$'allow', e'a\nb'$v$, 'write it in one line')
    ) v (columns, row_values, reason)
  loop
    perform pg_temp.must_match(format('refusal of (%s) %s', c.columns, c.row_values),
      pg_temp.add_rule(c.columns, c.row_values), '^22023 firewall rule: .*' || c.reason);
  end loop;
  perform pg_temp.must_match('refusal of defaults', pg_temp.refusal('adam', format(
    'insert into public.firewall_settings (agent_id, default_incoming) values (%L, ''drop'')',
    pg_temp.id('host'))), '^22023 .*allow, deny or reject');
  perform pg_temp.must_equal('rules', (select count(*) from public.firewall_rules)::text, '0');
end
$$;

-- the_same_match_in_other_words_is_the_same_rule
do $$
begin
  perform pg_temp.must_equal('first', pg_temp.add_rule('action, protocol, port_from, port_to, source',
    $v$'allow', 'tcp', 80, 80, '2001:DB8:0:0::1/128'$v$), '');
  perform pg_temp.must_match('again', pg_temp.add_rule('action, protocol, port_from, source',
    $v$'deny', 'tcp', 80, '2001:db8::1'$v$), '^23505 .*match_is_unique');
  perform pg_temp.must_equal('source', (select source from public.firewall_rules), '2001:db8::1');
  perform pg_temp.must_equal('everybody', pg_temp.add_rule('action', $v$'deny'$v$), '');
  perform pg_temp.must_match('everybody again', pg_temp.add_rule('action', $v$'allow'$v$), '^23505');
  delete from public.firewall_rules;
end
$$;

-- rules_keep_the_order_they_were_written_in_unless_a_position_says_otherwise
do $$
begin
  perform pg_temp.attempt('adam', format(
    'insert into public.firewall_rules (agent_id, action, protocol, port_from)
     select %L, ''allow'', ''tcp'', n from generate_series(1, 5) n', pg_temp.id('host')));
  perform pg_temp.add_rule('action, protocol, port_from, position', $v$'deny', 'tcp', 9, 15$v$);
  perform pg_temp.must_equal('order', (
    select string_agg(rule ->> 'port_from', ' ')
    from jsonb_array_elements(pg_temp.document() -> 'firewall_rules') rule
  ), '1 9 2 3 4 5');
  delete from public.firewall_rules;
end
$$;

-- the_document_carries_what_is_enabled_and_nothing_for_people
do $$
begin
  perform pg_temp.add_rule('id, action, protocol, port_from, comment',
    $v$'00000000-0000-4000-8000-000000000001', 'allow', 'tcp', 22, 'for us'$v$);
  perform pg_temp.add_rule('action, protocol, port_from, enabled', $v$'allow', 'tcp', 23, false$v$);
  perform pg_temp.attempt('adam', format(
    'insert into public.firewall_settings (agent_id, logging) values (%L, true)', pg_temp.id('host')));
  perform pg_temp.must_equal('rules', (pg_temp.document() -> 'firewall_rules')::text,
    '[{"id": "00000000-0000-4000-8000-000000000001", "action": "allow", "port_to": 22, '
      '"protocol": "tcp", "direction": "in", "port_from": 22}]');
  perform pg_temp.must_equal('settings', (pg_temp.document() -> 'firewall_settings')::text,
    '{"logging": true, "default_incoming": "deny", "default_outgoing": "allow"}');
  perform pg_temp.must_equal('the other host', pg_temp.document('other host')::text,
    '{"monitored_files": [], "firewall_enabled": null}');
  delete from public.firewall_rules;
  delete from public.firewall_settings;
end
$$;

create function pg_temp.moves(statement text, n_expected integer) returns void language plpgsql as $$
declare
  before bigint := pg_temp.generation('host');
begin
  perform pg_temp.must_match(statement, pg_temp.attempt('adam', statement), '^[1-9]$');
  perform pg_temp.must_equal(statement || ' moves the generation',
    (pg_temp.generation('host') - before)::text, n_expected::text);
end
$$;

-- a_change_of_a_rule_moves_the_generation_only_if_the_host_would_do_something_else
do $$
declare
  c record;
begin
  for c in
    select * from (values
      ('insert into public.firewall_rules (agent_id, action) values (pg_temp.id(''host''), ''deny'')', 1),
      ('insert into public.firewall_rules (agent_id, action, source, enabled)
        values (pg_temp.id(''host''), ''deny'', ''10.0.0.1'', false)', 0),
      ('update public.firewall_rules set comment = ''x''', 0),
      ('update public.firewall_rules set action = ''deny''', 0),
      ('update public.firewall_rules set action = ''allow'' where source is not null', 0),
      ('update public.firewall_rules set action = ''reject'' where source is null', 1),
      ('update public.firewall_rules set position = 5 where source is null', 1),
      ('update public.firewall_rules set enabled = true', 1),
      ('update public.firewall_rules set enabled = false where source is not null', 1),
      ('delete from public.firewall_rules where source is not null', 0),
      ('delete from public.firewall_rules', 1),
      ('insert into public.firewall_settings (agent_id) values (pg_temp.id(''host''))', 1),
      ('update public.firewall_settings set logging = false', 0),
      ('update public.firewall_settings set default_outgoing = ''reject''', 1),
      ('delete from public.firewall_settings', 1)
    ) v (statement, n_expected)
  loop
    perform pg_temp.moves(c.statement, c.n_expected);
  end loop;
end
$$;

-- an_agent_takes_ten_thousand_rules_and_no_more
do $$
begin
  perform pg_temp.must_equal('ten thousand', pg_temp.attempt('adam', format(
    'insert into public.firewall_rules (agent_id, action, source, position)
     select %L, ''deny'', (''10.0.0.0''::inet + n)::text, n from generate_series(1, 10000) n',
    pg_temp.id('host'))), '10000');
  perform pg_temp.must_equal('in the document',
    jsonb_array_length(pg_temp.document() -> 'firewall_rules')::text, '10000');
  perform pg_temp.must_match('one more', pg_temp.add_rule('action', $v$'deny'$v$),
    '^22023 .*more than 10000');
end
$$;

rollback;
