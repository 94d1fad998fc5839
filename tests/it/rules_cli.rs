//! `hidpsd rules …` as a person or a script runs it: what it prints, and what it exits with.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A rule without a proof or a description, beside a correlation that counts it.
const RULE: &str = "title: Root failed\nid: 3d5280b1-aa92-4ad7-a69a-552518866401\nname: failed\n\
    status: test\nauthor: Somebody\ndate: 2026-11-21\ntags: [attack.t1110]\n\
    logsource: {product: linux, service: sshd}\n\
    detection:\n  s: {user: root, outcome: failure}\n  condition: s\nlevel: low\n\
    ---\ntitle: Root failed often\nid: 3d5280b1-aa92-4ad7-a69a-552518866402\nname: often\n\
    status: test\ncorrelation:\n  type: event_count\n  rules: [failed]\n  group-by: [src_ip]\n\
    \x20 timespan: 60s\n  condition: {gte: 2}\nlevel: high\nhidps: {risk: 66, shadow: true}\n";

/// Its proof.
const PROOF: &str = "logsource: {product: linux, service: sshd}\n\
    fields: {user: root, outcome: failure, src_ip: 192.0.2.7}\ncases:\n\
    \x20 - {name: once, rule: failed, events: [{at: 0s}], match: 1}\n\
    \x20 - {name: other, rule: failed, events: [{fields: {user: bob}}], match: none}\n\
    \x20 - {name: twice, rule: often, events: [{times: 2}], match: 1}\n\
    \x20 - {name: too slow, rule: often, events: [{times: 2, every: 61s}], match: none}\n";

/// A failed login of root at this second of a minute, as agents send it.
fn event(second: u32, user: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-11-21T10:00:{second:02}Z","type":"login","service":"sshd","message":"Failed password for {user} from 192.0.2.7 port 4 ssh2","fields":{{"outcome":"failure","user":"{user}","src_ip":"192.0.2.7"}}}}"#
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        let path = folder.path().join(name);
        let parent = path.parent().expect("it is below the folder");
        fs::create_dir_all(parent).expect("the folder can be made");
        fs::write(path, text).expect("the file can be written");
    }
    folder
}

fn good() -> TempDir {
    folder(&[("root.yml", RULE), ("root.test.yml", PROOF)])
}

/// What a run said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.out);
        parsed.unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

fn rules(verb: &str, directory: &Path, arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hidpsd"))
        .args(["rules", verb])
        .arg(directory)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon's program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A run that refuses its arguments does not read what it is given.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    Said {
        code: output.status.code().expect("it ends by itself"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[test]
fn test_says_what_would_be_loaded_and_fails_for_what_would_not() {
    let passed = rules("test", good().path(), &[], "");
    assert_eq!((passed.code, passed.err.as_str()), (0, ""));
    assert!(
        passed
            .out
            .starts_with("2 rules compiled, 1 test files passed, set ")
    );

    let wrong = PROOF.replace("times: 2}], match: 1", "times: 2}], match: 2");
    let wrong = folder(&[("root.yml", RULE), ("root.test.yml", &wrong)]);
    let failed = rules("test", wrong.path(), &[], "");
    assert_eq!((failed.code, failed.out.as_str()), (1, ""));
    assert!(
        failed.err.contains("root.test.yml: case 'twice'"),
        "{}",
        failed.err
    );

    let failed = rules("test", wrong.path(), &["--json"], "");
    assert_eq!(failed.code, 1);
    assert_eq!(failed.json()["reason"], "TestsFailed");
    assert_eq!(failed.json()["faults"][0]["file"], "root.test.yml");
    assert_eq!(
        rules("test", good().path(), &["--json"], "").json()["loads"],
        true
    );
}

#[test]
fn lint_tells_errors_from_advice_and_exits_by_the_worst() {
    let said = rules("lint", good().path(), &[], "");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out
            .contains("root.yml:1:1: advice: there is no 'description'"),
        "{}",
        said.out
    );
    assert!(said.out.ends_with("pieces of advice\n"), "{}", said.out);

    let doubtful = RULE
        .replace("level: low", "level: low\nfoo: {}")
        .replace("status: test", "status: deprecated");
    let doubtful = folder(&[("root.yml", &doubtful)]);
    assert_eq!(rules("lint", doubtful.path(), &[], "").code, 0);
    assert_eq!(rules("lint", doubtful.path(), &["--strict"], "").code, 1);

    let broken = folder(&[("root.yml", &RULE.replace("user:", "user|contain:"))]);
    let said = rules("lint", broken.path(), &["--json"], "");
    assert_eq!(said.code, 1);
    let findings = said.json()["findings"].clone();
    let error = findings
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["severity"] == "error");
    let error = error.expect("it is found");
    assert_eq!(
        (&error["file"], &error["line"]),
        (&"root.yml".into(), &10.into()),
        "{error}"
    );
}

