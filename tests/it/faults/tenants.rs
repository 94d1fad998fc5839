//! What an organization wants of detection, by rows alone, while real logins stream.

use std::fs;
use std::time::Duration;

use hidps_lab::say_skipped;
use hidps_lab::world::person::Person;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{AGENT, ORGANIZATION, STRANGER, VIEWER, World};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::shared::with_world;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a suppression of a test holds: far longer than the test takes.
const SILENCE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// How soon it ends when its row says so.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_secs(3);

/// A user that nobody else tries, and a built-in rule about him.
struct Subject {
    folder: TempDir,
    user: String,
    built_in: String,
}

impl Subject {
    fn new() -> Self {
        let id = Uuid::new_v4();
        let subject = Self {
            folder: tempfile::tempdir().expect("a folder can be made"),
            user: format!("u{}", id.simple()).chars().take(9).collect(),
            built_in: id.to_string(),
        };
        let proof = format!(
            "logsource: {{product: linux, service: sshd}}\ncases:\n\
             \x20 - {{name: it, events: [{{fields: {{user: {user}, outcome: failure}}}}], match: 1}}\n\
             \x20 - {{name: not, events: [{{fields: {{user: root}}}}], match: none}}\n",
            user = subject.user
        );
        let rule = subject.rule("Built-in", &subject.built_in);
        for (name, text) in [("r.test.yml", proof), ("r.yml", rule)] {
            fs::write(subject.folder.path().join(name), text).expect("the rule can be written");
        }
        subject
    }

    fn title(&self, kind: &str) -> String {
        format!("{kind} rule about {}", self.user)
    }

    /// The text of a rule about failed logins of the user.
    fn rule(&self, kind: &str, id: &str) -> String {
        format!(
            "title: {}\nid: {id}\nstatus: test\nlogsource: {{product: linux, service: sshd}}\n\
             detection:\n  s: {{user: {}, outcome: failure}}\n  condition: s\nlevel: high\n",
            self.title(kind),
            self.user
        )
    }

    /// A row with a rule of an organization's own.
    fn row(&self, org: &str, kind: &str) -> Value {
        let body = self.rule(kind, &Uuid::new_v4().to_string());
        json!({"org_id": org, "name": self.title(kind), "body": body})
    }

    /// Tries to log in with a wrong password.
    fn fail_login(&self, world: &World) -> bool {
        let Some(ssh) = world.host.ssh() else {
            say_skipped(
                "logins under an organization's rules",
                &"this host has no sshd",
            );
            return false;
        };
        ssh.fail_login(world.host.namespace(), &self.user, 1)
            .expect("sshd refuses the login");
        true
    }

    async fn alerts(&self, world: &World, kind: &str) -> usize {
        let alerts = world.outside().list_alerts(AGENT, &self.title(kind)).await;
        alerts.expect("readable").len()
    }

    async fn wait_alert(&self, world: &World, kind: &str) -> i16 {
        let alerted = wait_until("an alert", PATIENCE, async || {
            let title = self.title(kind);
            let alerts = world.outside().list_alerts(AGENT, &title).await;
            let first = alerts
                .map_err(|error| error.to_string())?
                .into_iter()
                .next();
            first
                .map(|alert| alert.severity)
                .ok_or_else(|| "no alert".to_owned())
        });
        match alerted.await {
            Ok((severity, _)) => severity,
            Err(error) => panic!("{error}\ndaemon:\n{}", world.daemon.log()),
        }
    }
}

fn with_subject(test: impl AsyncFnOnce(&mut World, &Subject)) {
    let subject = Subject::new();
    let path = subject.folder.path().display().to_string();
    with_world(&[("HIDPS_RULES_DIR", &path)], async |world| {
        test(world, &subject).await;
        for table in ["detection_rules", "detection_overrides", "suppressions"] {
            let all = json!({"org_id": ORGANIZATION});
            world.admin.delete(table, all).await.expect("an admin may");
        }
    });
}

