//! Rules that are changed while real logins stream through the daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hidps_lab::say_skipped;
use hidps_lab::world::probe::{http_get, wait_until};
use hidps_lab::world::{AGENT, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::health::wait_health;
use super::shared::with_world;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of rules of a test's own, about a user that nobody else tries.
struct Rules {
    folder: TempDir,
    user: String,
    /// The rule that counts.
    burst: Uuid,
    /// The rule that is counted.
    failure: Uuid,
}

impl Rules {
    fn new() -> Self {
        let rules = Self {
            folder: tempfile::tempdir().expect("a folder can be made"),
            user: format!("u{:x}", Uuid::new_v4().as_u128() >> 96),
            burst: Uuid::new_v4(),
            failure: Uuid::new_v4(),
        };
        rules.write("failure", rules.failure, "low", "Failed login", "failure");
        rules
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Writes a rule about failed logins of the user, with its proof, the rule last.
    fn write(&self, name: &str, id: Uuid, level: &str, title: &str, outcome: &str) {
        let Self { folder, user, .. } = self;
        let rule = format!(
            "title: {title} of {user}\nid: {id}\nname: {user}_{name}\nstatus: test\n\
             logsource: {{product: linux, service: sshd}}\n\
             detection:\n  s: {{user: {user}, outcome: {outcome}}}\n  condition: s\n\
             level: {level}\n"
        );
        let proof = format!(
            "logsource: {{product: linux, service: sshd}}\ncases:\n\
             \x20 - {{name: it, events: [{{fields: {{user: {user}, outcome: failure}}}}], match: 1}}\n\
             \x20 - {{name: not, events: [{{fields: {{user: root}}}}], match: none}}\n"
        );
        write(folder.path(), &format!("{name}.test.yml"), &proof);
        write(folder.path(), &format!("{name}.yml"), &rule);
    }

    /// Writes the rule that wants five failures within ten minutes.
    fn write_burst(&self) {
        let Self { user, burst, .. } = self;
        let rule = format!(
            "title: Burst of {user}\nid: {burst}\nname: {user}_burst\nstatus: test\n\
             correlation:\n  type: event_count\n  rules: [{user}_failure]\n  group-by: [user]\n\
             \x20 timespan: 10m\n  condition: {{gte: 5}}\n  generate: true\nlevel: high\n"
        );
        let proof = format!(
            "logsource: {{product: linux, service: sshd}}\n\
             fields: {{user: {user}, outcome: failure}}\ncases:\n\
             \x20 - {{name: five, events: [{{times: 5, every: 1s}}], match: 1}}\n\
             \x20 - {{name: four, events: [{{times: 4, every: 1s}}], match: none}}\n"
        );
        write(self.folder.path(), "burst.test.yml", &proof);
        write(self.folder.path(), "burst.yml", &rule);
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the rule can be written");
}

fn with_rules(rules: &Rules, test: impl AsyncFnOnce(&mut World)) {
    let path = rules.path().display().to_string();
    with_world(
        &[("HIDPS_RULES_DIR", &path), ("HIDPS_CANARY_SECS", "1")],
        test,
    );
}

/// Tries to log in with a wrong password.
fn fail_logins(world: &World, rules: &Rules, times: usize) -> bool {
    let Some(ssh) = world.host.ssh() else {
        say_skipped("logins while rules change", &"this host has no sshd");
        return false;
    };
    ssh.fail_login(world.host.namespace(), &rules.user, times)
        .expect("sshd refuses the logins");
    true
}

async fn wait_alert(world: &World, title: &str) -> Value {
    let alerted = wait_until(title, PATIENCE, async || {
        let alerts = world.outside().list_alerts(AGENT, title).await;
        let alerts = alerts.map_err(|error| error.to_string())?;
        let first = alerts.into_iter().next();
        first
            .map(|alert| alert.explanation)
            .ok_or_else(|| "no alert".to_owned())
    });
    match alerted.await {
        Ok((explanation, _)) => explanation,
        Err(error) => panic!("{error}\ndaemon:\n{}", world.daemon.log()),
    }
}

/// Waits until the rule that is counted has matched this often.
async fn wait_failures(world: &World, rules: &Rules, n_failures: f64) {
    let name = format!("hidps_detections_total{{rule=\"{}\"}}", rules.failure);
    let counted = wait_until("counted failures", PATIENCE, async || {
        match world.daemon.metric(&name).await {
            Some(count) if count >= n_failures => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    counted.await.expect("the logins reach the rules");
}

/// What `/healthz` says of the rules.
async fn overview(world: &World) -> Value {
    let (status, body) = http_get(world.daemon.address(), "/healthz")
        .await
        .expect("it answers");
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).expect("it is JSON");
    body["rules"].clone()
}

async fn wait_in_force(world: &World, n_rules: usize) -> Value {
    let loaded = wait_until("the rules in force", PATIENCE, async || {
        let rules = overview(world).await;
        if rules["rules"] == n_rules && rules["refused"].is_null() {
            Ok(rules)
        } else {
            Err(rules.to_string())
        }
    });
    match loaded.await {
        Ok((rules, _)) => rules,
        Err(error) => panic!("{error}\ndaemon:\n{}", world.daemon.log()),
    }
}

async fn read_row(world: &mut World) -> Value {
    let rows = world
        .admin
        .select("system_health", json!({"type": "RulesLoaded"}))
        .await;
    rows.expect("everybody may read it")[0].clone()
}

#[test]
fn a_rule_written_while_events_stream_raises_its_alert() {
    let rules = Rules::new();
    with_rules(&rules, async |world| {
        if !fail_logins(world, &rules, 1) {
            return;
        }
        wait_failures(world, &rules, 1.0).await;

        rules.write("new", Uuid::new_v4(), "high", "New rule", "failure");
        wait_in_force(world, 2).await;
        fail_logins(world, &rules, 1);

        let why = wait_alert(world, &format!("New rule of {}", rules.user)).await;
        assert_eq!(why["rule_set"], overview(world).await["hash"]);
        wait_health(world, "RulesLoaded", "true", "Loaded").await;
        wait_health(world, "RulesWithinBudget", "true", "AllTried").await;
        let row = read_row(world).await;
        assert_eq!(row["details"]["rules"], 2, "{row}");
        assert_eq!(row["details"]["hash"], why["rule_set"], "{row}");
    });
}

#[test]
fn a_broken_rule_keeps_the_old_set_at_work_and_is_told_with_its_place() {
    let rules = Rules::new();
    rules.write("kept", Uuid::new_v4(), "high", "Kept rule", "failure");
    with_rules(&rules, async |world| {
        let before = wait_in_force(world, 2).await;

        let broken = "title: x\nlogsource: {product: linux}\ndetection:\n  s: {a|contain: b}\n";
        write(&rules.path(), "broken.yml", broken);
        wait_health(world, "RulesLoaded", "false", "NotCompiled").await;

        let row = read_row(world).await;
        let message = row["message"].as_str().unwrap_or_default();
        assert!(message.contains("broken.yml:"), "{row}");
        assert_eq!(row["details"]["faults"][0]["file"], "broken.yml", "{row}");
        assert!(row["details"]["faults"][0]["line"].is_number(), "{row}");
        assert_eq!(row["details"]["hash"], before["hash"], "{row}");
        assert!(world.daemon.log().contains("broken.yml:"));
        assert_eq!(overview(world).await["refused"]["reason"], "NotCompiled");
        if fail_logins(world, &rules, 1) {
            wait_alert(world, &format!("Kept rule of {}", rules.user)).await;
        }

        fs::remove_file(rules.path().join("broken.yml")).expect("removed");
        wait_health(world, "RulesLoaded", "true", "Loaded").await;
        assert_eq!(overview(world).await["loaded_at"], before["loaded_at"]);
    });
}

#[test]
fn failures_before_and_after_a_reload_are_one_burst() {
    let rules = Rules::new();
    rules.write_burst();
    with_rules(&rules, async |world| {
        if !fail_logins(world, &rules, 4) {
            return;
        }
        wait_failures(world, &rules, 4.0).await;

        rules.write("other", Uuid::new_v4(), "low", "Another rule", "failure");
        wait_in_force(world, 3).await;
        let burst = format!("Burst of {}", rules.user);
        let early = world.outside().list_alerts(AGENT, &burst).await;
        assert!(early.expect("readable").is_empty(), "four are no burst");
        fail_logins(world, &rules, 1);

        let why = wait_alert(world, &burst).await;
        assert_eq!(why["window"]["count"], 5, "{why}");
    });
}

#[test]
fn sighup_loads_the_rules_again_at_once() {
    let rules = Rules::new();
    with_rules(&rules, async |world| {
        let before = wait_in_force(world, 1).await;

        let killed = Command::new("kill")
            .args(["-HUP", &world.daemon.id().to_string()])
            .status();
        assert!(killed.expect("kill runs").success());

        let reloaded = wait_until("another load", PATIENCE, async || {
            let rules = overview(world).await;
            if rules["loaded_at"] == before["loaded_at"] {
                Err(rules.to_string())
            } else {
                Ok(rules)
            }
        });
        let (after, _) = reloaded.await.expect("the rules are loaded again");
        assert_eq!(after["hash"], before["hash"]);
    });
}
