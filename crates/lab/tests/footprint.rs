//! The bench of the agent, run briefly and without peers: it must work on the day somebody needs it.
//! No cost and no time is asserted; that every line came through is.

use std::time::Duration;

use hidps_lab::bench::agent::{AgentOptions, measure};
use hidps_lab::journal_host::JournalHost;
use hidps_lab::say_skipped;
use hidps_lab::world::binaries::{find_agent, find_minimal_tail};

#[test]
fn a_brief_bench_of_the_agent_loses_no_line() {
    if let Err(error) = find_agent().and(find_minimal_tail()) {
        return say_skipped("a_brief_bench_of_the_agent_loses_no_line", &error);
    }
    let brief = Duration::from_millis(500);
    let options = AgentOptions {
        n_rounds: 1,
        settle: brief,
        idle: brief,
        loaded: brief,
        rates: vec![200],
        storm: None,
        has_peers: false,
    };

    let report = measure(&options).expect("the agent is heard of");

    let figure = |metric: &str| {
        let found = report.figures.iter().find(|figure| figure.metric == metric);
        let found = found.unwrap_or_else(|| panic!("no {metric:?} in {:?}", report.figures));
        found.value
    };
    assert!(figure("hidps-agent, idle: memory") > 1.0);
    assert!(figure("hidps-agent, 200 lines/s: processor") > 0.0);
    assert!(figure("hidps-agent, 200 lines/s: line written to received, p99") > 0.0);
    let rows = report.table.lines();
    let rows: Vec<_> = rows.filter(|row| row.contains("| 200 lines/s |")).collect();
    let n_of_journal = usize::from(JournalHost::check(None).is_ok());
    assert_eq!(rows.len(), 3 + n_of_journal, "{}", report.table);
    // The last column counts the lines that did not come.
    let lost_none = |row: &&str| row.ends_with(" 0.00 |");
    assert!(rows.iter().all(lost_none), "{}", report.table);
}
