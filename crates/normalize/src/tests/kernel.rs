//! Lines of the kernel, its packet filter, and systemd.

use super::*;

const UFW: &str = "[12345.678901] [UFW BLOCK] IN=eth0 OUT= MAC=52:54:00:12:34:56:52:54:00:ab:cd:ef:08:00 SRC=198.51.100.7 DST=192.0.2.1 LEN=40 TOS=0x00 PREC=0x00 TTL=244 ID=54321 PROTO=TCP SPT=51000 DPT=23 WINDOW=1024 RES=0x00 SYN URGP=0 ";

#[test]
fn lines_of_the_packet_filter_are_read() {
    check(
        "kernel",
        &[
            (
                UFW,
                "action=blocked|prefix=[UFW BLOCK]|in=eth0|mac=52:54:00:12:34:56:52:54:00:ab:cd:ef:08:00|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=40|ttl=244|proto=tcp|src_port=51000|dst_port=23|flags=SYN|program=kernel",
            ),
            (
                "[UFW LIMIT BLOCK] IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=192.0.2.1 LEN=60 TOS=0x00 PREC=0x00 TTL=50 ID=1 DF PROTO=TCP SPT=51000 DPT=22 WINDOW=29200 RES=0x00 SYN URGP=0",
                "action=limited|prefix=[UFW LIMIT BLOCK]|in=eth0|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=60|ttl=50|proto=tcp|src_port=51000|dst_port=22|flags=SYN|program=kernel",
            ),
            (
                "[UFW AUDIT] IN= OUT=eth0 SRC=192.0.2.1 DST=192.0.2.53 LEN=64 TOS=0x00 PREC=0x00 TTL=64 ID=3 DF PROTO=UDP SPT=40000 DPT=53 LEN=44",
                "action=audited|prefix=[UFW AUDIT]|out=eth0|src_ip=192.0.2.1|dst_ip=192.0.2.53|length=64|ttl=64|proto=udp|src_port=40000|dst_port=53|program=kernel",
            ),
            (
                "[UFW ALLOW] IN=eth0 OUT= MAC= SRC=2001:0db8:0000:0000:0000:0000:0000:0007 DST=2001:db8::1 LEN=80 TC=0 HOPLIMIT=58 FLOWLBL=0 PROTO=TCP SPT=51000 DPT=443 WINDOW=64800 RES=0x00 CWR ECE SYN URGP=0",
                "action=allowed|prefix=[UFW ALLOW]|in=eth0|src_ip=2001:db8::7|dst_ip=2001:db8::1|length=80|ttl=58|proto=tcp|src_port=51000|dst_port=443|flags=CWR ECE SYN|program=kernel",
            ),
            (
                "DROPPED: IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=192.0.2.1 LEN=84 TOS=0x00 PREC=0x00 TTL=56 ID=0 DF PROTO=ICMP TYPE=8 CODE=0 ID=7 SEQ=1",
                "action=blocked|prefix=DROPPED:|in=eth0|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=84|ttl=56|proto=icmp|icmp_type=8|icmp_code=0",
            ),
            (
                "filter_IN_public_REJECT: IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=192.0.2.1 LEN=20 TOS=0x00 PREC=0x00 TTL=56 ID=0 PROTO=2",
                "action=blocked|prefix=filter_IN_public_REJECT:|in=eth0|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=20|ttl=56|proto=2",
            ),
            (
                "Shorewall:net-fw:DROP:IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=192.0.2.1 LEN=52 TOS=0x00 PREC=0x00 TTL=56 ID=0 PROTO=ESP SPI=0x1",
                "action=blocked|prefix=Shorewall:net-fw:DROP:|in=eth0|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=52|ttl=56|proto=esp",
            ),
            (
                "[WAN_LOCAL-default-D]IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=192.0.2.1 LEN=40 TTL=56 ID=0 PROTO=TCP SPT=1 DPT=2 SYN URGP=0",
                "action=blocked|prefix=[WAN_LOCAL-default-D]|in=eth0|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=40|ttl=56|proto=tcp|src_port=1|dst_port=2|flags=SYN",
            ),
            (
                "nft: IN=eth0 OUT=eth1 MAC= SRC=198.51.100.7 DST=192.0.2.1 LEN=40 TTL=56 ID=0 PROTO=TCP SPT=1 DPT=2 ACK FIN URGP=0",
                "action=logged|prefix=nft:|in=eth0|out=eth1|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=40|ttl=56|proto=tcp|src_port=1|dst_port=2|flags=ACK FIN",
            ),
        ],
    );
}

#[test]
fn a_packet_inside_a_packet_never_speaks_for_the_outer_one() {
    check(
        "kernel",
        &[(
            "fw: IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=192.0.2.1 LEN=68 TOS=0x00 PREC=0x00 TTL=56 ID=0 PROTO=ICMP TYPE=3 CODE=1 [SRC=192.0.2.1 DST=203.0.113.9 LEN=40 TOS=0x00 PREC=0x00 TTL=1 ID=9 PROTO=TCP SPT=40000 DPT=25 WINDOW=1 RES=0x00 SYN URGP=0 ] MARK=0x1",
            "action=logged|prefix=fw:|in=eth0|src_ip=198.51.100.7|dst_ip=192.0.2.1|length=68|ttl=56|proto=icmp|icmp_type=3|icmp_code=1",
        )],
    );
    check_unread(
        "kernel",
        &["x: IN=eth0 OUT= SRC=nowhere DST=192.0.2.1 LEN=1 PROTO=TCP SPT=1 DPT=2"],
    );
    assert_eq!(
        fields(
            "kernel",
            "x: IN=eth0 OUT= SRC=192.0.2.7 DST=192.0.2.1 SRC=192.0.2.8 PROTO=TCP"
        ),
        "ambiguous=true"
    );
}

