//! A directory of rules that is edited, replaced, broken and taken away while the rules are in use.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::detection::load_rules;

/// Long enough for a machine busy with builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Quick enough for tests, and slow enough that a doubtful content is told from a quiet one.
const PACE: Pace = Pace {
    quiet: Duration::from_millis(50),
    sure: Duration::from_millis(1_500),
    pause: Duration::from_millis(200),
    patience: Duration::from_secs(60),
    look_every: Duration::from_secs(3_600),
};

/// A rule that looks for a user, with this number in its id.
fn rule(number: u32, user: &str) -> String {
    format!(
        "title: A login of {user}\nid: 5d5280b1-aa92-4ad7-a69a-5525188664{number:02}\n\
         status: test\nlogsource: {{product: linux, service: sshd}}\n\
         detection:\n  s: {{user: {user}}}\n  condition: s\nlevel: high\n"
    )
}

/// The proof of such a rule.
fn proof(user: &str) -> String {
    format!(
        "logsource: {{product: linux, service: sshd}}\ncases:\n\
         \x20 - {{name: they, events: [{{fields: {{user: {user}}}}}], match: 1}}\n\
         \x20 - {{name: others, events: [{{fields: {{user: nobody}}}}], match: none}}\n"
    )
}

fn write_rule(folder: &Path, number: u32, user: &str) {
    let name = |ending| folder.join(format!("r{number}.{ending}"));
    fs::write(name("test.yml"), proof(user)).expect("written");
    fs::write(name("yml"), rule(number, user)).expect("written");
}

