//! A rule that is really too dear: suspended for the host whose lines make it so, told in a row and by
//! an alert, and tried again by itself.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use hidps_lab::say_skipped;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, World};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::shared::with_world;

/// Long enough for a machine busy with builds, and for a pause of a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Regular expressions that read a line to its end: enough that a try takes its time, and few enough
/// that hundreds of tries fit into ten seconds of a slow machine.
const N_PATTERNS: usize = 12;

/// Lines of one flood.
const N_LINES: usize = 500;

/// Characters of a line that nearly matches.
const LINE_CHARS: usize = 3_000;

/// A directory with one rule that is cheap on short lines and dear on long ones.
fn dear_rule(title: &str, id: Uuid) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let patterns = (1..=N_PATTERNS).map(|n| format!("'zq[a-x]+[0-9]{{{n}}}$'"));
    let patterns: Vec<String> = patterns.collect();
    let rule = format!(
        "title: {title}\nid: {id}\nstatus: test\nlogsource: {{product: linux, service: sshd}}\n\
         detection:\n  s: {{message|re: [{}]}}\n  condition: s\nlevel: high\n",
        patterns.join(", ")
    );
    let proof = "logsource: {product: linux, service: sshd}\ncases:\n\
                 \x20 - {name: it, events: [{message: zqab7}], match: 1}\n\
                 \x20 - {name: not, events: [{message: zqab}], match: none}\n";
    for (name, text) in [("dear.test.yml", proof), ("dear.yml", &rule)] {
        fs::write(folder.path().join(name), text).expect("the rule can be written");
    }
    folder
}

/// Writes lines into a log that the agent follows.
fn write_lines(log: &Path, line: &str, times: usize) {
    let mut log = File::options().append(true).open(log).expect("it is there");
    let lines = format!("{line}\n").repeat(times);
    log.write_all(lines.as_bytes()).expect("it can be written");
}

/// The row that says whether every rule is tried, as a person reads it.
async fn budget_row(world: &mut World) -> Result<serde_json::Value, String> {
    let wanted = json!({"type": "RulesWithinBudget"});
    let rows = world.admin.select("system_health", wanted).await;
    Ok(rows.map_err(|error| error.to_string())?[0].clone())
}

#[test]
fn a_rule_that_a_host_makes_too_dear_is_suspended_told_and_comes_back() {
    let (title, id) = (format!("Dear rule {}", Uuid::new_v4()), Uuid::new_v4());
    let folder = dear_rule(&title, id);
    let path = folder.path().display().to_string();
    with_world(&[("HIDPS_RULES_DIR", &path)], async |world| {
        let Some(log) = world.host.ssh().map(|ssh| ssh.log_path().to_owned()) else {
            say_skipped("a rule that is too dear", &"this host has no sshd");
            return;
        };
        let nearly = format!("zq{}", "abcdefgh".repeat(LINE_CHARS / 8));

        let suspended = wait_until("the suspension", PATIENCE, async || {
            write_lines(&log, &nearly, N_LINES);
            let row = budget_row(world).await?;
            match row["reason"] == "RuleSuspendedForSome" {
                true => Ok(row),
                false => Err(row.to_string()),
            }
        });
        let (row, _) = match suspended.await {
            Ok(found) => found,
            Err(error) => panic!("{error}\ndaemon:\n{}", world.daemon.log()),
        };
        assert_eq!(row["status"], "false", "{row}");
        let rule = &row["details"]["suspended"][0];
        assert_eq!(rule["id"], id.to_string(), "{row}");
        assert_eq!((&rule["agents"], &rule["workers"]), (&json!(1), &json!(0)));

        let alerted = wait_until("the alert", PATIENCE, async || {
            let title = "A rule is suspended";
            let alerts = world.outside().list_alerts(AGENT, title).await;
            let alerts = alerts.map_err(|error| error.to_string())?;
            let ours = alerts.iter().find(|alert| {
                alert.explanation["rule"]["id"] == id.to_string()
                    && alert.explanation["suspended_for"] == "agent"
            });
            ours.map(|_| ()).ok_or_else(|| "no alert".to_owned())
        });
        alerted.await.expect("the host's people are told");

        let back = wait_until("the end of the suspension", PATIENCE, async || {
            let row = budget_row(world).await?;
            match row["reason"] == "AllTried" {
                true => Ok(()),
                false => Err(row.to_string()),
            }
        });
        back.await.expect("it ends by itself");
        write_lines(&log, "zqab7", 1);
        let matched = wait_until("a match", PATIENCE, async || {
            let alerts = world.outside().list_alerts(AGENT, &title).await;
            let n_alerts = alerts.map_err(|error| error.to_string())?.len();
            (n_alerts > 0).then_some(()).ok_or("no alert".to_owned())
        });
        matched.await.expect("the rule is tried again");
    });
}
