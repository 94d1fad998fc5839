//! What applying a document would change on this host, as an answer that fits one frame.
//! It is pure: the firewall's part is foretold elsewhere, and nothing is ever applied.

use hidps_wire::{CutOff, Desired, DesiredDocument, HostPlan, MAX_PATH_BYTES, WatchSet, encode};

use crate::firewall::{FirewallGoal, Forecast};
use crate::ledger::LedgerRecord;
use crate::text::printable;

/// Most bytes of all paths; with the lines of the firewall they fill less than a frame.
const MAX_BYTES: usize = 128 * 1024;

/// Composes the plan for a document on a host that has accepted another one, or none.
#[must_use]
pub fn plan_host(
    held: Option<&LedgerRecord>,
    document: &DesiredDocument,
    forecast: Forecast,
) -> HostPlan {
    let (now, _) = held.map_or_else(Default::default, |held| {
        Desired::from_document(&held.accepted.document)
    });
    let (wanted, refused) = Desired::from_document(document);
    let rules = refused.rules.iter().map(ToString::to_string);
    let paths = refused.paths.iter();
    let paths = paths.map(|refused| format!("{}: {}", refused.path, refused.error));
    let mut room = Room {
        bytes: MAX_BYTES,
        n_omitted: 0,
    };
    let refused = room.take(rules.chain(paths));
    let watch = room.take(names(&wanted.watched, &now.watched));
    let unwatch = room.take(names(&now.watched, &wanted.watched));
    let goal = FirewallGoal::of(&wanted);
    let (cuts_off, mut why) = doubt(held, &goal, forecast.cuts_off, forecast.why);
    if forecast.n_peers_left_out > 0 {
        let n = forecast.n_peers_left_out;
        // They were not looked at one by one, so nothing is claimed of them.
        let told = format!(
            "; {n} more are connected by SSH than are named, and what becomes of them is not told"
        );
        why.push_str(&told);
    }
    HostPlan {
        firewall: forecast.plan,
        watch,
        unwatch,
        refused,
        omitted: room.n_omitted,
        cuts_off,
        cut_off_why: why,
        ssh_peers: forecast.ssh_peers,
    }
}

/// A firewall that failed its trial on this host is doubtful, however harmless it looks.
fn doubt(
    held: Option<&LedgerRecord>,
    wanted: &FirewallGoal,
    cuts_off: CutOff,
    why: String,
) -> (CutOff, String) {
    let is_unconfirmed = held.is_some_and(|held| {
        let trial = held.trial.as_ref();
        let was_tried = trial.is_some_and(|trial| trial.attempts > 0);
        was_tried && held.wants_trial() && held.goal() == *wanted
    });
    if cuts_off != CutOff::No || !is_unconfirmed {
        return (cuts_off, why);
    }
    let why = format!(
        "such a firewall was tried on this host and is not confirmed, as the condition \
         FirewallSynced says; otherwise {why}"
    );
    (CutOff::Unknown, why)
}

/// The paths of one set that another does not have, or has at another depth.
fn names<'p>(paths: &'p WatchSet, others: &'p WatchSet) -> impl Iterator<Item = String> {
    paths
        .iter()
        .filter(|(path, depth)| others.get(path) != Some(depth))
        .map(|(path, _)| printable(path.as_str(), MAX_PATH_BYTES))
}

/// What is left of the frame.
struct Room {
    bytes: usize,
    n_omitted: u32,
}

