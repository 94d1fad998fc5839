//! `install.sh` by itself: what it refuses, what half of it does, and what it would do.
//! Nothing is installed here; that is the business of `fresh_host`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hidps_lab::command::{find_program, run};
use hidps_lab::say_skipped;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh");

const AGENT: &str = "0190a000-0000-7000-8000-00000000f0f0";

/// What the script exits with and says, where nothing it changes would be seen.
fn call(arguments: &[&str]) -> (i32, String) {
    let output = Command::new("sh")
        .arg(SCRIPT)
        .args(arguments)
        .env_remove("HIDPS_TOKEN")
        .env_remove("HIDPS_BACKEND_URL")
        .stdin(Stdio::null())
        .output()
        .expect("sh is everywhere");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("it is not killed"),
        String::from_utf8(said).expect("text"),
    )
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let Some(shellcheck) = find_program("shellcheck") else {
        return say_skipped(
            "shellcheck_has_nothing_to_say",
            &"shellcheck is missing: apt-get install shellcheck",
        );
    };
    let mut command = Command::new(shellcheck);
    command.args(["--shell=sh", SCRIPT]);

    if let Err(error) = run(command, Duration::from_secs(60)) {
        panic!("{error}");
    }
}

/// A download that breaks off anywhere does nothing: no program is called and nothing is said but
/// what the shell says of an end that came too early.
#[test]
fn half_a_script_does_nothing() {
    let script = std::fs::read_to_string(SCRIPT).expect("it is there");
    let line_ends = script.match_indices('\n').map(|(at, _)| at + 1).step_by(7);
    let within_lines = (0..script.len()).step_by(509);
    let last_bytes = script.len() - 12..script.len() - 1;
    let empty = tempfile::tempdir().expect("a folder can be made");

    for at in line_ends.chain(within_lines).chain(last_bytes) {
        let Some(half) = script.get(..at).filter(|half| half.len() < script.len()) else {
            continue;
        };
        let output = Command::new("/bin/sh")
            .args(["-c", half, "sh", "--agent-id", AGENT])
            // Whatever it would call is not found, which would be said.
            .env_clear()
            .env("PATH", empty.path())
            .output()
            .expect("sh is everywhere");

        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(output.stdout.is_empty(), "{at}: {output:?}");
        assert!(
            said.is_empty() || said.contains("syntax error"),
            "{at}: {said}"
        );
        assert!(!said.contains("not found"), "{at}: {said}");
    }
}

#[test]
fn wrong_arguments_are_refused_in_one_line_each() {
    let check = |arguments: &[&str], code: i32, words: &str| {
        let mut arguments = arguments.to_vec();
        arguments.push("--dry-run");
        let (found, said) = call(&arguments);

        assert_eq!(found, code, "{arguments:?}: {said}");
        let refusal = said.lines().last().unwrap_or_default();
        assert!(refusal.contains(words), "{arguments:?}: {said}");
        assert!(refusal.starts_with("install.sh: "), "{refusal}");
    };

    check(&["--agent-id"], 2, "is not the id");
    check(&["--agent-id", "seven"], 2, "is not the id");
    let with_end = format!("{AGENT}\n");
    check(&["--agent-id", &with_end], 2, "is not the id");
    check(&["--agent-id", "x; reboot"], 2, "is not the id");
    check(&["--agent", AGENT], 2, "is not an option");
    check(&["--token", "secret"], 2, "never an argument");
    check(
        &["--agent-id", AGENT, "--bin", "/nonexistent"],
        2,
        "is not a file",
    );
    for option in ["--client-cert", "--client-key"] {
        let half = ["--agent-id", AGENT, option, SCRIPT];
        check(&half, 2, "--client-cert and --client-key go together");
    }
    check(
        &["--agent-id", AGENT, "--purge"],
        2,
        "goes with --uninstall",
    );
    let at = |url: &'static str| ["--agent-id", AGENT, "--backend-url", url];
    check(&at("ws://hidps.example.org"), 2, "plaintext");
    check(&at("http://127.0.0.1.example.org"), 2, "plaintext");
    check(&at("ftp://hidps.example.org"), 2, "begins with https://");
    check(
        &at("https://x/\";reboot;\""),
        2,
        "characters no address has",
    );
    check(&["--upgrade"], 8, "no agent to upgrade");
}

