//! What loading or removing the agent's table would change, found out without changing anything.
//! What cannot be told of the host's tracking is said to be unknown.

use std::fs;

use hidps_wire::{CutOff, FirewallIntent, FirewallPlan, MAX_PLAN_LINES, PlannedChange, encode};

use super::Forecast;
use super::cut_off::{DaemonPlace, Tracking, judge_cut_off};
use super::difference::Difference;
use super::nft::FirewallError;
use super::nftables::{Nftables, Step, TableState, plan_step};
use crate::text::printable;

/// Most bytes of all lines: less than half of a frame.
const MAX_BYTES: usize = 96 * 1024;

/// Longest line.
const MAX_LINE: usize = 1_000;

/// Tracked connections beyond this are not looked through: the file is read into memory.
const MAX_CONNECTIONS_BYTES: u64 = 8 * 1024 * 1024;

impl Forecast {
    /// Nothing would be done.
    pub(super) fn unchanged(why: &str) -> Self {
        Self {
            plan: FirewallPlan {
                change: PlannedChange::None,
                lines: Vec::new(),
                truncated: false,
            },
            cuts_off: CutOff::No,
            why: why.to_owned(),
        }
    }
}

impl Nftables {
    /// Foretells what [`Nftables::ensure`] would do.
    pub(super) async fn forecast(
        &self,
        intent: FirewallIntent,
        place: &DaemonPlace,
    ) -> Result<Forecast, FirewallError> {
        if intent == FirewallIntent::Unmanaged {
            return Ok(Forecast::unchanged("the firewall would be left alone"));
        }
        let memory = self.memory.lock().await;
        let state = self.observe(memory.loaded.is_some()).await?;
        match plan_step(intent, &state, memory.loaded.as_ref()) {
            Step::Nothing if intent == FirewallIntent::On => Ok(Forecast::unchanged(
                "the very table is in force, and the daemon is reached through it",
            )),
            Step::Nothing => Ok(Forecast::unchanged("the table is absent, as it would be")),
            Step::Remove => {
                let now = self.nft().print_table().await?;
                Ok(Forecast {
                    plan: plan(PlannedChange::Remove, &Difference::between(&now, "")),
                    cuts_off: CutOff::No,
                    why: "without its table the agent stops no packet".to_owned(),
                })
            }
            Step::Load => {
                self.forecast_load(&state, memory.text.as_deref(), place)
                    .await
            }
        }
    }

    async fn forecast_load(
        &self,
        state: &TableState,
        text: Option<&str>,
        place: &DaemonPlace,
    ) -> Result<Forecast, FirewallError> {
        let (change, now) = match state {
            TableState::Absent => (PlannedChange::Load, String::new()),
            TableState::Present(_) => (PlannedChange::Repair, self.nft().print_table().await?),
        };
        let script = self.rules.table_text();
        // How this version of nft prints the table is known once it was loaded.
        let difference = Difference::between(&now, text.unwrap_or(&script));
        let (cuts_off, why) = self.judge_load(place).await?;
        Ok(Forecast {
            plan: plan(change, &difference),
            cuts_off,
            why,
        })
    }

    async fn judge_load(&self, place: &DaemonPlace) -> Result<(CutOff, String), FirewallError> {
        if let Err(error) = self.nft().check(&self.rules.load_script()).await {
            let why = format!("this kernel would refuse the table, so nothing changes: {error}");
            return Ok((CutOff::No, why));
        }
        let ruleset = self.nft().list(&["list", "ruleset"]).await?;
        // A long table of connections is not read on the thread that everything runs on.
        let read = tokio::task::spawn_blocking(|| (read_connections(), read_legacy_tables()));
        let (connections, legacy_tables) = read.await.unwrap_or_default();
        let tracking = Tracking {
            connections: connections.as_deref(),
            legacy_tables: legacy_tables.as_deref(),
        };
        Ok(judge_cut_off(&ruleset, tracking, place))
    }
}

/// The lines of a plan, as many as fit.
fn plan(change: PlannedChange, difference: &Difference<'_>) -> FirewallPlan {
    let removed = difference.removed.iter().map(|line| ("-", line));
    let added = difference.added.iter().map(|line| ("+", line));
    let mut plan = FirewallPlan {
        change,
        lines: Vec::new(),
        truncated: false,
    };
    let mut room = MAX_BYTES;
    for (sign, line) in removed.chain(added) {
        let line = format!("{sign} {}", printable(line, MAX_LINE));
        let size = encode(&line).len() + 1;
        if plan.lines.len() == MAX_PLAN_LINES || size > room {
            plan.truncated = true;
            break;
        }
        room -= size;
        plan.lines.push(line);
    }
    plan
}

/// The kernel's table of connections; none when it has none to show, or a very long one.
fn read_connections() -> Option<String> {
    use std::io::Read as _;
    let file = fs::File::open("/proc/net/nf_conntrack").ok()?;
    let mut text = String::new();
    file.take(MAX_CONNECTIONS_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    let is_whole = (text.len() as u64) < MAX_CONNECTIONS_BYTES;
    is_whole.then_some(text)
}

/// The tables of iptables' older kind; none when they cannot be read.
fn read_legacy_tables() -> Option<String> {
    let mut tables = String::new();
    for path in ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"] {
        match fs::read_to_string(path) {
            Ok(text) => tables.push_str(&text),
            // A kernel without them has no such file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    Some(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::MAX_AGENT_FRAME_BYTES;

    #[test]
    fn a_plan_of_a_huge_table_is_cut_and_says_so() {
        let check = |line: &str, n: usize, is_cut: bool| {
            let now = format!("{line}\n").repeat(n);

            let plan = plan(PlannedChange::Remove, &Difference::between(&now, ""));

            assert_eq!(plan.truncated, is_cut);
            assert_eq!(plan.lines.len() < n, is_cut);
            assert!(plan.lines.len() <= MAX_PLAN_LINES);
            assert!(encode(&plan).len() < MAX_AGENT_FRAME_BYTES / 2);
        };

        check("accept", 1_000, false);
        check("accept", 1_001, true);
        check(&"x".repeat(900), 500, true);
        check(&"\u{1}\"".repeat(5_000), 1, false);
    }

    #[test]
    fn what_goes_is_told_before_what_comes() {
        let difference = Difference::between("one\ntwo\n", "two\nthree\n");

        let plan = plan(PlannedChange::Repair, &difference);

        assert_eq!(plan.lines, ["- one", "+ three"]);
    }
}
