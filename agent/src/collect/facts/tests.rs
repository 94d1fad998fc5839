//! Facts of made-up hosts and of this machine.

use super::*;

fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    host
}

fn read(files: &[(&str, &str)]) -> Facts {
    let host = host(files);
    // Nobody answers at this port.
    let nobody = "127.0.0.1:1".parse().unwrap();
    let time_services = TimeServices {
        chrony: nobody,
        ntp: nobody,
    };
    let mut reader = FactsReader {
        time_services,
        ..FactsReader::new(host.path().to_owned())
    };
    reader.read()
}

#[test]
fn a_host_without_files_has_what_the_kernel_says_and_nothing_else() {
    let facts = read(&[]);

    assert!(!facts.kernel.is_empty() && !facts.arch.is_empty());
    assert_eq!(
        (facts.os, facts.booted_at, facts.virtualization),
        (None, None, None)
    );
    assert_eq!(
        (facts.updates, facts.antivirus, facts.time_sync),
        (None, None, None)
    );
    assert_eq!(facts.open_ports, None, "unknown, and not none");
    let why = facts.updates_unknown.unwrap();
    assert!(why.contains("no package manager"), "{why}");
}

#[test]
fn protection_is_told_with_whether_it_runs() {
    let lies_there = read(&[("usr/bin/clamscan", ""), ("var/lib/clamav/main.cvd", "")]);
    let runs = read(&[("proc/9/comm", "clamd\n")]);
    let other = read(&[("proc/9/comm", "wdavdaemon\n"), ("usr/bin/clamscan", "")]);

    let found = lies_there.antivirus.unwrap();
    assert!(!found.running && found.signatures_at.is_some());
    assert!(runs.antivirus.unwrap().running);
    assert_eq!(&*other.antivirus.unwrap().name, "Microsoft Defender");
}

#[test]
fn a_clock_that_was_set_is_told_from_one_that_was_not_and_from_one_that_does_not_say() {
    let program = ("proc/7/comm", "systemd-timesyn\n");
    let synchronized = |files: &[_]| read(files).time_sync.unwrap().synchronized;

    assert_eq!(
        synchronized(&[program, ("run/systemd/timesync/synchronized", "")]),
        Some(true)
    );
    assert_eq!(synchronized(&[program]), Some(false));
    assert_eq!(synchronized(&[("proc/7/comm", "chronyd\n")]), None);
}

#[test]
fn a_program_that_a_person_names_as_a_service_is_none() {
    let clamd = |uid: &str| {
        let status = format!("Name:\tclamd\nUid:\t{uid}\t0\t0\t0\n");
        let files = [
            ("proc/9/comm", "clamd\n"),
            ("proc/9/status", status.as_str()),
        ];
        read(&files).antivirus.is_some()
    };

    assert!(!clamd("1000"));
    assert!(!clamd("1500001104"), "of a directory service");
    assert!(clamd("112") && clamd("61184") && clamd("0"));
}

#[test]
fn a_container_and_a_guest_are_told_apart() {
    let kind = |files: &[_]| read(files).virtualization.map(|kind| kind.to_string());

    assert_eq!(kind(&[(".dockerenv", "")]).as_deref(), Some("docker"));
    assert_eq!(
        kind(&[("run/systemd/container", "lxc\n")]).as_deref(),
        Some("lxc")
    );
    assert_eq!(
        kind(&[("sys/class/dmi/id/sys_vendor", "QEMU\n")]).as_deref(),
        Some("qemu")
    );
    let guest = kind(&[("proc/cpuinfo", "flags\t\t: fpu hypervisor sse\n")]);
    assert_eq!(guest.as_deref(), Some("unknown hypervisor"));
    assert_eq!(
        kind(&[("sys/class/dmi/id/sys_vendor", "Dell Inc.\n")]),
        None
    );
}

#[test]
fn a_corrected_clock_is_no_new_start() {
    let host = host(&[("proc/stat", "cpu 1\nbtime 1790000000\n")]);
    let mut reader = FactsReader::new(host.path().to_owned());
    let mut booted_at = |text: &str| {
        fs::write(host.path().join("proc/stat"), text).unwrap();
        reader.read().booted_at
    };

    assert_eq!(booted_at("btime 1790000000\n"), Some(1_790_000_000));
    assert_eq!(booted_at("btime 1790000002\n"), Some(1_790_000_000));
    assert_eq!(booted_at("btime 1790009999\n"), Some(1_790_009_999));
}

#[test]
fn this_machine_is_read_and_printed() {
    let facts = FactsReader::new(PathBuf::from("/")).read();

    let text = print_facts(&facts);
    assert!(text.starts_with("hostname "), "{text}");
    assert!(text.contains("interface      lo up 127.0.0.1/8"), "{text}");
    assert!(facts.booted_at.is_some());
    assert!(facts.open_ports.is_some());
}

#[test]
fn a_port_of_this_machine_is_told_with_its_program() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();

    let facts = FactsReader::new(PathBuf::from("/")).read();

    let ports = facts.open_ports.unwrap().0;
    let found = ports.iter().find(|open| open.port == port);
    let own = std::env::current_exe().unwrap();
    let own = own.file_name().unwrap().to_str().unwrap();
    // The kernel keeps whole paths, and a frame keeps 64 bytes of a name.
    let process = found.unwrap().process.as_deref().unwrap();
    assert!(own.starts_with(process), "{process}");
    let text = print_facts(&FactsReader::new(PathBuf::from("/")).read());
    assert!(text.contains(&format!("{port}/tcp on 127.0.0.1")), "{text}");
}

#[test]
fn the_most_that_can_be_told_fits_a_frame() {
    use hidps_wire::{Interface, MAX_INTERFACE_ADDRESSES, MAX_INTERFACES, MAX_OPEN_PORTS};
    use hidps_wire::{OpenPort, OpenPorts, Transport};
    let interface = Interface {
        name: Shown::new(&"\"".repeat(99)),
        mac: Some(Shown::new(&"\"".repeat(99))),
        up: true,
        addresses: vec![Shown::new(&"\"".repeat(99)); MAX_INTERFACE_ADDRESSES],
    };
    let port = OpenPort {
        protocol: Transport::Tcp,
        port: u16::MAX,
        address: Shown::new(&"\"".repeat(99)),
        process: Some(Shown::new(&"\"".repeat(99))),
    };
    let facts = Facts {
        interfaces: vec![interface; MAX_INTERFACES],
        open_ports: Some(OpenPorts(vec![port; MAX_OPEN_PORTS])),
        ..Facts::default()
    };

    let text = hidps_wire::encode(&hidps_wire::AgentFrame::Facts(Box::new(facts)));

    assert!(
        text.len() <= hidps_wire::MAX_AGENT_FRAME_BYTES,
        "{}",
        text.len()
    );
}