#[test]
fn every_exit_code_is_explained() {
    let (code, help) = call(&["--help"]);

    assert_eq!(code, 0);
    for number in 0..=12 {
        assert!(help.contains(&format!("{number} ")), "{number}: {help}");
    }
}

#[test]
fn a_dry_run_names_every_action_and_takes_none() {
    if Path::new("/usr/local/bin/hidps-agent").exists() || Path::new("/etc/hidps").exists() {
        let why = "an agent is installed on this machine";
        return say_skipped("a_dry_run_names_every_action_and_takes_none", &why);
    }
    let url = "https://hidps.example.org";
    let (code, said) = call(&[
        "--agent-id",
        AGENT,
        "--backend-url",
        url,
        "--dry-run",
        "--no-start",
        "--with-ufw",
        "--with-file-actors",
        "--client-cert",
        SCRIPT,
        "--client-key",
        SCRIPT,
    ]);

    assert_eq!(code, 0, "{said}");
    for action in [
        "would write /etc/systemd/system/hidps-agent.service.d/ufw.conf",
        "would write /etc/systemd/system/hidps-agent.service.d/file-actors.conf",
        "would download https://hidps.example.org/agent/",
        "would install the program as /usr/local/bin/hidps-agent",
        "would make the user hidps-agent",
        "would install the client certificate as /etc/hidps/agent.crt",
        "would install its key as /etc/hidps/agent.crt.key",
        "would write /etc/hidps/agent.toml",
        "would write /etc/systemd/system/hidps-agent.service",
        "would start the agent at every boot",
        "nothing was changed",
    ] {
        assert!(said.contains(action), "{action}: {said}");
    }
    assert!(!Path::new("/etc/hidps").exists());
    assert!(!Path::new("/usr/local/bin/hidps-agent").exists());
}

#[test]
fn the_program_is_the_one_for_the_machine_that_uname_names() {
    let test = "the_program_is_the_one_for_the_machine_that_uname_names";
    if Path::new("/usr/local/bin/hidps-agent").exists() || Path::new("/etc/hidps").exists() {
        return say_skipped(test, &"an agent is installed on this machine");
    }
    let Some(uname) = find_program("uname") else {
        return say_skipped(test, &"uname is missing");
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = std::env::var("PATH").expect("there is one");
    let call = |machine: &str| {
        let stand_in = folder.path().join("uname");
        let script = format!(
            "#!/bin/sh\n[ \"$*\" = -m ] && exec echo {machine}\nexec {} \"$@\"\n",
            uname.display()
        );
        std::fs::write(&stand_in, script).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&stand_in, mode).expect("it is ours");
        let mut command = Command::new("sh");
        command
            .arg(SCRIPT)
            .args(["--agent-id", AGENT, "--dry-run", "--no-start"]);
        command.args(["--backend-url", "https://hidps.example.org"]);
        command.env("PATH", format!("{}:{path}", folder.path().display()));
        call_without_address(command.stdin(Stdio::null()))
    };

    for (machine, architecture) in [
        ("x86_64", "x86_64"),
        ("amd64", "x86_64"),
        ("aarch64", "aarch64"),
        ("arm64", "aarch64"),
    ] {
        let (code, said) = call(machine);

        assert_eq!(code, 0, "{said}");
        let address = format!("https://hidps.example.org/agent/{architecture}/hidps-agent");
        let words = format!("would download {address} and check it against {address}.sha256");
        assert!(said.contains(&words), "{machine}: {said}");
    }
    let (code, said) = call("riscv64");
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("no agent for riscv64"), "{said}");
}

