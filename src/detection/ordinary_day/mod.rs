//! A day of ordinary life of a public server, made from a seed, through the real readers of lines
//! and the real rules: it raises no alert, and with an attack woven in exactly that one's.
//! It never reads a clock, a file of this host or the network.

mod attacks;
mod internet;
mod intrusions;
mod machine;
mod people;
mod programs;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hidps_agent::normalize::{LineSource, normalize};
use hidps_rules::{Engine, Level, Limits, RuleFile, RuleSet, Scope};
use hidps_wire::LogEvent;
use jiff::tz::TimeZone;

use self::attacks::{Attack, FROM_OUTSIDE};
use self::intrusions::FROM_INSIDE;
use self::story::{Entry, HOUR, Happening, MINUTE, Story, clock};
use super::event::RuleView;

/// The seed of the day that is told here.
const SEED: u64 = 20_261_120;

/// The seeds of further days: a few, because each takes seconds; twenty were tried by hand.
const OTHER_SEEDS: std::ops::RangeInclusive<u64> = 1..=3;

/// How much of the day is told before an attack, and after it began: all windows of ours but those
/// of a day and of a week fit in.
const BEFORE: i64 = 4 * HOUR;
const AFTER: i64 = 75 * MINUTE;

/// Our rules, which are good by their own tests.
static OURS: LazyLock<RuleSet> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("detection-rules");
    super::load_rules(&folder).expect("our rules are good").set
});

/// The day that is told here, as the agent reads it.
static DAY: LazyLock<Vec<Observed>> = LazyLock::new(|| read(ordinary_day(SEED)));

/// How often which rule matched, at which level.
type Found = BTreeMap<(Level, String), usize>;

/// An event as the daemon gets it.
#[derive(Clone, PartialEq, Debug)]
struct Observed {
    at: i64,
    event: LogEvent<'static>,
}

/// The day of a seed.
fn ordinary_day(seed: u64) -> Story {
    let mut story = Story::new(seed);
    internet::tell(&mut story);
    people::tell(&mut story);
    machine::tell(&mut story);
    programs::tell(&mut story);
    story
}

/// Reads a story's lines, and puts all that happened in order.
fn read(story: Story) -> Vec<Observed> {
    let mut observed = Vec::new();
    for Entry { at, what } in story.entries {
        match what {
            Happening::Event(event) => observed.push(Observed { at, event: *event }),
            Happening::Line(line) => {
                let source = LineSource {
                    program: "",
                    seen: clock(at),
                    zone: TimeZone::UTC,
                };
                let event = normalize(&line, &source).event.into_owned();
                observed.push(Observed { at, event });
            }
        }
    }
    observed.sort_by_key(|one| one.at);
    observed
}

/// Shows events to an engine and answers which rules matched.
fn tell<'a>(engine: &mut Engine, scope: Scope, day: impl Iterator<Item = &'a Observed>) -> Found {
    let mut found = Found::new();
    for Observed { at, event } in day {
        let view = RuleView::of(event);
        let now_ms = clock(*at).as_millisecond();
        engine.observe(scope, &view.event(), now_ms, &mut |seen| {
            let name = seen.rule.name.clone();
            let name = name.unwrap_or_else(|| seen.rule.title.clone());
            *found.entry((seen.rule.level, name)).or_insert(0) += 1;
        });
    }
    found
}

/// The rules that matched above low.
fn alerts(found: &Found) -> BTreeSet<&str> {
    let is_alert = |(level, _): &&(Level, String)| *level > Level::Low;
    found
        .keys()
        .filter(is_alert)
        .map(|(_, name)| name.as_str())
        .collect()
}

