//! Keeps the rules in force what their directory holds, once that is whole and proven.
//! It never puts a set in force that was not validated, and never takes one out for nothing.
//!
//! Events of the file system are hints; a timer looks as well. A content that takes rules away, or
//! that cannot be loaded, may be half of something: it is believed only after a longer silence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hidps_rules::RuleInfo;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::detection::rule_check::{
    LoadedRules, RuleFilesError, RulePaths, RuleTexts, RulesInForce, check_rules, digest,
};
use crate::detection::rule_files::ReadFault;
use crate::detection::rule_watch::RuleWatch;
use crate::health::{Health, RulesRefused, RulesVerdict};
use crate::telemetry;

/// Most faults that become log lines of their own; the rest is what `hidpsd rules lint` is for.
const MAX_LOGGED: usize = 10;

/// How long what is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Silence after which a change is looked at: an editor's save or a `git pull` is one.
    quiet: Duration,
    /// Silence after which a content that lost rules, or that is faulty, is taken for meant.
    sure: Duration,
    /// Least time between two sets, so that a storm of changes costs little.
    pause: Duration,
    /// Longest wait for silence; a directory that never rests is reported.
    patience: Duration,
    /// Time between two looks without a hint.
    look_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(500),
            sure: Duration::from_secs(3),
            pause: Duration::from_secs(2),
            patience: Duration::from_secs(60),
            look_every: Duration::from_secs(30),
        }
    }
}

/// The task that loads rules again.
pub struct RuleReload {
    paths: RulePaths,
    in_force: watch::Sender<Arc<LoadedRules>>,
    health: Arc<Health>,
    asked: Arc<Notify>,
    pace: Pace,
    /// What was refused last, if it could be read.
    refused: Option<[u8; 32]>,
    not_before: Instant,
}

impl std::fmt::Debug for RuleReload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleReload")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// Why the directory is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cause {
    /// Somebody asked: what is there is meant.
    Asked,
    /// Something changed, or it is time to look.
    Hint,
    /// It was looked at before, and nothing has changed for long.
    Sure,
    /// It never comes to rest.
    Restless,
}

/// What a look found.
enum Found {
    /// The same as the last time.
    Same,
    /// What is in force.
    InForce,
    /// Another set that may come into force.
    Valid(Box<LoadedRules>),
    /// Something that may not; with what was read, if it could be read.
    Faulty(Option<[u8; 32]>, RuleFilesError),
}

impl RuleReload {
    /// Takes over from the first load of a directory.
    pub fn new(
        paths: impl Into<RulePaths>,
        loaded: LoadedRules,
        health: Arc<Health>,
    ) -> (Self, RulesInForce) {
        health.set_rules(verdict(&loaded));
        measure(&loaded);
        let (in_force, rules) = watch::channel(Arc::new(loaded));
        let reload = Self {
            paths: paths.into(),
            in_force,
            health,
            asked: Arc::default(),
            pace: Pace::default(),
            refused: None,
            not_before: Instant::now(),
        };
        (reload, rules)
    }

