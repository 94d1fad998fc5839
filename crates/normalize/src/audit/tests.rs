//! Records as a kernel of Debian sent them, and as auditd wrote them into its log.

use std::time::{Duration, Instant};

use hidps_wire::{FieldValue, LogEvent};
use proptest::prelude::*;

use super::*;

/// What a listener was sent, one message a line behind the number of its kind.
const RECORDED: &str = include_str!("tests/recorded.txt");

fn naming() -> Naming<'static> {
    Naming {
        redact_arguments: &|words| {
            let mask = |word: &String| word.replace("abcdef", "***");
            words.iter().map(mask).collect()
        },
        redact_command: &|command| format!("<{command}>"),
        user_name: &|user| (user == 0).then(|| "root".to_owned()),
    }
}

fn join(records: impl IntoIterator<Item = AuditRecord>) -> Vec<AuditEvent> {
    let (mut joiner, now) = (Joiner::default(), Instant::now());
    let mut events = Vec::new();
    for record in records {
        joiner.push(record, now, |event| events.push(event));
    }
    joiner.end_all(|event| events.push(event));
    events
}

fn recorded(serial: u64) -> Vec<LogEvent<'static>> {
    let records = RECORDED.lines().map(|line| {
        let (kind, text) = line.split_once(' ').unwrap();
        parse_message(kind.parse().unwrap(), text).unwrap()
    });
    let mut events = join(records);
    events.retain(|event| event.id.serial == serial);
    assert_eq!(events.len(), 1, "one event of this number");
    events.remove(0).into_events(&naming())
}