#[test]
fn an_ordinary_day_raises_no_alert_above_low() {
    let mut engine = Engine::new(OURS.clone(), Limits::default());

    let found = tell(&mut engine, Scope(1), DAY.iter());

    println!("{} events: {found:#?}", DAY.len());
    assert!(DAY.len() > 30_000, "{} events", DAY.len());
    assert_eq!(alerts(&found), BTreeSet::new());
    // The day is not empty for the rules: they see its refusals, packets and root shells.
    for name in [
        "ssh_failed_login",
        "packet_blocked",
        "sudo_root_shell",
        "system_account_added",
    ] {
        let seen = engine
            .rules()
            .rules()
            .find(|info| info.name.as_deref() == Some(name));
        let id = &seen.expect("there is such a rule").id;
        let hits = engine
            .counters()
            .rules
            .get(id)
            .map_or(0, |counted| counted.hits);
        assert!(hits > 0, "{name} saw nothing");
    }
}

#[test]
fn no_day_of_other_seeds_raises_an_alert_above_low() {
    let mut engine = Engine::new(OURS.clone(), Limits::default());
    let mut wrong = Vec::new();

    for seed in OTHER_SEEDS {
        let scope = Scope(u128::from(seed));
        let found = tell(&mut engine, scope, read(ordinary_day(seed)).iter());
        if !alerts(&found).is_empty() {
            wrong.push(format!("seed {seed}: {:?}", alerts(&found)));
        }
        engine.forget(scope);
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_attack_on_that_day_raises_its_own_alerts_and_no_others() {
    let mut engine = Engine::new(OURS.clone(), Limits::default());
    let mut wrong = Vec::new();

    for (number, attack) in FROM_OUTSIDE.iter().chain(&FROM_INSIDE).enumerate() {
        let scope = Scope(u128::try_from(number).expect("it is small"));
        let day = weave(attack);

        let found = tell(&mut engine, scope, day.iter());

        let expected: BTreeSet<&str> = attack.raises.iter().copied().collect();
        if alerts(&found) != expected {
            wrong.push(format!(
                "{}: {:?}, not {expected:?}",
                attack.name,
                alerts(&found)
            ));
        }
        engine.forget(scope);
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The part of the day around an attack, with the attack in it.
fn weave(attack: &Attack) -> Vec<Observed> {
    let mut story = Story::new(SEED);
    (attack.weave)(&mut story, attack.at);
    let mut day = read(story);
    let end = day.last().map_or(attack.at, |last| last.at);
    let span = attack.at - BEFORE..end.max(attack.at + AFTER);
    day.extend(DAY.iter().filter(|one| span.contains(&one.at)).cloned());
    day.sort_by_key(|one| one.at);
    day
}

#[test]
fn a_seed_tells_one_day_and_another_seed_another() {
    let again = read(ordinary_day(SEED));

    assert!(*DAY == again);
    assert!(*DAY != read(ordinary_day(SEED + 1)));
}

/// The community's rules, if a copy is at hand.
fn community_rules() -> Option<Vec<(String, String)>> {
    let given = std::env::var_os("HIDPS_SIGMA_RULES").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/sigma");
    let mut files = Vec::new();
    let mut folders = vec![given.unwrap_or(default)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yml") {
                let text = fs::read_to_string(&path).expect("the rule is readable");
                files.push((path.display().to_string(), text));
            }
        }
    }
    Some(files)
}

#[test]
fn the_communitys_rules_are_counted_on_that_day() {
    let Some(files) = community_rules() else {
        let test = "the_communitys_rules_are_counted_on_that_day";
        hidps_lab::say_skipped(test, &"set HIDPS_SIGMA_RULES to a copy of the rules");
        return;
    };
    let files: Vec<RuleFile<'_>> = files
        .iter()
        .map(|(name, text)| RuleFile { name, text })
        .collect();
    let rules = RuleSet::compile(&files).expect("the community's rules compile");
    let mut engine = Engine::new(rules, Limits::default());

    let found = tell(&mut engine, Scope(1), DAY.iter());

    let mut levels: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for ((level, name), times) in &found {
        println!("{:>6} {} {name}", times, level.as_str());
        let counted = levels.entry(level.as_str()).or_default();
        *counted = (counted.0 + 1, counted.1 + times);
    }
    println!("level: (rules, matches) {levels:#?}");
    assert!(
        !found.is_empty(),
        "an ordinary day is never silent for them"
    );
    assert!(!levels.contains_key("critical"), "{levels:?}");
}