    /// Where to ask for a reload at once, changed or not.
    #[must_use]
    pub fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// Looks whenever there may be something new, until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut seen = self.open_watch();
        tokio::select! {
            () = self.look_for_ever(&mut seen) => {}
            () = stop.cancelled() => {}
        }
    }

    fn open_watch(&self) -> Option<RuleWatch> {
        let watch = RuleWatch::new();
        let warn = |error| {
            tracing::warn!(
                %error, every = ?self.pace.look_every,
                "the rules cannot be watched for changes; they are looked at by the timer only"
            );
        };
        watch.map_err(warn).ok()
    }

    async fn look_for_ever(&mut self, seen: &mut Option<RuleWatch>) {
        self.follow(seen);
        // What changed while the daemon was started has given no hint.
        self.look(seen, Cause::Hint).await;
        loop {
            let cause = tokio::select! {
                () = changed(seen) => self.settle(seen, self.pace.quiet).await,
                () = self.asked.notified() => Cause::Asked,
                () = sleep(self.pace.look_every) => Cause::Hint,
            };
            self.look(seen, cause).await;
        }
    }

    /// Waits until nothing has changed for a while, or somebody asks.
    async fn settle(&self, seen: &mut Option<RuleWatch>, quiet: Duration) -> Cause {
        let give_up = Instant::now() + self.pace.patience;
        loop {
            let now = Instant::now();
            let is_writing = seen.as_mut().is_some_and(|seen| seen.is_being_written(now));
            let rest = (now + quiet).max(self.not_before);
            tokio::select! {
                () = changed(seen) => {}
                () = self.asked.notified() => return Cause::Asked,
                () = sleep_until(rest) => if !is_writing { return Cause::Hint },
                () = sleep_until(give_up) => return Cause::Restless,
            }
        }
    }

    /// Looks at the directory, and puts what it holds in force if it may be.
    async fn look(&mut self, seen: &mut Option<RuleWatch>, mut cause: Cause) {
        let mut previous = None;
        loop {
            self.follow(seen);
            let found = self.read(cause).await;
            let (digest, is_doubtful) = match &found {
                Found::Same | Found::InForce => (None, false),
                Found::Valid(rules) => (Some(rules.digest), self.loses_rules(rules)),
                Found::Faulty(digest, _) => (*digest, true),
            };
            // Without a watch, that nothing happens is only known from looking twice.
            let is_first = seen.is_none() && digest != previous;
            if cause == Cause::Hint && (is_doubtful || is_first) {
                // Perhaps it is half of something. What is then still there is meant.
                let rested = self.settle(seen, self.pace.sure).await;
                cause = match rested {
                    Cause::Hint if seen.is_some() || digest == previous => Cause::Sure,
                    other @ (Cause::Asked | Cause::Hint | Cause::Sure | Cause::Restless) => other,
                };
                previous = digest;
                continue;
            }
            return self.conclude(found, cause);
        }
    }

    fn follow(&self, seen: &mut Option<RuleWatch>) {
        if let Some(seen) = seen
            && let Err(error) = seen.follow(self.paths.all())
        {
            tracing::debug!(%error, "not all folders of rules can be watched");
        }
    }

    /// Reads and validates, off the threads that carry events.
    async fn read(&self, cause: Cause) -> Found {
        let paths = self.paths.clone();
        let known = Known {
            in_force: self.in_force.borrow().digest,
            refused: self.refused,
            is_asked: cause == Cause::Asked,
        };
        let task = tokio::task::spawn_blocking(move || find(&paths, &known));
        let crashed = |_| Found::Faulty(None, RuleFilesError::Crashed);
        task.await.unwrap_or_else(crashed)
    }

    fn loses_rules(&self, rules: &LoadedRules) -> bool {
        let id = |rule: &RuleInfo| rule.id.clone();
        let new: BTreeSet<String> = rules.set.rules().map(id).collect();
        let present = self.in_force.borrow();
        present.set.rules().any(|rule| !new.contains(&rule.id))
    }

    fn conclude(&mut self, found: Found, cause: Cause) {
        match found {
            Found::Same => {}
            Found::InForce => self.on_restored(),
            // A directory in the middle of being written is no set of rules.
            Found::Valid(..) | Found::Faulty(..) if cause == Cause::Restless => {
                let path = self.paths.directory.clone();
                self.refuse(&RuleFilesError::Read(ReadFault::Changing { path }), cause);
            }
            Found::Valid(rules) => self.put_in_force(*rules),
            Found::Faulty(digest, error) => {
                self.refused = digest;
                self.refuse(&error, cause);
            }
        }
    }

    fn on_restored(&mut self) {
        self.refused = None;
        if self
            .health
            .rules()
            .is_some_and(|rules| rules.refused.is_some())
        {
            tracing::info!("the directory holds the rules in force again");
            metrics::gauge!(telemetry::RULES_REFUSED).set(0);
            self.health.set_rules_refused(None);
        }
    }

    fn put_in_force(&mut self, rules: LoadedRules) {
        let old = self.in_force.borrow().set.hash().to_owned();
        let (count, tests, hash) = (rules.set.rules().len(), rules.tests, rules.set.hash());
        tracing::info!(rules = count, tests, hash, old, "rules are loaded again");
        metrics::counter!(telemetry::RULE_RELOADS, "result" => "loaded").increment(1);
        measure(&rules);
        self.refused = None;
        self.health.set_rules(verdict(&rules));
        self.in_force.send_replace(Arc::new(rules));
        self.not_before = Instant::now() + self.pace.pause;
    }

    fn refuse(&self, error: &RuleFilesError, cause: Cause) {
        let refused = RulesRefused {
            reason: error.reason(),
            at: Timestamp::now(),
            faults: error.faults(&self.paths.directory).into(),
        };
        let known = self.health.rules().and_then(|rules| rules.refused);
        let is_known = known.is_some_and(|known| {
            (known.reason, &known.faults) == (refused.reason, &refused.faults)
        });
        if is_known && cause != Cause::Asked {
            return;
        }
        metrics::counter!(telemetry::RULE_RELOADS, "result" => "refused").increment(1);
        metrics::gauge!(telemetry::RULES_REFUSED).set(1);
        for fault in refused.faults.iter().take(MAX_LOGGED) {
            tracing::error!(reason = refused.reason, %fault, "changed rules are refused");
        }
        tracing::error!(
            faults = refused.faults.len(), directory = %self.paths.directory.display(),
            "the changed rules are not in force and the old ones stay; `hidpsd rules test` tells \
             all that is wrong"
        );
        self.health.set_rules_refused(Some(refused));
    }
}

/// Waits for a hint; for ever where there is no watch.
async fn changed(seen: &mut Option<RuleWatch>) {
    match seen {
        Some(seen) => seen.changed().await,
        None => std::future::pending().await,
    }
}

/// What need not be validated again.
struct Known {
    in_force: [u8; 32],
    refused: Option<[u8; 32]>,
    /// Everything is, when somebody asks for it.
    is_asked: bool,
}

fn find(paths: &RulePaths, known: &Known) -> Found {
    let texts = match RuleTexts::read(paths) {
        Ok(texts) => texts,
        Err(fault) => return Found::Faulty(None, RuleFilesError::Read(fault)),
    };
    let digest = digest(&texts);
    if !known.is_asked && known.refused == Some(digest) {
        return Found::Same;
    }
    if !known.is_asked && known.in_force == digest {
        return Found::InForce;
    }
    match check_rules(texts) {
        Ok(rules) => Found::Valid(Box::new(rules)),
        Err(error) => Found::Faulty(Some(digest), error),
    }
}

fn verdict(rules: &LoadedRules) -> RulesVerdict {
    RulesVerdict {
        hash: rules.set.hash().to_owned(),
        rules: rules.set.rules().len(),
        tests: rules.tests,
        loaded_at: rules.loaded_at,
        refused: None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and seconds are far below 2^52"
)]
fn measure(rules: &LoadedRules) {
    metrics::gauge!(telemetry::RULES_REFUSED).set(0);
    metrics::gauge!(telemetry::RULES_IN_FORCE).set(rules.set.rules().len() as f64);
    metrics::gauge!(telemetry::RULES_LOADED_AT).set(rules.loaded_at.as_second() as f64);
}

#[cfg(test)]
mod tests;
