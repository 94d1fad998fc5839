//! What a new host fetches, over real connections: script, program, checksum, and nothing else.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::streams::Installer;

/// A daemon that serves this program for x86_64, and the answer to requests.
struct Served {
    world: World,
    folder: tempfile::TempDir,
}

async fn serve(program: &[u8]) -> Served {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let programs = folder.path().join("agent");
    std::fs::create_dir_all(programs.join("x86_64")).expect("made");
    std::fs::write(programs.join("x86_64/hidps-agent"), program).expect("written");
    std::fs::write(
        programs.join("x86_64/hidps-agent.sha256"),
        "0a1b  hidps-agent\n",
    )
    .expect("written");
    std::fs::write(folder.path().join("secret"), "secret").expect("written");
    let installer = Installer::serving(None, false, Some(programs));
    let (health, status) = (Arc::default(), KeyStatus::Admitted);
    Served {
        world: build(status, health, Duration::ZERO, (None, installer), OPEN).await,
        folder,
    }
}

impl Served {
    /// Status line with headers, and body.
    async fn get(&self, path: &str, headers: &str) -> (String, Vec<u8>) {
        let address = self.world.address;
        let mut stream = TcpStream::connect(address).await.expect("loopback");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.expect("headers end") + 4);
        (String::from_utf8(answer).expect("text"), body)
    }
}

#[tokio::test]
async fn a_host_gets_the_script_with_the_address_it_used() {
    let served = serve(b"").await;

    let (head, body) = served.get("/install.sh", "").await;

    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let script = String::from_utf8(body).expect("text");
    let address = served.world.address;
    assert!(script.starts_with("#!/bin/sh\n"));
    assert!(script.contains(&format!("\nSERVED_BACKEND_URL='http://{address}'\n")));
    assert!(script.ends_with("\nmain \"$@\"; }\n"));
}

#[tokio::test]
async fn a_program_arrives_whole_and_not_twice() {
    let program: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let served = serve(&program).await;

    let (head, body) = served.get("/agent/x86_64/hidps-agent", "").await;

    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-length: 1000000\r\n"), "{head}");
    assert!(body == program, "{} bytes", body.len());
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .expect("it has a tag");
    let known = format!("If-None-Match: {tag}\r\n");
    let (head, body) = served.get("/agent/x86_64/hidps-agent", &known).await;
    assert!(
        head.starts_with("HTTP/1.1 304") && body.is_empty(),
        "{head}"
    );
    let (_, body) = served.get("/agent/x86_64/hidps-agent.sha256", "").await;
    assert_eq!(body, b"0a1b  hidps-agent\n");
}

#[tokio::test]
async fn each_machine_gets_the_program_for_it_with_the_checksum_of_that() {
    let served = serve(b"for x86_64").await;
    let folder = served.folder.path().join("agent/aarch64");
    std::fs::create_dir(&folder).expect("made");
    std::fs::write(folder.join("hidps-agent"), "for aarch64").expect("written");
    std::fs::write(folder.join("hidps-agent.sha256"), "2c3d  hidps-agent\n").expect("written");

    for (machine, sum) in [("x86_64", "0a1b"), ("aarch64", "2c3d")] {
        let (head, program) = served
            .get(&format!("/agent/{machine}/hidps-agent"), "")
            .await;
        let (_, checksum) = served
            .get(&format!("/agent/{machine}/hidps-agent.sha256"), "")
            .await;

        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(program, format!("for {machine}").into_bytes());
        assert_eq!(checksum, format!("{sum}  hidps-agent\n").into_bytes());
    }
}

#[tokio::test]
async fn nothing_but_the_closed_set_is_served() {
    let served = serve(b"program").await;
    for path in [
        "/agent/aarch64/hidps-agent",
        "/agent/riscv64/hidps-agent",
        "/agent/../secret/hidps-agent",
        "/agent/%2e%2e/hidps-agent",
        "/agent/x86_64%2f..%2f..%2fsecret/hidps-agent",
        "/agent/x86_64/secret",
        "/agent/x86_64/",
        "/agent/..%2fsecret/hidps-agent.sha256",
    ] {
        let (head, body) = served.get(path, "").await;

        assert!(head.starts_with("HTTP/1.1 404"), "{path}: {head}");
        assert!(!body.windows(6).any(|six| six == b"secret"), "{path}");
    }
    let (_, body) = served.get("/agent/aarch64/hidps-agent", "").await;
    let said = String::from_utf8(body).expect("text");
    assert!(said.contains("HIDPS_AGENT_DIR"), "{said}");
}
