//! `hidps-judges CASE…`: our engine before the oracle's answers and before rsigma.
//! It never makes cases; the programs under `oracle/` do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hidps_judges::case::Case;
use hidps_judges::differences::Differences;
use hidps_judges::ours;
use hidps_judges::verdict::{Verdict, compare_with_oracle, compare_with_rsigma};

/// Sums over all cases.
#[derive(Default)]
struct Sums {
    rules: usize,
    events: usize,
    decisions: usize,
    oracle: Sum,
    rsigma: Sum,
    failures: usize,
}

/// Sums before one judge.
#[derive(Default)]
struct Sum {
    agreed: usize,
    extra: usize,
    missing: usize,
    known: usize,
    silent: usize,
}

fn main() -> ExitCode {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).flat_map(list_files).collect();
    paths.sort();
    if paths.is_empty() {
        println!("usage: hidps-judges CASE.json… | DIRECTORY");
        return ExitCode::FAILURE;
    }
    let known = Differences::default();
    let mut sums = Sums::default();
    for path in &paths {
        if let Err(error) = judge_file(path, &known, &mut sums) {
            println!("FAIL {error}");
            sums.failures += 1;
        }
    }
    print_sums(&sums, paths.len());
    for (n_seen, row) in known.seen() {
        println!("known: {n_seen:>6} {row}");
    }
    if sums.failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The cases in a directory, or the file itself.
fn list_files(argument: std::ffi::OsString) -> Vec<PathBuf> {
    let path = PathBuf::from(argument);
    match std::fs::read_dir(&path) {
        Ok(entries) => entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .collect(),
        Err(_) => vec![path],
    }
}

/// Brings one case before both judges.
fn judge_file(path: &Path, known: &Differences, sums: &mut Sums) -> Result<(), String> {
    let case = Case::read(path)?;
    let found = ours::judge(&case)?;
    sums.rules += case.rules.len();
    sums.events += case.events.len();
    sums.decisions += case.rules.len() * case.events.len();
    let oracle = compare_with_oracle(&case, &found, known);
    sums.failures += settle("oracle", &case, &oracle, &mut sums.oracle);
    if let Some(reason) = &case.alone {
        println!("{:<44} rsigma: not asked, {reason}", case.name);
        return Ok(());
    }
    let rsigma = compare_with_rsigma(&case, &found, known);
    sums.failures += settle("rsigma", &case, &rsigma, &mut sums.rsigma);
    Ok(())
}

/// Adds up and prints one verdict; answers how many unknown differences it has.
fn settle(judge: &str, case: &Case, verdict: &Verdict, sum: &mut Sum) -> usize {
    sum.agreed += verdict.agreed;
    sum.extra += verdict.extra;
    sum.missing += verdict.missing;
    sum.known += verdict.known;
    sum.silent += verdict.silent.len();
    let Verdict {
        agreed,
        extra,
        missing,
        known,
        ..
    } = verdict;
    println!(
        "{:<44} {judge}: {} rules, {} events, {agreed} pairs, {extra} extra, {missing} missing \
         ({known} known), silent on {}",
        case.name,
        case.rules.len(),
        case.events.len(),
        verdict.silent.len(),
    );
    for difference in &verdict.unknown {
        println!("FAIL {difference}");
    }
    verdict.unknown.len()
}

/// Prints the sums.
fn print_sums(sums: &Sums, n_cases: usize) {
    println!(
        "{n_cases} cases: {} rules, {} events, {} decisions",
        sums.rules, sums.events, sums.decisions
    );
    for (judge, sum) in [("oracle", &sums.oracle), ("rsigma", &sums.rsigma)] {
        println!(
            "{judge}: {} pairs, {} extra, {} missing, {} of these known, silent on {} rules",
            sum.agreed, sum.extra, sum.missing, sum.known, sum.silent
        );
    }
}
