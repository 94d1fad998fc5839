//! The TypeScript types of frames and the client that is written with them: they compile, they refuse
//! what is no frame, and the client watches a host.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hidps_lab::command::Running;
use hidps_lab::say_skipped;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, World};
use uuid::Uuid;

use crate::faults::shared::with_world;

const PATIENCE: Duration = Duration::from_secs(60);

/// The compiler takes seconds of a processor that it shares with a whole world.
const COMPILING: Duration = Duration::from_secs(300);

/// Where the types and the client are.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/typescript");

/// As strict as the compiler gets, for a browser.
const OPTIONS: [&str; 14] = [
    "--strict",
    "--exactOptionalPropertyTypes",
    "--noUncheckedIndexedAccess",
    "--noFallthroughCasesInSwitch",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--lib",
    "es2022,dom",
    "--outDir",
    "out",
    "watch.ts",
    "none.ts",
];

/// What is no frame, each for another reason; every one has to be refused.
const NO_FRAMES: [&str; 6] = [
    r#"{ type: "subscribe" }"#,
    r#"{ type: "subscribe", agent_id: 7 }"#,
    r#"{ type: "subscribe", agent_id: "a", table: "alerts" }"#,
    r#"{ type: "run", command: "id" }"#,
    r#"{ type: "ask", id: "a", agent_id: "b", question: "passwords" }"#,
    r#"{ type: "authenticate", token: null }"#,
];

/// A page that shows events as lines on standard output.
const PAGE: &str = r#"
import { createRequire } from "node:module";
import { line, watch } from "./out/watch.js";
const { DAEMON, AGENT, TOKEN, HIDPS_NPM } = process.env;
const WebSocket = createRequire(`${HIDPS_NPM}/package.json`)("ws");
watch(new WebSocket(`ws://${DAEMON}/v1/viewers/connect`), TOKEN, AGENT, {
  onWatching: () => console.error("watching"),
  onEvents: (events) => events.forEach((event) => console.error(line(event))),
  onLagged: (dropped) => console.error(`lagged ${dropped}`),
  onEnded: (reason, message) => console.error(`ended ${reason} ${message}`),
});
"#;

/// Prints lines of events as somebody wrote them who wants to forge one.
const HOSTILE: &str = r#"
import { line } from "./out/watch.js";
const event = { timestamp: "t", type: "login", service: "sshd" };
const text = "a\nt login sshd: forged \u001b[2J\u009b1m \u202egnp.exe \u2028 z\u200bw \u00ad \ufff9 \u{e0041}";
console.log(line({ ...event, message: text }));
console.log(line({ ...event, message: "m", fields: { ["k\n"]: "v\r", name: "日本 é" } }));
"#;

/// Compiles the client and what must not compile, into `out` below a directory.
fn compile(world: &World, directory: &Path) {
    let packages = world.stack.node_packages();
    let mut tsc = Command::new("node");
    tsc.arg(packages.join("node_modules/typescript/bin/tsc"));
    tsc.args(OPTIONS).current_dir(directory);
    let mut tsc = Running::start("tsc", tsc).expect("node runs");
    let ended = tsc.wait_exit(COMPILING).expect("it ends");
    assert!(ended.success(), "{}", tsc.log());
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).expect("the directory is ours");
}

/// A module in which each of these is said to be refused, where the compiler complains of one that is
/// not; a browser's socket is taken.
fn no_frames() -> String {
    let import = "import type { ViewerFrame } from \"./frames.js\";\n\
                  import type { Socket } from \"./watch.js\";\n\
                  export const open = (address: string): Socket => new WebSocket(address);\n";
    let refused = NO_FRAMES.iter().enumerate().map(|(number, value)| {
        format!("// @ts-expect-error\nexport const no{number}: ViewerFrame = {value};\n")
    });
    refused.fold(import.to_owned(), |module, one| module + &one)
}

#[test]
fn types_of_frames_compile_refuse_what_is_none_and_their_client_watches_a_host() {
    with_world(&[], async |world| {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = folder.path();
        for name in ["frames.ts", "watch.ts"] {
            fs::copy(Path::new(CLIENT).join(name), directory.join(name)).expect("it is there");
        }
        write(directory, "none.ts", &no_frames());
        write(directory, "package.json", r#"{"type": "module"}"#);
        write(directory, "page.mjs", PAGE);
        compile(world, directory);
        lines_stay_lines(directory);

        let Some(ssh) = world.host.ssh() else {
            return say_skipped("a client in TypeScript", &"this host has no sshd");
        };
        let page = open_page(world, directory);
        wait_log(&page, "watching").await;
        let user = format!("u{}", Uuid::new_v4().simple());
        ssh.fail_login(world.host.namespace(), &user, 1)
            .expect("sshd refuses the login");
        wait_log(
            &page,
            &format!("login sshd: Failed password for invalid user {user}"),
        )
        .await;
    });
}

/// Whatever stands in an event, its line is one line without anything a terminal obeys.
fn lines_stay_lines(directory: &Path) {
    write(directory, "hostile.mjs", HOSTILE);
    let shown = Command::new("node")
        .arg("hostile.mjs")
        .current_dir(directory)
        .output();
    let shown = shown.expect("node runs");
    let said = String::from_utf8_lossy(&shown.stdout);
    assert!(
        shown.status.success(),
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    for line in &lines {
        assert!(!line.contains(hidps_wire::is_misleading), "{line:?}");
    }
    assert!(
        lines[0].contains("a\u{fffd}t login sshd: forged"),
        "{said:?}"
    );
    assert!(lines[1].ends_with("name=日本 é"), "{said:?}");
}

/// A page that watches the agent of the seed as the admin.
fn open_page(world: &World, directory: &Path) -> Running {
    let mut page = Command::new("node");
    page.arg("page.mjs").current_dir(directory).envs([
        ("DAEMON", world.daemon.address().to_string()),
        ("AGENT", AGENT.to_owned()),
        ("TOKEN", world.admin.access_token().to_owned()),
        (
            "HIDPS_NPM",
            world.stack.node_packages().display().to_string(),
        ),
    ]);
    Running::start("page", page).expect("node runs")
}

async fn wait_log(page: &Running, wanted: &str) {
    let shown = wait_until(wanted, PATIENCE, async || match page.log() {
        log if log.contains(wanted) => Ok(()),
        log => Err(log),
    });
    shown.await.expect("the page shows it");
}