#[test]
fn list_shows_every_rule_the_worst_first() {
    let said = rules("list", good().path(), &[], "");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(lines[0].starts_with("LEVEL  RISK  MODE"), "{}", said.out);
    assert!(
        lines[1].contains("66  shadow  correlation  Root failed often"),
        "{}",
        said.out
    );
    assert!(
        lines[2].contains("20  alert   linux/sshd   Root failed"),
        "{}",
        said.out
    );

    let json = rules("list", good().path(), &["--json"], "").json();
    let rule = &json["rules"][1];
    assert_eq!(rule["logsource"]["service"], "sshd");
    assert_eq!(rule["tags"][0], "attack.t1110");
    assert_eq!(json["rules"][0]["shadow"], true);
}

#[test]
fn explain_says_which_line_of_a_rule_an_event_misses() {
    let said = rules(
        "explain",
        good().path(),
        &["--event", "-", "--rule", "failed"],
        &event(1, "bob"),
    );
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("does not match"), "{}", said.out);
    assert!(
        said.out.contains("user: 'root' does not hold"),
        "{}",
        said.out
    );
    assert!(said.out.contains("seen: 'bob'"), "{}", said.out);
    assert!(said.out.ends_with("0 of 1 rules match\n"), "{}", said.out);

    let file = folder(&[("event.json", &event(1, "root"))]);
    let path = file.path().join("event.json");
    let path = path.to_str().expect("it is text");
    let json = rules("explain", good().path(), &["--event", path, "--json"], "").json();
    assert_eq!(json["rules"][0]["verdict"], "matched");
    assert_eq!(
        json["rules"][0]["selections"][0]["items"][0]["seen"][0],
        "root"
    );
}

#[test]
fn a_raw_line_is_explained_as_the_agent_would_send_it() {
    let line = "Failed password for root from 192.0.2.7 port 4 ssh2";
    let full = format!("Nov 21 10:00:00 web-01 sshd[7]: {line}\n");
    for (line, program) in [(line, "sshd"), (full.as_str(), "unknown")] {
        let arguments = ["--event", "-", "--program", program, "--json"];
        let said = rules("explain", good().path(), &arguments, line);
        assert_eq!(
            said.json()["rules"][0]["verdict"],
            "matched",
            "{}",
            said.out
        );
    }

    // Five lines as rsyslog joins them: four are counted before the one that is explained.
    let joined = format!("message repeated 5 times: [ {line}]");
    let arguments = [
        "--event",
        "-",
        "--program",
        "sshd",
        "--rule",
        "often",
        "--json",
    ];
    let said = rules("explain", good().path(), &arguments, &joined).json();
    assert_eq!(said["rules"][0]["verdict"], "matched", "{said}");
    assert_eq!(said["rules"][0]["window"]["number"], 5.0, "{said}");
}

#[test]
fn explain_leaves_rules_for_other_log_sources_out_unless_asked() {
    let event = event(1, "root").replace("sshd", "cron");

    let few = rules(
        "explain",
        good().path(),
        &["--event", "-", "--rule", "failed"],
        &event,
    );
    assert!(
        few.out.contains("is not tried: service is cron, not sshd"),
        "{}",
        few.out
    );
    let few = rules("explain", good().path(), &["--event", "-"], &event);
    assert!(
        few.out.contains("1 more are for other log sources"),
        "{}",
        few.out
    );
    let all = rules("explain", good().path(), &["--event", "-", "--all"], &event);
    assert!(all.out.contains("is not tried"), "{}", all.out);
}

#[test]
fn bench_names_the_rules_by_their_cost() {
    let said = rules("bench", good().path(), &["--millis", "1"], "");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.starts_with("NS/EVENT"), "{}", said.out);
    assert!(said.out.contains("Root failed"), "{}", said.out);

    let events = format!("{}\n{}\n", event(1, "root"), event(2, "bob"));
    let said = rules(
        "bench",
        good().path(),
        &["--millis", "1", "--json", "--events", "-"],
        &events,
    );
    let json = said.json();
    assert_eq!(json["events"], 2);
    assert_eq!(json["rules"][0]["title"], "Root failed");
    assert!(json["rules"][0]["hits"].as_u64() > Some(0), "{json}");
}

#[test]
fn what_cannot_be_read_is_said_with_what_to_do() {
    let missing = rules("list", Path::new("/nonexistent"), &[], "");
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    assert!(missing.err.contains("/nonexistent"), "{}", missing.err);

    let text = rules(
        "explain",
        good().path(),
        &["--event", "-"],
        "Failed password for root",
    );
    assert_eq!(text.code, 1);
    assert!(text.err.contains("line 1 is no event"), "{}", text.err);
    assert!(text.err.contains("--program sshd"), "{}", text.err);

    let stranger = rules(
        "explain",
        good().path(),
        &["--event", "-", "--rule", "x"],
        &event(1, "a"),
    );
    assert_eq!(stranger.code, 1);
    assert!(
        stranger.err.contains("`rules list` shows them"),
        "{}",
        stranger.err
    );
}