/// The words of a run without an address of the daemon, from an empty folder.
fn call_without_address(command: &mut Command) -> (i32, String) {
    let output = command
        .env_remove("HIDPS_TOKEN")
        .env_remove("HIDPS_BACKEND_URL")
        .env_remove("SUDO_UID")
        .output()
        .expect("the shell is there");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("it is not killed"),
        String::from_utf8(said).expect("text"),
    )
}

#[test]
fn a_program_that_somebody_else_may_have_put_there_is_not_taken() {
    if Path::new("/usr/local/bin/hidps-agent").exists() || Path::new("/etc/hidps").exists() {
        let why = "an agent is installed on this machine";
        return say_skipped("a_program_that_somebody_else_may_have_put_there", &why);
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (beside, script) = (
        folder.path().join("hidps-agent"),
        folder.path().join("install.sh"),
    );
    std::fs::write(&beside, "#!/bin/sh\n").expect("it can be written");
    std::fs::copy(SCRIPT, &script).expect("it can be copied");
    let url = "https://hidps.example.org";
    let arguments = [
        "--agent-id",
        AGENT,
        "--backend-url",
        url,
        "--dry-run",
        "--no-start",
    ];
    let downloads = "would download https://hidps.example.org/agent/";

    for shell in ["sh", "bash"] {
        let piped = std::fs::File::open(SCRIPT).expect("it is there");
        let mut command = Command::new(shell);
        command.current_dir(folder.path());
        command.args(["-s", "--"]).args(arguments);
        let (code, said) = call_without_address(command.stdin(piped));
        assert_eq!(code, 0, "{shell}: {said}");
        assert!(said.contains(downloads), "{shell}: {said}");
    }

    let mut command = Command::new("sh");
    command.arg(&script).args(arguments);
    let (_, said) = call_without_address(&mut command);
    assert!(!said.contains(downloads), "one's own is taken: {said}");

    let Ok(()) = std::os::unix::fs::chown(&beside, Some(65_534), None) else {
        return say_skipped(
            "a_program_that_somebody_else_owns",
            &"only root gives files away",
        );
    };
    let (code, said) = call_without_address(&mut command);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(downloads) && said.contains("passed over"),
        "{said}"
    );
}

#[test]
fn a_daemon_that_any_user_may_have_started_is_not_trusted() {
    const TEST: &str = "a_daemon_that_any_user_may_have_started_is_not_trusted";
    if Path::new("/usr/local/bin/hidps-agent").exists() || Path::new("/etc/hidps").exists() {
        return say_skipped(TEST, &"an agent is installed on this machine");
    }
    let listener = match std::net::TcpListener::bind("127.0.0.1:8443") {
        Ok(listener) => listener,
        Err(error) => return say_skipped(TEST, &error),
    };
    let arguments = ["--agent-id", AGENT, "--dry-run", "--no-start"];
    let answering = listener.try_clone().expect("a socket can be shared");
    std::thread::spawn(move || {
        for stream in answering.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            let (mut stream, mut request) = (stream, [0; 4_096]);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhidpsd";
            if stream.read(&mut request).is_ok() {
                stream.write_all(answer).ok();
            }
        }
    });
    let call = || {
        let mut command = Command::new("sh");
        command.arg(SCRIPT).args(arguments).stdin(Stdio::null());
        call_without_address(&mut command)
    };
    if std::os::unix::fs::fchown(&listener, Some(65_534), None).is_err() {
        return say_skipped(TEST, &"only root gives sockets away");
    }

    let (code, said) = call();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("belongs to the user 65534"), "{said}");

    std::os::unix::fs::fchown(&listener, Some(0), None).expect("it is taken back");
    let (code, said) = call();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the daemon runs on this host"), "{said}");
}