impl Room {
    /// As many as fit; the others are counted.
    fn take(&mut self, names: impl Iterator<Item = String>) -> Vec<String> {
        let mut taken = Vec::new();
        for name in names {
            let size = encode(&name).len() + 1;
            if size > self.bytes {
                self.n_omitted += 1;
            } else {
                self.bytes -= size;
                taken.push(name);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Trial;
    use hidps_wire::{
        AgentFrame, AgentId, Answer, Apply, ContentHash, FirewallPlan, Generation,
        MAX_AGENT_FRAME_BYTES, MAX_WATCHED_PATHS, PlannedChange,
    };
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn forecast() -> Forecast {
        Forecast {
            plan: FirewallPlan {
                change: PlannedChange::Load,
                lines: vec!["+ accept".to_owned()],
                truncated: false,
            },
            cuts_off: CutOff::No,
            why: "all is well".to_owned(),
            ssh_peers: Vec::new(),
            n_peers_left_out: 0,
        }
    }

    #[test]
    fn whoever_is_connected_and_not_named_is_counted() {
        let forecast = Forecast {
            n_peers_left_out: 437,
            ..forecast()
        };

        let plan = plan_host(None, &document(Some(true), &[]), forecast);

        assert_eq!(
            plan.cut_off_why,
            "all is well; 437 more are connected by SSH than are named, and what becomes of them \
             is not told"
        );
    }

    fn document(firewall: Option<bool>, paths: &[&str]) -> DesiredDocument {
        DesiredDocument {
            firewall_enabled: firewall,
            monitored_files: paths.iter().map(|&path| path.to_owned()).collect(),
            ..DesiredDocument::default()
        }
    }

    fn held(document: DesiredDocument) -> LedgerRecord {
        LedgerRecord {
            agent_id: AgentId::new(uuid::Uuid::nil()),
            accepted: Apply {
                generation: Generation(1),
                hash: ContentHash("a".to_owned()),
                document,
            },
            trial: None,
        }
    }

    #[test]
    fn paths_are_told_as_what_would_come_go_and_be_refused() {
        let held = held(document(None, &["/kept", "/going"]));

        let plan = plan_host(
            Some(&held),
            &document(Some(true), &["/kept", "/coming", "../x", "/coming/"]),
            forecast(),
        );
        let fresh = plan_host(None, &document(None, &["/kept"]), forecast());

        assert_eq!(plan.watch, ["/coming"]);
        assert_eq!(plan.unwatch, ["/going"]);
        assert_eq!(
            plan.refused,
            ["../x: is not absolute; it must begin with /"]
        );
        assert_eq!((plan.omitted, plan.cuts_off), (0, CutOff::No));
        assert_eq!((fresh.watch.len(), fresh.unwatch.len()), (1, 0));
    }

    #[test]
    fn a_firewall_that_failed_here_is_doubtful() {
        let mut tried = held(document(Some(true), &[]));
        tried.trial = Some(Trial {
            confirmed: None,
            restore: false,
            attempts: 3,
            ..Trial::default()
        });
        let plan = |firewall| plan_host(Some(&tried), &document(firewall, &[]), forecast());

        assert_eq!(plan(Some(true)).cuts_off, CutOff::Unknown);
        assert!(plan(Some(true)).cut_off_why.contains("is not confirmed"));
        assert_eq!(plan(Some(false)).cuts_off, CutOff::No);
    }

    #[test]
    fn the_longest_plan_fits_a_frame_and_says_what_is_left_out() {
        let path = |kind: &str, n: usize| {
            let begin = format!("/{kind}{n}");
            format!("{begin}{}", "\u{1}".repeat(MAX_PATH_BYTES - begin.len()))
        };
        let of = |kind: &str| DesiredDocument {
            firewall_enabled: None,
            monitored_files: (0..MAX_WATCHED_PATHS + 50).map(|n| path(kind, n)).collect(),
            ..DesiredDocument::default()
        };
        let held = held(of("old"));
        let mut forecast = forecast();
        forecast.plan.lines = vec!["x".repeat(95); 1_000];

        let plan = plan_host(Some(&held), &of("new"), forecast);

        let n_told = plan.watch.len() + plan.unwatch.len() + plan.refused.len();
        let n_left_out = usize::try_from(plan.omitted).unwrap();
        assert_eq!(n_told + n_left_out, 2 * MAX_WATCHED_PATHS + 50);
        assert!(n_told > 0 && n_left_out > 0);
        let frame = AgentFrame::Answer {
            id: uuid::Uuid::nil(),
            answer: Answer::Plan(plan),
        };
        assert!(encode(&frame).len() <= MAX_AGENT_FRAME_BYTES);
    }

    proptest! {
        #[test]
        fn a_plan_accounts_for_every_path(
            old in prop::collection::btree_set("/[a-d]", 0..4),
            new in prop::collection::btree_set("(/[a-d]|[^/].{0,3}|/)", 0..6),
        ) {
            let lists = |paths: &BTreeSet<String>| DesiredDocument {
                firewall_enabled: None,
                monitored_files: paths.iter().cloned().collect(),
                ..DesiredDocument::default()
            };
            let held = held(lists(&old));

            let plan = plan_host(Some(&held), &lists(&new), forecast());

            let mut after = old.clone();
            for gone in &plan.unwatch {
                prop_assert!(after.remove(gone));
            }
            for come in &plan.watch {
                prop_assert!(after.insert(come.clone()));
            }
            let n_refused = plan.refused.len();
            prop_assert_eq!(after.len() + n_refused, new.len());
            prop_assert!(after.is_subset(&new));
        }
    }
}