#[test]
fn wrong_arguments_are_refused_with_a_tip() {
    let said = rules("list", Path::new("x"), &["--jsno"], "");

    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("a similar argument exists: '--json'"),
        "{}",
        said.err
    );
    assert_eq!(rules("explain", Path::new("x"), &[], "").code, 2);
    assert_eq!(
        rules("bench", Path::new("x"), &["--millis", "0"], "").code,
        2
    );
    assert_eq!(rules("lnit", Path::new("x"), &[], "").code, 2);
}

#[test]
fn match_plays_a_stream_and_tells_each_match_as_one_line() {
    let stream: String = [(1, "root"), (2, "bob"), (3, "root"), (4, "root")]
        .map(|(second, user)| event(second, user) + "\n")
        .concat();

    let said = rules(
        "match",
        good().path(),
        &["--events", "-", "--json"],
        &stream,
    );

    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let matches: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is one object"))
        .collect();
    let seen: Vec<_> = matches
        .iter()
        .map(|one| (one["event"].as_u64(), one["window"]["count"].as_u64()))
        .collect();
    assert_eq!(seen, [(Some(3), Some(2)), (Some(4), Some(3))]);
    assert_eq!(matches[0]["title"], "Root failed often");
    assert_eq!(matches[0]["at"], "2026-11-21T10:00:03Z");
    assert_eq!(matches[0]["window"]["group"]["src_ip"], "192.0.2.7");

    let said = rules("match", good().path(), &["--events", "-"], &stream);
    assert!(
        said.out.ends_with("2 matches of 2 rules over 4 events\n"),
        "{}",
        said.out
    );
}

#[test]
fn match_takes_bare_fields_of_a_log_source_at_their_own_times() {
    let bare = |second: u32, user: &str| {
        format!(
            r#"{{"when":"2026-11-21T10:00:{second:02}Z","user":"{user}","outcome":"failure","src_ip":"192.0.2.7"}}"#
        ) + "\n"
    };
    let arguments = |source| ["--events", "-", "--logsource", source, "--time", "when"];
    let play = |source, input: &str| rules("match", good().path(), &arguments(source), input);
    let stream = bare(1, "root") + &bare(9, "root");

    let said = play("product=linux,service=sshd", &stream);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("event 2: high Root failed often"));
    assert!(said.out.ends_with("1 matches of 2 rules over 2 events\n"));

    let elsewhere = play("product=windows", &stream);
    assert!(elsewhere.out.starts_with("0 matches"), "{}", elsewhere.out);

    let broken = play("product=linux,service=sshd", &format!("{stream}[1]\n"));
    assert_eq!(broken.code, 1);
    assert!(broken.err.contains("line 3 is no event"), "{}", broken.err);

    let wrong = play("prodct=linux", &stream);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("write category="), "{}", wrong.err);
}

#[test]
fn pipelines_and_placeholders_are_used_and_linted_like_the_rules() {
    let text = "title: Admin\nid: 5d5280b1-aa92-4ad7-a69a-552518866401\n\
                logsource: {product: linux, service: sshd}\n\
                detection:\n  s: {Account|expand: '%admins%'}\n  condition: s\nlevel: high\n";
    let proof = "logsource: {product: linux, service: sshd}\ncases:\n  \
                 - {name: they, events: [{fields: {user: root}}], match: 1}\n  \
                 - {name: others, events: [{fields: {user: eve}}], match: none}\n";
    let pipeline = "name: Names\ntransformations:\n  \
                    - {type: field_name_mapping, mapping: {Account: user}}\n";
    let place = folder(&[("rules/admin.yml", text), ("rules/admin.test.yml", proof)]);
    let more = folder(&[
        ("pipelines/names.yml", pipeline),
        ("admins.yml", "admins: [root]\n"),
    ]);
    let (directory, root) = (place.path().join("rules"), more.path());
    let (pipelines, placeholders) = (root.join("pipelines"), root.join("admins.yml"));
    let paths = [&pipelines, &placeholders].map(|path| path.to_str().expect("it is text"));
    let with = ["--pipelines", paths[0], "--placeholders", paths[1]];

    assert_eq!(
        rules("test", &directory, &[], "").code,
        1,
        "without them it is no rule"
    );
    for verb in ["test", "lint", "list", "bench"] {
        let said = rules(verb, &directory, &with, "");
        assert_eq!(said.code, 0, "{verb}: {}{}", said.out, said.err);
    }

    fs::write(root.join("pipelines/names.yml"), "name: [").expect("written");
    let said = rules("lint", &directory, &with, "");
    assert_eq!(said.code, 1);
    assert!(
        said.out.contains("pipelines/names.yml:2:1:"),
        "{}",
        said.out
    );
}