/// A directory with two rules, and the task that follows it.
struct Followed {
    place: tempfile::TempDir,
    rules: RulesInForce,
    health: Arc<Health>,
    asked: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Followed {
    async fn start(pace: Pace) -> Self {
        Self::start_with(pace, |_| {}).await
    }

    /// Starts after the place was prepared further; the rules are in its `rules`.
    async fn start_with(pace: Pace, prepare: impl FnOnce(&Path)) -> Self {
        let place = tempfile::tempdir().expect("a folder can be made");
        let directory = place.path().join("rules");
        fs::create_dir(&directory).expect("made");
        write_rule(&directory, 1, "root");
        write_rule(&directory, 2, "admin");
        prepare(place.path());
        let is_there = |name| Some(place.path().join(name)).filter(|path| path.exists());
        let paths = RulePaths {
            pipelines: is_there("pipelines"),
            placeholders: is_there("placeholders.yml"),
            ..RulePaths::from(&directory)
        };
        let loaded = load_rules(&paths).expect("the rules are right");
        let health = Arc::new(Health::default());
        let (mut reload, rules) = RuleReload::new(&paths, loaded, Arc::clone(&health));
        reload.pace = pace;
        let asked = reload.asked();
        let mut task = JoinSet::new();
        task.spawn(reload.run(CancellationToken::new()));
        let mut followed = Self {
            place,
            rules,
            health,
            asked,
            _task: task,
        };
        // Whoever is answered is followed.
        followed.asked.notify_one();
        followed.wait_loaded().await;
        followed
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("rules")
    }

    fn titles(&self) -> Vec<String> {
        let rules = self.rules.borrow();
        rules.set.rules().map(|rule| rule.title.clone()).collect()
    }

    /// Waits for the next set.
    async fn wait_loaded(&mut self) {
        let changed = timeout(PATIENCE, self.rules.changed()).await;
        changed.expect("rules are loaded").expect("the task runs");
        self.rules.borrow_and_update();
    }

    /// Waits until this many rules are in force.
    async fn wait_rules(&mut self, n_rules: usize) {
        let is_there = |rules: &Arc<LoadedRules>| rules.set.rules().len() == n_rules;
        let waited = timeout(PATIENCE, self.rules.wait_for(is_there))
            .await
            .map(drop);
        assert!(waited.is_ok(), "{:?}", self.health.rules());
    }

    /// Waits until the content of the directory is refused for this reason.
    async fn wait_refused(&self, reason: &str) -> RulesRefused {
        let mut changes = self.health.changes();
        let wait = async {
            loop {
                let refused = self.health.rules().and_then(|rules| rules.refused);
                match refused.filter(|refused| refused.reason == reason) {
                    Some(refused) => return refused,
                    None => changes.next().await,
                }
            }
        };
        let refused = timeout(PATIENCE, wait).await;
        refused.unwrap_or_else(|_| panic!("no {reason}: {:?}", self.health.rules()))
    }

    async fn wait_accepted(&self) {
        let mut changes = self.health.changes();
        let wait = async {
            while self.health.rules().expect("known").refused.is_some() {
                changes.next().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("it is accepted");
    }
}

#[tokio::test]
async fn a_new_rule_file_comes_into_force() {
    let mut followed = Followed::start(PACE).await;

    write_rule(&followed.directory(), 3, "guest");

    followed.wait_rules(3).await;
    let verdict = followed.health.rules().expect("known");
    assert_eq!(verdict.rules, 3);
    assert_eq!(verdict.hash, followed.rules.borrow().set.hash());
}

#[tokio::test]
async fn a_broken_file_leaves_the_old_set_and_says_where_it_is_broken() {
    let mut followed = Followed::start(PACE).await;

    let broken = rule(3, "guest").replace("user:", "user|contain:");
    fs::write(followed.directory().join("r3.yml"), broken).expect("written");
    let refused = followed.wait_refused("NotCompiled").await;

    assert_eq!(refused.faults[0].file, "r3.yml");
    let (line, column) = refused.faults[0].place.expect("it has a place");
    assert_eq!(line, 6, "{}", refused.faults[0]);
    assert!(column > 1, "{}", refused.faults[0]);
    assert_eq!(followed.titles().len(), 2);

    write_rule(&followed.directory(), 3, "guest");
    followed.wait_rules(3).await;
    followed.wait_accepted().await;
}

#[tokio::test]
async fn a_rule_without_proof_is_refused() {
    let followed = Followed::start(PACE).await;

    fs::write(followed.directory().join("r3.yml"), rule(3, "guest")).expect("written");
    let refused = followed.wait_refused("TestsFailed").await;

    assert_eq!(refused.faults[0].file, "r3.yml");
    assert_eq!(followed.titles().len(), 2);
}

#[tokio::test]
async fn taking_the_broken_file_away_is_as_good_as_mending_it() {
    let followed = Followed::start(PACE).await;
    let loaded_at = followed.rules.borrow().loaded_at;
    let broken = followed.directory().join("r3.yml");
    fs::write(&broken, "title: [").expect("written");
    followed.wait_refused("NotCompiled").await;

    fs::remove_file(broken).expect("removed");

    followed.wait_accepted().await;
    assert_eq!(
        followed.rules.borrow().loaded_at,
        loaded_at,
        "nothing was loaded"
    );
}

#[tokio::test]
async fn a_rule_that_was_removed_goes_after_a_longer_silence() {
    let mut followed = Followed::start(PACE).await;
    let begun = Instant::now();

    for name in ["r2.yml", "r2.test.yml"] {
        fs::remove_file(followed.directory().join(name)).expect("removed");
    }

    followed.wait_rules(1).await;
    assert!(begun.elapsed() >= PACE.sure, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_directory_without_rules_is_refused_however_long_it_lasts() {
    let followed = Followed::start(PACE).await;

    fs::remove_dir_all(followed.directory()).expect("removed");
    followed.wait_refused("NotReadable").await;
    fs::create_dir(followed.directory()).expect("made");
    followed.wait_refused("NoRules").await;

    assert_eq!(followed.titles().len(), 2);
}

#[tokio::test]
async fn a_directory_that_is_away_for_a_moment_is_neither_refused_nor_loaded_again() {
    // However long this test is kept waiting, that is a moment.
    let patient = Pace {
        sure: Duration::from_secs(8),
        ..PACE
    };
    let mut followed = Followed::start(patient).await;
    let loaded_at = followed.rules.borrow().loaded_at;
    let aside = followed.place.path().join("aside");

    fs::rename(followed.directory(), &aside).expect("renamed");
    sleep(PACE.quiet * 6).await;
    assert!(followed.health.rules().expect("known").refused.is_none());
    fs::rename(&aside, followed.directory()).expect("renamed");
    // A rule added afterwards shows that what was before has been looked at.
    write_rule(&followed.directory(), 3, "guest");
    followed.wait_rules(3).await;

    assert!(followed.rules.borrow().loaded_at > loaded_at);
    assert!(followed.health.rules().expect("known").refused.is_none());
}

#[tokio::test]
async fn another_directory_in_its_place_is_loaded_whole() {
    let mut followed = Followed::start(PACE).await;
    let next = followed.place.path().join("next");
    fs::create_dir(&next).expect("made");
    for (number, user) in [(1, "root"), (2, "admin"), (3, "guest"), (4, "test")] {
        write_rule(&next, number, user);
    }

    fs::rename(followed.directory(), followed.place.path().join("old")).expect("renamed");
    fs::rename(next, followed.directory()).expect("renamed");

    followed.wait_rules(4).await;
    write_rule(&followed.directory(), 5, "mail");
    followed.wait_rules(5).await;
}

#[tokio::test]
async fn a_link_turned_to_another_directory_is_followed() {
    let mut followed = Followed::start_with(PACE, |place| {
        fs::rename(place.join("rules"), place.join("v1")).expect("renamed");
        symlink("v1", place.join("rules")).expect("linked");
        fs::create_dir(place.join("v2")).expect("made");
        for (number, user) in [(1, "root"), (2, "admin"), (3, "guest")] {
            write_rule(&place.join("v2"), number, user);
        }
    })
    .await;

    let next = followed.place.path().join("next");
    symlink("v2", &next).expect("linked");
    fs::rename(next, followed.directory()).expect("renamed");

    followed.wait_rules(3).await;
}

#[tokio::test]
async fn a_half_written_file_is_never_loaded() {
    let mut followed = Followed::start(PACE).await;
    write_rule(&followed.directory(), 3, "guest");
    followed.wait_rules(3).await;
    let before = followed.rules.borrow_and_update().loaded_at;

    // Without its filter the rule would be whole by itself, and its test would pass.
    let whole = rule(3, "guest").replace(
        "condition: s",
        "f: {src_ip: 192.0.2.7}\n  condition: s and not f",
    );
    let half = rule(3, "guest").replace("title: A", "title: Half a");
    let mut file = File::create(followed.directory().join("r3.yml")).expect("created");
    file.write_all(half.as_bytes()).expect("written");
    // Other changes do not make it whole.
    sleep(PACE.quiet * 6).await;
    fs::write(followed.directory().join("README.yml~"), "x").expect("written");
    assert_eq!(followed.rules.borrow().loaded_at, before);
    file.set_len(0).expect("truncated");
    std::io::Seek::rewind(&mut file).expect("rewound");
    file.write_all(whole.as_bytes()).expect("written");
    drop(file);

    followed.wait_loaded().await;
    let sources = Arc::clone(&followed.rules.borrow().sources);
    let loaded = sources.iter().find(|file| file.name == "r3.yml");
    assert_eq!(loaded.expect("it is there").text, whole);
}

#[tokio::test]
async fn whoever_asks_gets_the_rules_loaded_again_although_nothing_changed() {
    let mut followed = Followed::start(PACE).await;
    let before = followed.rules.borrow_and_update().loaded_at;

    followed.asked.notify_one();

    followed.wait_loaded().await;
    assert!(followed.rules.borrow().loaded_at > before);
}

#[tokio::test]
async fn a_storm_of_changes_leads_to_few_reloads() {
    let pace = Pace {
        pause: Duration::from_secs(1),
        ..PACE
    };
    let mut followed = Followed::start(pace).await;
    let begun = Instant::now();
    let n_loaded = Arc::new(AtomicU32::new(0));
    let (mut rules, counter) = (followed.rules.clone(), Arc::clone(&n_loaded));
    let mut counting = JoinSet::new();
    counting.spawn(async move {
        while rules.changed().await.is_ok() {
            rules.borrow_and_update();
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });

    for number in 3..53 {
        write_rule(&followed.directory(), number, "guest");
        // Longer than what counts as silence, so that each could be a set of its own.
        sleep(PACE.quiet + PACE.quiet / 5).await;
    }
    followed.wait_rules(52).await;

    let most = 1 + begun.elapsed().as_millis() / pace.pause.as_millis();
    let n_loaded = n_loaded.load(Ordering::SeqCst);
    assert!(
        u128::from(n_loaded) <= most,
        "{n_loaded} reloads, {most} fit"
    );
}

#[tokio::test]
async fn without_a_hint_the_timer_finds_what_changed() {
    let followed = Followed::start_with(
        Pace {
            look_every: Duration::from_millis(100),
            ..PACE
        },
        |place| {
            // A folder of a hidden name is not watched, as in the mounts of containers.
            let hidden = place.join("rules/..v1");
            fs::create_dir(&hidden).expect("made");
            write_rule(&hidden, 3, "guest");
            for name in ["r3.yml", "r3.test.yml"] {
                let link = place.join("rules").join(name);
                symlink(Path::new("..v1").join(name), link).expect("linked");
            }
        },
    )
    .await;
    let hidden = followed.directory().join("..v1/r3.yml");
    let other = rule(3, "guest").replace("title: A login", "title: Another login");

    fs::write(hidden, other).expect("written");

    let mut rules = followed.rules.clone();
    let is_there = |rules: &Arc<LoadedRules>| {
        let mut titles = rules.set.rules().map(|rule| &rule.title);
        titles.any(|title| title == "Another login of guest")
    };
    let found = timeout(PATIENCE, rules.wait_for(is_there)).await;
    assert!(found.is_ok(), "the timer does not look");
}

/// A pipeline that gives the field of our rules another name, and so fails their tests.
const RENAMING: &str = "\
name: Renaming
transformations:
  - {type: field_name_mapping, mapping: {user: account}}
";

/// One that changes nothing our rules say.
const HARMLESS: &str = "\
name: Harmless
transformations:
  - {type: field_name_mapping, mapping: {unheard_of: other}}
";

#[tokio::test]
async fn pipelines_and_placeholders_are_loaded_again_with_the_rules() {
    let mut followed = Followed::start_with(PACE, |place| {
        fs::create_dir(place.join("pipelines")).expect("made");
        fs::write(place.join("pipelines/a.yml"), HARMLESS).expect("written");
        fs::write(place.join("placeholders.yml"), "admins: root\n").expect("written");
    })
    .await;
    let before = followed.rules.borrow().set.hash().to_owned();
    let place = followed.place.path().to_owned();

    fs::write(place.join("pipelines/b.yml"), HARMLESS).expect("written");
    followed.wait_loaded().await;
    let with_another = followed.rules.borrow().set.hash().to_owned();
    assert_ne!(with_another, before);

    fs::write(place.join("pipelines/b.yml"), RENAMING).expect("written");
    followed.wait_refused("TestsFailed").await;
    fs::write(place.join("pipelines/b.yml"), "name: [").expect("written");
    let refused = followed.wait_refused("NotCompiled").await;
    assert_eq!(refused.faults[0].file, "pipelines/b.yml");
    assert_eq!(followed.rules.borrow().set.hash(), with_another);

    fs::remove_file(place.join("pipelines/b.yml")).expect("removed");
    fs::write(place.join("next.yml"), "admins: [root, toor]\n").expect("written");
    fs::rename(place.join("next.yml"), place.join("placeholders.yml")).expect("renamed");
    followed.wait_loaded().await;
    followed.wait_accepted().await;
    assert_ne!(followed.rules.borrow().set.hash(), before);
}
