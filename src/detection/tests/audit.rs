//! Records as auditd writes them, through the agent's own reader into rules of ours and of the
//! community: what stands between the bytes of a log and a match is what hosts run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hidps_agent::collect::audit::AuditSource;
use hidps_agent::collect::line_sink::LineSink;
use hidps_agent::collect::positions::Positions;
use hidps_agent::collect::source_board::SourceBoard;
use hidps_agent::event_queue::EventQueue;
use hidps_agent::shutdown::shutdown;
use hidps_agent::state_dir::StateDir;
use hidps_wire::{EventBatch, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, decode};

use super::{LoadedRules, batch, loaded, our_rules, run};

/// An intruder's day in a log of auditd: every other event is enriched, as `log_format = ENRICHED`
/// has it, and texts are encoded as the kernel does where they have to be.
const LOG: &[u8] = include_bytes!("audit.log");

/// How many events it holds.
const N_EVENTS: usize = 57;

/// A loaded machine takes its time.
const DEADLINE: Duration = Duration::from_secs(60);

/// Which of our rules see which event, by its serial.
const OURS: [(i64, &str); 2] = [
    (455, "b9d3218a-7361-4d60-8913-1cd1a7d9e7e7"),
    (456, "7303abe1-abf5-4e30-8a52-19455033ad3b"),
];

/// Which of the community's rules see which event: every one that it has for auditd.
const COMMUNITYS: [(i64, &str); 55] = [
    (401, "c52a914f-3d8b-4b2a-bb75-b3991e75f8ba"),
    (402, "70b4156e-50fc-4523-aa50-c9dddf1993fc"),
    (403, "fe10751f-1995-40a5-aaa2-c97ccb4123fe"),
    (404, "b3cec4e7-6901-4b0d-a02d-8ab2d8eb818b"),
    (405, "a5b977d6-8a81-4475-91b9-49dbfcd941f7"),
    (406, "214e7e6c-f21b-47ff-bb6f-551b2d143fcf"),
    (407, "f200dc3f-b219-425d-a17e-c38467364816"),
    (408, "071d5e5a-9cef-47ec-bc4e-a42e34d8d0ed"),
    (409, "a3b5e3e9-1b49-4119-8b8e-0344a01f21ee"),
    (410, "cb39d16b-b3b6-4a7a-8222-1cf24b686ffc"),
    (411, "37222991-11e9-4b6d-8bdf-60fbe48f753e"),
    (412, "74c01ace-0152-4094-8ae2-6fd776dd43e5"),
    (412, "1543ae20-cbdf-4ec1-8d12-7664d667a825"),
    (413, "df3fcaea-2715-4214-99c5-0056ea59eb35"),
    (414, "d08722cd-3d09-449a-80b4-83ea2d9d4616"),
    (415, "45810b50-7edc-42ca-813b-bdac02fb946b"),
    (416, "9d4548fa-bba0-4e88-bd66-5d5bf516cda0"),
    (417, "323ff3f5-0013-4847-bbd4-250b5edb62cc"),
    (418, "f4d3748a-65d1-4806-bd23-e25728081d01"),
    (419, "dbe4b9c5-c254-4258-9688-d6af0b7967fd"),
    (420, "e2f17c5d-b02a-442b-9052-6eb89c9fec9c"),
    (421, "ce446a9e-30b9-4483-8e38-d2c9ad0a2280"),
    (422, "a5a827d9-1bbe-4952-9293-c59d897eb41b"),
    (423, "eae8ce9f-bde9-47a6-8e79-f20d18419910"),
    (424, "2625cc59-0634-40d0-821e-cb67382a3dd7"),
    (425, "4cb57c2f-1f29-41f8-893d-8bed8e1c1d2f"),
    (426, "edd595d7-7895-4fa7-acb3-85a18a8772ca"),
    (427, "9a0d8ca0-2385-4020-b6c6-cb6153ca56f3"),
    (428, "a7af2487-9c2f-42e4-9bb9-ff961f0561d5"),
    (429, "e497a24e-9345-4a62-9803-b06d7d7cb132"),
    (430, "ca94a6db-8106-4737-9ed2-3e3bb826af0a"),
    (431, "f7158a64-6204-4d6d-868a-6e6378b467e0"),
    (432, "f34047d9-20d3-4e8b-8672-0a35cc50dc71"),
    (433, "49aae26c-450e-448b-911d-b3c13d178dfc"),
    (434, "4b3cb710-5e83-4715-8c45-8b2b5b3e5751"),
    (435, "977ef627-4539-4875-adf4-ed8f780c4922"),
    (436, "808146b2-9332-4d78-9416-d7e47012d83d"),
    (437, "9e1bef8d-0fff-46f6-8465-9aa54e128c1e"),
    (438, "c830f15d-6f6e-430f-8074-6f73d6807841"),
    (439, "ea61bb82-a5e0-42e6-8537-91d29500f1b9"),
    (440, "1f358e2e-cb63-43c3-b575-dfb072a6814f"),
    (441, "1bac86ba-41aa-4f62-9d6b-405eac99b485"),
    (442, "a94cdd87-6c54-4678-a6cc-2814ffe5a13d"),
    (443, "53059bc0-1472-438b-956a-7508a94a91f0"),
    (444, "759d0d51-bc99-4b5e-9add-8f5b2c8e7512"),
    (445, "eca5e022-d368-4043-98e5-9736fb01f72f"),
    (446, "106d7cbd-80ff-4985-b682-a7043e5acb72"),
    (447, "3761e026-f259-44e6-8826-719ed8079408"),
    (448, "2dad0cba-c62a-4a4f-949f-5f6ecd619769"),
    (449, "b207d563-a1d9-4275-b349-77d1eb55aa6d"),
    (450, "a39d7fa7-3fbd-4dc2-97e1-d87f546b1bbc"),
    (451, "710bdbce-495d-491d-9a8f-7d0d88d2b41e"),
    (452, "c0d3734d-330f-4a03-aae2-65dacc6a8222"),
    (453, "e497a24e-9345-4a62-9803-b06d7d7cb132"),
    (454, "474b415a-8b3d-4e6a-9f12-0d5c8a7b6e94"),
];