/// Waits until the daemon has judged a row as it is; gives the row.
async fn wait_judged(person: &mut Person, table: &str, row: &Value) -> Value {
    let begun = tokio::time::Instant::now();
    loop {
        let found = person.select(table, json!({"id": row["id"]})).await;
        let found = found.expect("members may read")[0].clone();
        if found["observed_version"] == found["version"] {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody judged {found}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Inserts a row and waits until it is in force.
async fn put_in_force(person: &mut Person, table: &str, row: Value) -> Value {
    let row = person.insert(table, row).await.expect("an admin may");
    let judged = wait_judged(person, table, &row).await;
    assert_eq!(judged["status"], "accepted", "{judged}");
    judged
}

#[test]
fn an_organizations_rule_raises_alerts_for_its_own_agents_only() {
    with_subject(async |world, subject| {
        let mut stranger = world.sign_in(STRANGER).await.expect("she may");
        let orgs = stranger.select("organizations", json!({})).await;
        let other = orgs.expect("her own")[0]["id"].clone();
        let other = other.as_str().expect("an id");
        put_in_force(
            &mut stranger,
            "detection_rules",
            subject.row(other, "Foreign"),
        )
        .await;
        let own = subject.row(ORGANIZATION, "Own");
        put_in_force(&mut world.admin, "detection_rules", own).await;

        if subject.fail_login(world) {
            subject.wait_alert(world, "Own").await;
            subject.wait_alert(world, "Built-in").await;
            assert_eq!(subject.alerts(world, "Foreign").await, 0);
        }
        let all = json!({"org_id": other});
        stranger
            .delete("detection_rules", all)
            .await
            .expect("her own");
    });
}

#[test]
fn an_override_silences_a_built_in_rule_and_gives_it_another_level() {
    with_subject(async |world, subject| {
        let wanted = json!({"org_id": ORGANIZATION, "rule_id": subject.built_in, "enabled": false});
        let silent = put_in_force(&mut world.admin, "detection_overrides", wanted).await;
        let marker = subject.row(ORGANIZATION, "Own");
        put_in_force(&mut world.admin, "detection_rules", marker).await;
        if !subject.fail_login(world) {
            return;
        }
        subject.wait_alert(world, "Own").await;
        assert_eq!(subject.alerts(world, "Built-in").await, 0);

        let id = json!({"id": silent["id"]});
        let change = json!({"enabled": true, "level": "critical"});
        let changed = world.admin.update("detection_overrides", change, id).await;
        changed.expect("an admin may");
        let judged = wait_judged(&mut world.admin, "detection_overrides", &silent).await;
        assert_eq!(judged["status"], "accepted", "{judged}");
        subject.fail_login(world);

        assert_eq!(subject.wait_alert(world, "Built-in").await, 4);
    });
}

#[test]
fn a_suppression_silences_counts_and_expires() {
    with_subject(async |world, subject| {
        let until = jiff::Timestamp::now() + SILENCE;
        let wanted = json!({
            "org_id": ORGANIZATION, "rule_id": subject.built_in, "field": "user",
            "value": subject.user, "until": until.to_string(), "note": "a test",
        });
        let silence = put_in_force(&mut world.admin, "suppressions", wanted).await;
        if !subject.fail_login(world) {
            return;
        }
        let begun = tokio::time::Instant::now();
        loop {
            let row = world
                .admin
                .select("suppressions", json!({"id": silence["id"]}))
                .await;
            let row = row.expect("readable")[0].clone();
            if row["suppressed"].as_i64() > Some(0) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing was suppressed: {row}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(subject.alerts(world, "Built-in").await, 0);

        let until = jiff::Timestamp::now() + SOON;
        let (id, soon) = (
            json!({"id": silence["id"]}),
            json!({"until": until.to_string()}),
        );
        let changed = world.admin.update("suppressions", soon, id).await;
        changed.expect("an admin may");
        wait_judged(&mut world.admin, "suppressions", &silence).await;
        let over = wait_until("the end of the silence", PATIENCE, async || {
            if jiff::Timestamp::now() < until {
                Err("it is silent".to_owned())
            } else {
                Ok(())
            }
        });
        over.await.expect("time passes");
        subject.fail_login(world);

        subject.wait_alert(world, "Built-in").await;
    });
}

#[test]
fn a_bad_rule_is_refused_in_its_row_with_its_place_and_nothing_else_changes() {
    with_subject(async |world, subject| {
        let good = subject.row(ORGANIZATION, "Own");
        put_in_force(&mut world.admin, "detection_rules", good).await;
        let mut bad = subject.row(ORGANIZATION, "Bad");
        let body = bad["body"]
            .as_str()
            .expect("a text")
            .replace("condition: s", "condition: t");
        bad["body"] = json!(body);

        let row = world
            .admin
            .insert("detection_rules", bad)
            .await
            .expect("an admin may");
        let judged = wait_judged(&mut world.admin, "detection_rules", &row).await;

        assert_eq!(judged["status"], "refused", "{judged}");
        assert_eq!(
            (&judged["fault_line"], &judged["fault_column"]),
            (&json!(7), &json!(14))
        );
        assert!(
            judged["reason"]
                .as_str()
                .is_some_and(|why| why.contains("'t'")),
            "{judged}"
        );
        if subject.fail_login(world) {
            subject.wait_alert(world, "Own").await;
            subject.wait_alert(world, "Built-in").await;
        }
    });
}

#[test]
fn another_organization_can_neither_read_nor_write_any_of_it() {
    with_subject(async |world, subject| {
        let mut rows = vec![
            (
                "detection_rules",
                subject.row(ORGANIZATION, "Own"),
                json!({"enabled": false}),
            ),
            (
                "detection_overrides",
                json!({"org_id": ORGANIZATION, "rule_id": subject.built_in}),
                json!({"enabled": false}),
            ),
            (
                "suppressions",
                json!({"org_id": ORGANIZATION, "rule_id": "x", "note": "a test"}),
                json!({"note": "other"}),
            ),
        ];
        let mut stranger = world.sign_in(STRANGER).await.expect("she may");
        let mut viewer = world.sign_in(VIEWER).await.expect("he may");
        for (table, row, change) in &mut rows {
            let own = world
                .admin
                .insert(table, row.clone())
                .await
                .expect("an admin may");
            let id = json!({"id": own["id"]});

            let refused = stranger
                .insert(table, row.clone())
                .await
                .expect_err("not hers");
            assert_eq!(refused.code(), Some("42501"), "{table}");
            for touched in [
                stranger.select(table, id.clone()).await,
                stranger.update(table, change.clone(), id.clone()).await,
                stranger.delete(table, id.clone()).await,
            ] {
                assert_eq!(touched.expect("no error, no row"), json!([]), "{table}");
            }
            let read_only = viewer.update(table, change.clone(), id.clone()).await;
            assert_eq!(
                read_only.expect_err("he reads").code(),
                Some("42501"),
                "{table}"
            );
            let forged = world
                .admin
                .update(table, json!({"status": "accepted"}), id)
                .await;
            assert_eq!(
                forged.expect_err("observed").code(),
                Some("42501"),
                "{table}"
            );
        }
    });
}

#[test]
fn a_rule_on_trial_is_counted_and_what_is_raised_makes_the_risk_of_its_agent() {
    with_subject(async |world, subject| {
        let mut row = subject.row(ORGANIZATION, "Trial");
        row["shadow"] = json!(true);
        put_in_force(&mut world.admin, "detection_rules", row).await;
        if !subject.fail_login(world) {
            return;
        }
        subject.wait_alert(world, "Built-in").await;

        let begun = tokio::time::Instant::now();
        loop {
            let trial = json!({"title": subject.title("Trial")});
            let trial = world
                .admin
                .select("shadow_matches", trial)
                .await
                .expect("readable");
            let risk = world
                .admin
                .select("agent_risk", json!({"agent_id": AGENT}))
                .await;
            let risk = risk.expect("readable");
            if trial[0]["matches"].as_i64() >= Some(1) && risk[0]["score"].as_i64() >= Some(70) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "trial {trial}, risk {risk}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(subject.alerts(world, "Trial").await, 0);
    });
}