#[test]
fn ufw_is_a_service_of_its_own_and_every_packet_is_of_the_firewall() {
    let ufw = read("kernel", UFW).event;
    let other = read(
        "kernel",
        "fw: IN=eth0 OUT= SRC=192.0.2.7 DST=192.0.2.1 PROTO=2",
    )
    .event;

    assert_eq!((&*ufw.service, ufw.kind), ("ufw", EventKind::Firewall));
    assert_eq!(
        (&*other.service, other.kind),
        ("kernel", EventKind::Firewall)
    );
}

/// What kernel writes.
const KERNEL: &[(&str, &str)] = &[
    (
        "[    5.123456] device eth0 entered promiscuous mode",
        "action=promiscuous_on|device=eth0",
    ),
    (
        "e1000 0000:00:03.0 eth0: entered promiscuous mode",
        "action=promiscuous_on|device=eth0",
    ),
    (
        "eth0: left promiscuous mode",
        "action=promiscuous_off|device=eth0",
    ),
    (
        "nginx[4711]: segfault at 0 ip 00007f0000001000 sp 00007ffc00001000 error 4 in libc.so.6[7f0000000000+1000] likely on CPU 3 (core 3, socket 0)",
        "action=segfault|process=nginx|pid=4711",
    ),
    (
        "Out of memory: Killed process 4711 (mysqld) total-vm:1000kB, anon-rss:900kB, file-rss:0kB, shmem-rss:0kB, UID:27 pgtables:100kB oom_score_adj:0",
        "action=oom_kill|process=mysqld|pid=4711",
    ),
    (
        "Killed process 4711 (mysqld), UID 27, total-vm:1000kB, anon-rss:900kB, file-rss:0kB",
        "action=oom_kill|process=mysqld|pid=4711",
    ),
    (
        "Memory cgroup out of memory: Killed process 4711 (a b) total-vm:1000kB, anon-rss:900kB",
        "action=oom_kill|process=a b|pid=4711",
    ),
    (
        "diamorphine: loading out-of-tree module taints kernel.",
        "action=module_out_of_tree|module=diamorphine",
    ),
    (
        "diamorphine: module verification failed: signature and/or required key missing - tainting kernel",
        "action=module_unsigned|module=diamorphine",
    ),
    (
        "nvidia: module license 'NVIDIA' taints kernel.",
        "action=module_loaded|module=nvidia",
    ),
    (
        "usb 1-1.2: new high-speed USB device number 5 using xhci_hcd",
        "action=usb_attached|device=1-1.2",
    ),
    (
        "audit: type=1305 audit(1700000000.123:45): op=set audit_enabled=0 old=1 auid=1000 ses=1 res=1",
        "action=audit_disabled",
    ),
];

/// What systemd-modules-load writes.
const SYSTEMD_MODULES_LOAD: &[(&str, &str)] = &[(
    "Inserted module 'br_netfilter'",
    "action=module_loaded|module=br_netfilter",
)];

#[test]
fn lines_of_the_kernel_are_read() {
    check("kernel", KERNEL);
    check("systemd-modules-load", SYSTEMD_MODULES_LOAD);
    check_unread(
        "kernel",
        &[
            "audit: type=1305 audit(1700000000.123:45): op=set audit_enabled=1 old=0 auid=1000 ses=1 res=1",
            "EXT4-fs (sda1): mounted filesystem with ordered data mode",
        ],
    );
}

#[test]
fn a_programs_name_forges_no_other_process() {
    assert_eq!(
        fields(
            "kernel",
            "x[1]: segfault at y[4711]: segfault at 0 ip 0 sp 0 error 4"
        ),
        "ambiguous=true"
    );
    assert_eq!(
        fields(
            "kernel",
            "Killed process 4711 (a) total-vm:x) total-vm:1000kB, anon-rss:900kB"
        ),
        "ambiguous=true"
    );
}

#[test]
fn lines_of_systemd_are_read() {
    check(
        "systemd",
        &[
            (
                "Started nginx.service - A high performance web server.",
                "action=unit_started|unit=nginx.service",
            ),
            (
                "Started A high performance web server.",
                "action=unit_started",
            ),
            (
                "Finished logrotate.service - Rotate log files.",
                "action=unit_started|unit=logrotate.service",
            ),
            (
                "Stopped ufw.service - Uncomplicated firewall.",
                "action=unit_stopped|unit=ufw.service",
            ),
            (
                "Reloaded nginx.service - A high performance web server.",
                "action=unit_reloaded|unit=nginx.service",
            ),
            (
                "nginx.service: Failed with result 'exit-code'.",
                "action=unit_failed|unit=nginx.service|result=exit-code",
            ),
        ],
    );
    check_companions(
        "systemd",
        &[
            "Starting nginx.service - A high performance web server...",
            "Failed to start nginx.service - A high performance web server.",
        ],
    );
    assert_eq!(
        fields(
            "x",
            "Nov 21 01:02:03 h systemd[900]: Started auditd.service - Mine."
        ),
        "action=unit_started|unit=auditd.service|user_unit=true|pid=900"
    );
}