/// What the agent tells of the log, by serial: the events of each, in order.
async fn read_log() -> BTreeMap<i64, Vec<LogEvent<'static>>> {
    let host = tempfile::tempdir().expect("a directory");
    let log = host.path().join("var/log/audit/audit.log");
    for (path, text) in [
        ("run/auditd.pid", "77\n"),
        ("proc/77/comm", "auditd\n"),
        ("var/log/audit/audit.log", ""),
    ] {
        let path = host.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    let queue = Arc::new(EventQueue::default());
    queue.on_connected(u32::MAX);
    let state = StateDir::open(&host.path().join("state")).expect("a state");
    let positions = Arc::new(Positions::load(state, Arc::clone(&queue)));
    let (sink, _counts) = LineSink::new(Arc::clone(&queue), SourceBoard::new().0);
    let source = AuditSource::new(host.path().to_owned(), sink, positions);
    let (_switch, shutdown) = shutdown();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(source.run(shutdown));

    let mut file = fs::File::options().append(true).open(log).expect("the log");
    file.write_all(LOG).expect("it is written");
    let mut events: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    // One of which nothing says that it is complete is told half a second later than the others.
    while events.len() < N_EVENTS {
        let taken = tokio::time::timeout(DEADLINE, queue.next_batch()).await;
        let taken = taken.expect("the events come");
        let decoded: EventBatch<'_> =
            decode(&taken.text, MAX_AGENT_FRAME_BYTES).expect("it is a batch");
        for event in decoded.events {
            let Some(FieldValue::Integer(serial)) = event.fields.get("serial") else {
                panic!("no record: {event:?}");
            };
            let of_it = events.entry(*serial).or_default();
            of_it.push(event.into_owned());
        }
        queue.on_acknowledged(taken.seq, u32::MAX);
    }
    events
}

/// The rules that match each event, by its serial.
fn matches(
    rules: &LoadedRules,
    events: &BTreeMap<i64, Vec<LogEvent<'static>>>,
) -> BTreeSet<(i64, String)> {
    let matched = events.iter().flat_map(|(serial, events)| {
        // Each by itself, as a rule that was raised for one is not raised at once for the next.
        let (_, recorder) = run(rules, &[batch(events.clone())]);
        let alerts = recorder.alerts.lock().expect("unpoisoned").clone();
        alerts.into_iter().map(|alert| (*serial, alert.rule_id))
    });
    matched.collect()
}

fn missing(expected: &[(i64, &str)], matched: &BTreeSet<(i64, String)>) -> Vec<(i64, String)> {
    let expected = expected
        .iter()
        .map(|(serial, id)| (*serial, (*id).to_owned()));
    expected.filter(|row| !matched.contains(row)).collect()
}

#[tokio::test]
async fn what_auditd_writes_is_found_by_our_rules_and_by_no_other_than_expected() {
    let events = read_log().await;

    let matched = matches(&our_rules(), &events);

    let expected = OURS.map(|(serial, id)| (serial, id.to_owned()));
    assert_eq!(matched, BTreeSet::from(expected));
}

#[tokio::test]
async fn what_auditd_writes_is_found_by_every_rule_that_the_community_has_for_it() {
    let test = "what_auditd_writes_is_found_by_every_rule_that_the_community_has_for_it";
    let Some(rules) = load_communitys() else {
        hidps_lab::say_skipped(test, &"set HIDPS_SIGMA_RULES to a copy of the rules");
        return;
    };
    let events = read_log().await;

    let matched = matches(&rules, &events);

    assert_eq!(missing(&COMMUNITYS, &matched), [], "{matched:#?}");
    let tried: BTreeSet<_> = COMMUNITYS.iter().map(|(_, id)| *id).collect();
    let all = rules.set.rules().map(|rule| rule.id.as_str());
    let untried: Vec<_> = all.filter(|id| !tried.contains(id)).collect();
    assert_eq!(untried, [""; 0], "rules without an event in the log");
}

/// The community's rules for auditd, if a copy is at hand, each as one that raises an alert.
fn load_communitys() -> Option<LoadedRules> {
    let given = std::env::var_os("HIDPS_SIGMA_RULES").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/sigma");
    let mut texts = Vec::new();
    let mut folders = vec![given.unwrap_or(default)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yml") {
                let text = fs::read_to_string(&path).expect("the rule is readable");
                texts.extend(Some(text).filter(|text| text.contains("service: auditd")));
            }
        }
    }
    let quiet = ["level: low", "level: informational"];
    let raised = texts.into_iter().map(|text| {
        let louder = |text: String, level: &&str| text.replace(level, "level: medium");
        quiet.iter().fold(text, louder)
    });
    let texts: Vec<_> = raised.collect();
    (!texts.is_empty()).then(|| loaded(&texts.join("\n---\n")))
}