/// The fields of an event in their order, as `name=value`.
fn shown(event: &LogEvent<'_>, names: &[&str]) -> String {
    let show = |name: &&str| {
        let value = match event.fields.get(name) {
            Some(FieldValue::Text(text)) => text.as_str().to_owned(),
            Some(FieldValue::Integer(number)) => format!("{number}i"),
            Some(FieldValue::Bool(truth)) => truth.to_string(),
            Some(FieldValue::Number(_)) | None => "-".to_owned(),
        };
        format!("{name}={value}")
    };
    names.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_call_that_made_a_file_is_the_call_and_each_path() {
    let events = recorded(79);

    let names = [
        "type", "SYSCALL", "ARCH", "name", "nametype", "exe", "uid", "AUID", "cwd",
    ];
    let told: Vec<_> = events.iter().map(|event| shown(event, &names)).collect();
    assert_eq!(
        told,
        [
            "type=SYSCALL SYSCALL=openat ARCH=x86_64 name=- nametype=- exe=/usr/bin/bash \
             uid=54321i AUID=unset cwd=/tmp",
            "type=PATH SYSCALL=- ARCH=- name=/tmp/ nametype=PARENT exe=/usr/bin/bash \
             uid=54321i AUID=unset cwd=/tmp",
            "type=PATH SYSCALL=- ARCH=- name=/tmp/hidps audit x nametype=CREATE \
             exe=/usr/bin/bash uid=54321i AUID=unset cwd=/tmp",
        ]
    );
    assert_eq!(
        shown(&events[0], &["key", "a0", "serial"]),
        "key=hidps_write a0=ffffff9c serial=79i"
    );
    assert_eq!(&*events[0].timestamp, "2026-11-21T19:31:35.644000Z");
    assert_eq!(&*events[0].service, "auditd");
    assert!(
        events[2]
            .message
            .starts_with("type=PATH item=1 name=\"/tmp/hidps audit x\""),
        "{}",
        events[2].message
    );
}

#[test]
fn a_program_that_began_has_its_arguments_without_secrets() {
    let events = recorded(81);

    let execve = &events[1];
    let names = ["type", "argc", "a0", "a6", "a7", "a8", "comm", "pid"];
    assert_eq!(
        shown(execve, &names),
        "type=EXECVE argc=9i a0=curl a6=-H a7=Authorization: Bearer *** a8=http://127.0.0.1:9/a b \
         comm=curl pid=5431i"
    );
    for event in &events {
        let text = format!("{} {:?}", event.message, event.fields);
        assert!(!text.contains("abcdef"), "{text}");
    }
    let title = "curl --noproxy * -s -m 1 -H Authorization: Bearer *** http://127.0.0.1:9/a b";
    assert_eq!(events[0].fields.get("proctitle"), Some(&title.into()));
}

#[test]
fn an_argument_in_pieces_is_one_and_a_missing_piece_is_told() {
    let line = |body: &str| parse_line(&format!("type=EXECVE msg=audit(1.002:3): {body}"));
    let pieces = [
        "argc=4 a0=\"/bin/echo\" a1_len=8 a1[0]=78C3",
        " a1[1]=BC78",
        " a1[2]=7979 a2=79207A a3=\"t\"",
    ];
    let whole = join(pieces.iter().filter_map(|body| line(body)));
    let torn = join([pieces[0], pieces[2]].iter().filter_map(|body| line(body)));
    let gap = [pieces[0], " a3=\"t\""];
    let gap = join(gap.iter().filter_map(|body| line(body)));
    let headless = join([line(pieces[1]).unwrap()]);

    let names = ["argc", "a0", "a1", "a2", "a3", "truncated"];
    let told = |mut events: Vec<AuditEvent>| {
        let events = events.remove(0).into_events(&naming());
        assert_eq!(events.len(), 1);
        shown(&events[0], &names)
    };
    assert_eq!(
        told(whole),
        "argc=4i a0=/bin/echo a1=xüxyy a2=y z a3=t truncated=-"
    );
    assert!(told(torn).starts_with("argc=4i a0=/bin/echo a1=x"));
    assert_eq!(
        told(gap),
        "argc=4i a0=/bin/echo a1=- a2=- a3=- truncated=true",
        "a part of an argument may be a part of a secret"
    );
    assert_eq!(told(headless), "argc=- a0=- a1=- a2=- a3=- truncated=true");
}

#[test]
fn a_title_that_the_kernel_cut_ends_with_no_part_of_a_secret() {
    let hex = |text: &str| -> String { text.bytes().map(|b| format!("{b:02X}")).collect() };
    let title = |text: &str, argument: Option<&str>| {
        let title = hex(text.get(..128).unwrap_or(text));
        let argument = argument.map(|argument| {
            let argument = hex(argument);
            format!("type=EXECVE msg=audit(1.0:3): argc=2 a0=\"x\" a1={argument}\n")
        });
        let log = format!(
            "type=SYSCALL msg=audit(1.0:3): pid=7\n{}\
             type=PROCTITLE msg=audit(1.0:3): proctitle={title}",
            argument.unwrap_or_default()
        );
        let event = join(log.lines().filter_map(parse_line)).remove(0);
        shown(&event.into_events(&naming())[0], &["proctitle"])
    };
    let padding = "y".repeat(100);
    let secret = format!("x\0{padding}\0https://deploy:abcdef@h/{padding}");
    let script = format!("x\0-c\0cat /etc/shadow {padding} and more");

    assert_eq!(title("x\0abc", None), "proctitle=x abc");
    assert_eq!(title(&secret, None), format!("proctitle=x {padding}"));
    let whole = format!("https://deploy:abcdef@h/{padding}");
    assert_eq!(
        title(&secret, Some(&whole)),
        format!("proctitle=x {padding} https://deploy:***@h/yyyy")
    );
    assert_eq!(
        title(&script, None),
        format!("proctitle=x -c cat /etc/shadow {padding} and")
    );
}

#[test]
fn a_command_line_of_a_program_that_asked_loses_its_secrets() {
    let line = "type=USER_AVC msg=audit(1.0:3): pid=1 msg='avc: denied { start } \
                cmdline=\"systemd-run -E X\" function=\"f\"'";

    let event = join(parse_line(line)).remove(0);

    let event = event.into_events(&naming()).remove(0);
    assert_eq!(shown(&event, &["cmdline"]), "cmdline=<systemd-run -E X>");
}

#[test]
fn a_record_is_found_in_messages_of_other_logs() {
    let of = |message: &str| {
        let (before, record) = find_record(message, false)?;
        Some((
            before.to_owned(),
            record.kind.into_owned(),
            record.id.serial,
        ))
    };
    let found = |before: &str, kind: &str| Some((before.to_owned(), kind.to_owned(), 3));

    let kernels = "[ 7.1] audit: type=1309 audit(1.0:3): argc=1 a0=\"x\"";
    assert_eq!(of(kernels), found("[ 7.1] audit: ", "EXECVE"));
    let passed_on = "node=web type=USER_CMD msg=audit(1.0:3): cmd=6C73";
    assert_eq!(of(passed_on), found("node=web ", "USER_CMD"));
    for other in [
        "audit(1.0:3): x",
        "type=X audit(1.0:3): x",
        "type=1309 audit(1): x",
        "",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
}

#[test]
fn what_the_kernels_log_cut_has_no_part_of_a_word() {
    let long = format!("a1=\"{}\"", "x".repeat(900));
    let message = format!("audit: type=1309 audit(1.0:3): argc=3 a0=\"sh\" {long} a2=68756E7");

    let (_, record) = find_record(&message, false).unwrap();

    let event = AuditEvent::from(record).into_events(&naming()).remove(0);
    assert_eq!(shown(&event, &["argc", "a0", "a2"]), "argc=3i a0=sh a2=-");
    let cut = read_body(
        1_123,
        AuditId {
            millis: 0,
            serial: 3,
        },
        "uid=0 cmd=68756E7",
        true,
    );
    assert_eq!((cut.get("uid"), cut.get("cmd")), (Some("0"), None));
}

#[test]
fn a_record_that_comes_twice_is_one() {
    let record = || parse_line("type=PATH msg=audit(1.0:3): item=0 name=\"/x\"");

    let events = join([record(), record()].into_iter().flatten());

    assert_eq!((events.len(), events[0].records.len()), (1, 1));
}

#[test]
fn addresses_are_read_and_what_stands_behind_them_is_not() {
    let of = |saddr: &str| {
        let line = format!("type=SOCKADDR msg=audit(1.002:3): saddr={saddr}");
        let event = join(parse_line(&line)).remove(0);
        let events = event.into_events(&naming());
        shown(
            &events[0],
            &["saddr_fam", "laddr", "lport", "path", "saddr"],
        )
    };

    let v4 = of("02000016C0000207FFFFFFFFFFFFFFFF");
    let v6 = of("0A0001BB0000000020010DB800000000000000000000000100000000");
    let mapped = of("0A0001BB0000000000000000000000000000FFFFC000020700000000");
    let local = shown(
        &recorded(82)[1],
        &["saddr_fam", "laddr", "lport", "path", "saddr"],
    );

    assert_eq!(
        v4,
        "saddr_fam=inet laddr=192.0.2.7 lport=22i path=- saddr=-"
    );
    assert_eq!(
        v6,
        "saddr_fam=inet6 laddr=2001:db8::1 lport=443i path=- saddr=-"
    );
    assert_eq!(
        mapped,
        "saddr_fam=inet6 laddr=192.0.2.7 lport=443i path=- saddr=-"
    );
    assert_eq!(
        local,
        "saddr_fam=local laddr=- lport=- path=/var/run/nscd/socket saddr=-"
    );
    assert_eq!(
        of("0100002F61"),
        "saddr_fam=local laddr=- lport=- path=@/a saddr=-"
    );
    assert_eq!(of("2600"), "saddr_fam=alg laddr=- lport=- path=- saddr=-");
    assert_eq!(of("02"), "saddr_fam=- laddr=- lport=- path=- saddr=02");
}

#[test]
fn what_programs_say_is_told_and_overrules_nothing_of_the_kernel() {
    let login = recorded(116);
    let command = recorded(117);
    let forged = "type=USER_LOGIN msg=audit(1.002:3): pid=7 uid=0 auid=1000 ses=1 \
                  msg='op=login pid=1 uid=1000 acct=\"it's\" cmd=6C73 (hostname=?, addr=::1, \
                  res=failed)'\u{1d}UID=\"root\" AUID=\"bob\" uid=\"5\"";
    let forged = join(parse_line(forged)).remove(0).into_events(&naming());

    assert_eq!(
        shown(
            &login[0],
            &["type", "op", "acct", "addr", "res", "pid", "UID", "exe"]
        ),
        "type=USER_LOGIN op=login acct=nobody addr=192.0.2.7 res=failed pid=5355i UID=root \
         exe=/usr/sbin/sshd"
    );
    assert_eq!(shown(&command[0], &["cmd", "cwd"]), "cmd=<cat > cwd=/tmp");
    assert_eq!(
        shown(
            &forged[0],
            &["pid", "uid", "acct", "cmd", "addr", "hostname", "AUID"]
        ),
        "pid=7i uid=0i acct=it's cmd=<ls> addr=::1 hostname=? AUID=bob"
    );
    let text = recorded(118);
    assert!(
        text[0].message.starts_with("type=USER_AVC hidps test"),
        "{}",
        text[0].message
    );
}

#[test]
fn a_log_of_auditd_reads_as_what_the_kernel_sent() {
    let log = "type=DAEMON_START msg=audit(1795290701.965:472): op=start ver=3.0.9\n\
        type=SYSCALL msg=audit(1795290703.468:124): arch=c000003e syscall=59 success=yes exit=0 \
        a0=7fff048f4a64 items=2 ppid=4689 pid=4748 auid=4294967295 uid=54321 euid=0 comm=\"ls\" \
        exe=\"/usr/bin/ls\" key=(null)\u{1d}ARCH=x86_64 SYSCALL=execve AUID=\"unset\" \
        UID=\"unknown(54321)\" EUID=\"root\"\n\
        type=EXECVE msg=audit(1795290703.468:124): argc=2 a0=\"/bin/ls\" a1=2F746D702F612062\n\
        type=CWD msg=audit(1795290703.468:124): cwd=\"/tmp\"\n\
        type=SOCKADDR msg=audit(1795290703.468:124): saddr=100000000000000000000000\
        \u{1d}SADDR={ saddr_fam=netlink nlnk-fam=16 nlnk-pid=0 }\n\
        node=web type=PATH msg=audit(1795290703.468:124): item=0 name=\"../bin/./ls\" \
        nametype=NORMAL\n\
        type=PROCTITLE msg=audit(1795290703.468:124): proctitle=2F62696E2F6C73002D64\n";

    let events = join(log.lines().filter_map(parse_line));

    assert_eq!(events.len(), 2);
    let told = events[1].clone().into_events(&naming());
    let kinds: Vec<_> = told.iter().map(|event| shown(event, &["type"])).collect();
    assert_eq!(
        kinds,
        ["type=SYSCALL", "type=EXECVE", "type=SOCKADDR", "type=PATH"]
    );
    assert_eq!(
        shown(
            &told[0],
            &["SYSCALL", "ARCH", "UID", "EUID", "key", "proctitle"]
        ),
        "SYSCALL=execve ARCH=x86_64 UID=unknown(54321) EUID=root key=- proctitle=/bin/ls -d"
    );
    assert_eq!(
        shown(&told[1], &["a0", "a1", "exe"]),
        "a0=/bin/ls a1=/tmp/a b exe=/usr/bin/ls"
    );
    assert_eq!(
        shown(&told[2], &["saddr_fam", "SADDR"]),
        "saddr_fam=netlink SADDR=-"
    );
    assert_eq!(
        shown(&told[3], &["name"]),
        "name=/bin/ls",
        "from where the process stood"
    );
}

#[test]
fn a_path_from_an_open_directory_is_told_as_it_was_given() {
    let of = |call: u32, a0: &str| {
        let log = format!(
            "type=SYSCALL msg=audit(1.0:3): arch=c000003e syscall={call} a0={a0} a2=5\n\
             type=CWD msg=audit(1.0:3): cwd=\"/etc\"\n\
             type=PATH msg=audit(1.0:3): item=0 name=\"ld.so.preload\""
        );
        let events = join(log.lines().filter_map(parse_line)).remove(0);
        shown(&events.into_events(&naming())[1], &["name"])
    };

    assert_eq!(of(257, "ffffff9c"), "name=/etc/ld.so.preload");
    assert_eq!(of(257, "3"), "name=ld.so.preload");
    assert_eq!(
        of(264, "ffffff9c"),
        "name=ld.so.preload",
        "its second directory is open"
    );
    assert_eq!(
        of(87, "7ffd"),
        "name=/etc/ld.so.preload",
        "unlink has no directory"
    );
}

#[test]
fn what_somebody_typed_is_never_told() {
    let line = "type=TTY msg=audit(1.002:3): tty pid=7 uid=0 comm=\"bash\" data=68756E746572320A";

    let event = join(parse_line(line))
        .remove(0)
        .into_events(&naming())
        .remove(0);

    assert_eq!(
        shown(&event, &["data", "data_bytes", "comm"]),
        "data=- data_bytes=8 comm=bash"
    );
    assert!(!event.message.contains("68756E"), "{}", event.message);
}

#[test]
fn an_event_that_nobody_ends_is_passed_on_in_time() {
    let began = Instant::now();
    let record = |serial: u64| {
        parse_line(&format!(
            "type=AVC msg=audit(1.0:{serial}): apparmor=\"DENIED\""
        ))
        .unwrap()
    };
    let mut joiner = Joiner::default();
    let mut ended = Vec::new();
    for serial in 0..70 {
        joiner.push(record(serial), began, |event| ended.push(event.id.serial));
    }
    let crowded = std::mem::take(&mut ended);

    let deadline = joiner.deadline().unwrap();
    joiner.end_late(deadline - Duration::from_millis(1), |event| {
        ended.push(event.id.serial);
    });
    let early = ended.len();
    joiner.end_late(deadline, |event| ended.push(event.id.serial));

    assert_eq!(crowded, [0, 1, 2, 3, 4, 5], "the oldest make room");
    assert_eq!((early, ended.len()), (0, 64));
    assert!(joiner.is_empty() && joiner.deadline().is_none());
}

#[test]
fn an_event_without_end_keeps_a_bounded_part_and_says_how_much_it_left_out() {
    let path = |at: usize| {
        parse_line(&format!(
            "type=PATH msg=audit(1.0:1): item={at} name=\"/x\""
        ))
        .unwrap()
    };
    let event = join((0..500).map(path)).remove(0);

    let events = event.into_events(&naming());

    assert_eq!(events.len(), 128);
    assert_eq!(
        shown(&events[0], &["records_left_out"]),
        "records_left_out=372i"
    );
}

#[test]
fn what_is_no_record_is_none() {
    for line in [
        "",
        "type=",
        "type=SYSCALL",
        "type=SYS CALL msg=audit(1.0:1): x",
        "type=SYSCALL msg=audit(1:1): x",
        "type=SYSCALL msg=audit(1.1000:1): x",
        "type=SYSCALL msg=audit(1.0:x): x",
        "type=SYSCALL msg=audit(1.0:1)",
        "audit(1.0:1): a=b",
    ] {
        assert_eq!(parse_line(line), None, "{line:?}");
    }
    let unknown = parse_message(1999, "audit(1.0:1): a=b\0").unwrap();
    assert_eq!(
        (&*unknown.kind, unknown.get("a")),
        ("UNKNOWN[1999]", Some("b"))
    );
}

#[test]
fn the_kinds_are_in_order_and_none_twice() {
    let names: Vec<_> = (1_000..3_000).map(kind::name_of).collect();
    let known: Vec<_> = names
        .iter()
        .filter(|name| !name.starts_with("UNKNOWN"))
        .collect();
    let distinct: std::collections::BTreeSet<_> = known.iter().collect();

    assert_eq!(known.len(), 129);
    assert_eq!(distinct.len(), known.len());
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_within_bounds(body in "[ -~\u{1d}]{0,200}", kind in 1000_u16..2500) {
        let text = format!("audit(1.000:9): {body}");
        let record = parse_message(kind, &text).unwrap();
        for event in join([record]).into_iter().flat_map(|event| event.into_events(&naming())) {
            prop_assert!(event.is_within_limits());
            prop_assert!(event.fields.get("type").is_some());
        }
    }

    #[test]
    fn a_value_comes_back_however_the_kernel_wrote_it(value in "[ -~äöü\n]{1,60}") {
        let is_harmless = !value.contains(|c: char| !('!'..='~').contains(&c) || c == '"');
        let written = if is_harmless {
            format!("\"{value}\"")
        } else {
            value.bytes().map(|byte| format!("{byte:02X}")).collect()
        };
        let line = format!("type=PATH msg=audit(1.0:1): item=0 name={written} nametype=CREATE");

        let record = parse_line(&line).unwrap();

        prop_assert_eq!(record.get("name"), Some(value.as_str()));
        prop_assert_eq!(record.get("nametype"), Some("CREATE"));
    }

    #[test]
    fn events_that_mix_are_told_apart_and_none_is_lost(order in prop::collection::vec(0_u64..5, 1..60)) {
        let records: Vec<_> = order.iter().enumerate().map(|(at, serial)| {
            parse_line(&format!("type=PATH msg=audit(1.0:{serial}): item={at}")).unwrap()
        }).collect();

        let events = join(records);

        let distinct: std::collections::BTreeSet<_> = order.iter().collect();
        prop_assert_eq!(events.len(), distinct.len());
        let n_records: usize = events.iter().map(|event| event.records.len()).sum();
        prop_assert_eq!(n_records, order.len());
        for event in &events {
            prop_assert!(event.records.iter().all(|record| record.id == event.id));
        }
    }
}