/// The script without its last line, which would install something, and with another one.
fn with_last_line(line: &str) -> String {
    let script = std::fs::read_to_string(SCRIPT).expect("it is there");
    let (functions, _) = script
        .rsplit_once("main \"$@\"; }")
        .expect("its last line calls main");
    format!("{functions}CA_FILE=''\n{line}; }}\n")
}

/// Calls a function of the script where there are only these programs.
fn call_with(programs: &Path, line: &str) -> (Option<i32>, String) {
    let output = Command::new("/bin/sh")
        .args(["-c", &with_last_line(line), "sh"])
        .env_clear()
        .env("PATH", programs)
        .stdin(Stdio::null())
        .output()
        .expect("sh is everywhere");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A server on loopback that gives one answer to everybody.
fn answer_all(answer: String) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            use std::io::{Read as _, Write as _};
            if stream.read(&mut [0; 4_096]).is_ok() {
                stream.write_all(answer.as_bytes()).ok();
            }
        }
    });
    address
}

/// The daemon's certificate vouches for the daemon, and for nobody it might name.
#[test]
fn no_download_follows_a_redirection() {
    let body = "#!/bin/sh of somebody else";
    let elsewhere = answer_all(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ));
    let moved = answer_all(format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    ));
    for program in ["curl", "wget"] {
        let (Some(found), Some(grep)) = (find_program(program), find_program("grep")) else {
            say_skipped(
                "no_download_follows_a_redirection",
                &format!("{program} is missing"),
            );
            continue;
        };
        let folder = tempfile::tempdir().expect("a folder can be made");
        for path in [&found, &grep] {
            let name = path.file_name().expect("a program has a name");
            std::os::unix::fs::symlink(path, folder.path().join(name)).expect("linked");
        }
        let file = folder.path().join("fetched");

        let (_, text) = call_with(folder.path(), &format!("fetch http://{moved}/ 20 -"));
        let line = format!("fetch http://{moved}/ 600 {}", file.display());
        call_with(folder.path(), &line);
        let (_, direct) = call_with(folder.path(), &format!("fetch http://{elsewhere}/ 20 -"));

        assert!(!text.contains(body), "{program}: {text}");
        assert!(
            !std::fs::read_to_string(&file).is_ok_and(|file| file.contains(body)),
            "{program}"
        );
        assert!(direct.contains(body), "{program}: {direct}");
    }
}

