//! The agent behind a proxy: the only way out, with a password, and kept open by the firewall.
//! The proxy is a real one, and small.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::{fs, io, thread};

use hidps_lab::command::wait_for;
use hidps_wire::{DaemonFrame, DesiredDocument, FirewallSettingsEntry, RetryAdvice};

use crate::harness::document;
use crate::scripted_daemon::DEADLINE;
use crate::world::{KNOCK, World};

/// `web-01:s3cret` in base64.
const CREDENTIALS: &str = "Proxy-Authorization: Basic d2ViLTAxOnMzY3JldA==";

/// A proxy that leads wherever it is asked to, if it is told the password.
struct Proxy {
    address: SocketAddr,
    /// The first line of each request.
    asked: Receiver<String>,
}

impl Proxy {
    fn start(ip: IpAddr) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (asked_tx, asked) = mpsc::channel();
        thread::spawn(move || {
            for client in listener.incoming() {
                let asked = asked_tx.clone();
                thread::spawn(move || lead(client.unwrap(), &asked));
            }
        });
        Self { address, asked }
    }
}

/// Leads one client; whoever hangs up ends it.
fn lead(mut client: TcpStream, asked: &mpsc::Sender<String>) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let first = request.lines().next().unwrap();
    asked.send(first.to_owned()).ok()?;
    if !request.lines().any(|line| line == CREDENTIALS) {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        return client.write_all(answer.as_bytes()).ok();
    }
    let target = first.split(' ').nth(1).unwrap();
    let daemon = TcpStream::connect(target).ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let (from, to) = (client.try_clone().unwrap(), daemon.try_clone().unwrap());
    thread::spawn(move || pass(from, to));
    pass(daemon, client);
    Some(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Both).ok();
}

/// All that leaves the host is denied.
fn shut() -> DesiredDocument {
    DesiredDocument {
        firewall_settings: Some(FirewallSettingsEntry {
            default_incoming: "deny".to_owned(),
            default_outgoing: "deny".to_owned(),
            logging: false,
        }),
        ..document(Some(true), &[])
    }
}

#[test]
fn a_host_behind_a_proxy_keeps_the_way_to_it_and_no_other() {
    let test = "a_host_behind_a_proxy_keeps_the_way_to_it_and_no_other";
    let Some(world) = World::make(test) else {
        return;
    };
    let proxy = Proxy::start(world.daemon.address().ip());
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("credentials");
    fs::write(&file, "web-01:wrong\n").unwrap();
    let home = world.home_with(&format!(
        "proxy = \"http://{}\"\nproxy_credentials_file = {file:?}",
        proxy.address
    ));
    let mut agent = home.start(Some(&world.host));
    let refused = |line: &str| line.contains("does not take this user and password");
    agent
        .wait_for_line("the reason", DEADLINE, refused)
        .unwrap();
    let is_shown = || {
        let shown = home.print("status");
        shown.contains("could not pass the proxy").then_some(shown)
    };
    let shown = wait_for("the status to say so", DEADLINE, is_shown).unwrap();
    fs::write(&file, "web-01:s3cret\n").unwrap();
    let (mut daemon, key) = world.daemon.admit();
    daemon.greet(8, 15);

    daemon.apply(1, "shut", shut());
    daemon.status_of(1);
    let leaves_directly = world.reaches_daemon(KNOCK);
    daemon.send(&DaemonFrame::Goodbye(RetryAdvice {
        reason: "restarting".to_owned(),
        retry_ms: 0,
    }));
    let mut again = world.daemon.accept(&key);
    again.greet(8, 15);

    assert!(!shown.contains("wrong"), "{shown}");
    assert!(!leaves_directly, "nobody needs that way");
    let wanted = format!("CONNECT {} HTTP/1.1", world.daemon.address());
    let asked: Vec<_> = proxy.asked.try_iter().collect();
    assert!(asked.len() >= 4, "each connection went through the proxy");
    assert!(asked.iter().all(|line| *line == wanted), "{asked:?}");
}