#[test]
fn a_wget_that_follows_redirections_is_not_used() {
    let Some(grep) = find_program("grep") else {
        return say_skipped("a_wget_that_follows_redirections_is_not_used", &"no grep");
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::os::unix::fs::symlink(grep, folder.path().join("grep")).expect("linked");
    let wget = folder.path().join("wget");
    std::fs::write(&wget, "#!/bin/sh\necho fetched\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wget, mode).expect("it is ours");

    let (code, said) = call_with(folder.path(), "fetch https://hidps.example.org/x 20 -");

    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("install curl"), "{said}");
}

/// A loss of power leaves names of files without what is in them, unless that was on the disk before.
#[test]
fn a_file_is_on_the_disk_before_it_gets_its_name() {
    let test = "a_file_is_on_the_disk_before_it_gets_its_name";
    let folder = tempfile::tempdir().expect("a folder can be made");
    let at = |name: &str| folder.path().join(name);
    // Only root gives files away.
    for (name, program) in [
        ("cp", "cp"),
        ("chmod", "chmod"),
        ("mkdir", "mkdir"),
        ("dirname", "dirname"),
        ("chown", "true"),
    ] {
        let Some(found) = find_program(program) else {
            return say_skipped(test, &format!("{program} is missing"));
        };
        std::os::unix::fs::symlink(found, at(name)).expect("linked");
    }
    for program in ["sync", "mv"] {
        let script = format!("#!/bin/sh\necho {program} \"$@\"\n");
        std::fs::write(at(program), script).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(at(program), mode).expect("it is ours");
    }
    std::fs::write(at("kept"), "old").expect("written");
    std::fs::write(at("new"), "new").expect("written");
    let line = format!(
        "cd {}; DRY_RUN=0 BEGUN=new; keep_previous kept; replace_file new kept 644",
        folder.path().display()
    );

    let (code, said) = call_with(folder.path(), &line);

    assert_eq!(code, Some(0), "{said}");
    let order = "sync kept.hidps-copy\nmv -f kept.hidps-copy kept.hidps-previous\n\
                 sync kept.hidps-new\nmv -f kept.hidps-new kept\n";
    assert_eq!(said, order);
}

/// What nothing else could take back keeps the program there, unless all is to go.
#[test]
fn an_agent_whose_rules_stay_in_ufw_is_not_removed_unless_everything_is() {
    let test = "an_agent_whose_rules_stay_in_ufw_is_not_removed_unless_everything_is";
    let folder = tempfile::tempdir().expect("a folder can be made");
    let Some(grep) = find_program("grep") else {
        return say_skipped(test, &"grep is missing");
    };
    std::os::unix::fs::symlink(grep, folder.path().join("grep")).expect("linked");
    for program in ["ufw", "withdrawing"] {
        let path = folder.path().join(program);
        std::fs::write(&path, "#!/bin/sh\nexit 1\n").expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it is ours");
    }
    let rules = folder.path().join("user.rules");
    let call = |text: &str, purge: u8| {
        std::fs::write(&rules, text).expect("written");
        let line = format!(
            "cd {}; DRY_RUN=0 PURGE={purge} UFW_DIR=. TARGET=./withdrawing; take_back_or_stay",
            folder.path().display()
        );
        call_with(folder.path(), &line)
    };
    let tuple = "### tuple ### allow tcp 80 0.0.0.0/0 any 0.0.0.0/0 in_+ comment=";
    // In hexadecimal: of the agent a word and a colon, of somebody another word.
    let (ours, theirs) = (
        format!("{tuple}68696470733a72756c65\n"),
        format!("{tuple}77656273697465\n"),
    );

    let (code, said) = call(&ours, 0);
    assert_eq!(code, Some(12), "{said}");
    assert!(said.contains("its program stays"), "{said}");
    let (code, said) = call(&ours, 1);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("still there"), "{said}");
    let (code, said) = call(&theirs, 0);
    assert_eq!((code, &*said), (Some(0), ""));
}

/// What cannot be put back keeps nothing else from it, and is named.
#[test]
fn each_file_is_put_back_whatever_becomes_of_the_others() {
    let test = "each_file_is_put_back_whatever_becomes_of_the_others";
    let folder = tempfile::tempdir().expect("a folder can be made");
    let at = |name: &str| folder.path().join(name);
    for program in ["cat", "mv", "rm", "rmdir"] {
        let Some(found) = find_program(program) else {
            return say_skipped(test, &format!("{program} is missing"));
        };
        std::os::unix::fs::symlink(found, at(program)).expect("linked");
    }
    for (name, text) in [
        ("stuck.hidps-absent", ""),
        ("kept", "new"),
        ("kept.hidps-previous", "old"),
        ("added", "new"),
        ("added.hidps-absent", ""),
    ] {
        std::fs::write(at(name), text).expect("written");
    }
    // No file that could be removed.
    std::fs::create_dir(at("stuck")).expect("made");
    let line = format!(
        "cd {}; FILES='stuck kept added' UNIT=unit BEGUN=begun; undo || printf '%s' \"$stuck\"",
        folder.path().display()
    );

    let (_, said) = call_with(folder.path(), &line);

    assert!(said.contains("could not put back: stuck;"), "{said}");
    assert_eq!(std::fs::read(at("kept")).expect("read"), b"old", "{said}");
    for gone in ["added", "added.hidps-absent", "kept.hidps-previous"] {
        assert!(!at(gone).exists(), "{gone}: {said}");
    }
}
