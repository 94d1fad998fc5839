//! The way from ufw as it is to ufw as wanted: one call after the other, each looked at before the
//! next. It never decides what is wanted.

use std::sync::PoisonError;

use super::copies::Copies;
use super::files::{self, ChainRule, KernelFault, UfwFiles};
use super::kept::on_disk;
use super::plan::{UfwGoal, UfwState, next_step};
use super::rule::Family;
use super::tally::Tally;
use super::{Ufw, UfwError, name_all};
use crate::error_chain::chain;
use crate::firewall::program::{MAX_OUTPUT_BYTES, Program, RunError};
use crate::text::printable;

/// Longest message of a program in an error.
const MAX_SAID: usize = 300;

/// Somebody who goes on flushing is not answered for ever within one comparison.
const MOST_LOADS: usize = 3;

/// The way that was gone.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) n_steps: usize,
    /// How many of them only loaded anew what was written down.
    pub(super) n_loads: usize,
    /// What the kernel did otherwise than was written down.
    pub(super) kernel: Option<String>,
}

impl Ufw {
    /// Goes until ufw and the kernel are as wanted; what is broken off on the way is undone.
    pub(super) async fn pursue(&self, goal: &UfwGoal, way: &mut Way) -> Result<(), UfwError> {
        match self.go(goal, way).await {
            Ok(()) => on_disk(&self.copies, Copies::forget).await,
            Err(error) => {
                let mended = match self.mend().await {
                    Ok(mended) if !mended.is_empty() => mended,
                    Ok(_) => return Err(error),
                    Err(mending) => {
                        let reason = chain(&mending);
                        tracing::warn!(reason, "what a call of ufw has left cannot be looked at");
                        return Err(error);
                    }
                };
                Err(UfwError::BrokenOff {
                    files: name_all(&mended),
                    source: Box::new(error),
                })
            }
        }
    }

    async fn go(&self, goal: &UfwGoal, way: &mut Way) -> Result<(), UfwError> {
        let mut last: Option<(UfwState, String)> = None;
        let first = self.place.read_settled().await?;
        let most = goal.most_steps(&first.state);
        while way.n_steps < most {
            let files = self.place.read_settled().await?;
            let Some(step) = next_step(&files.state, goal) else {
                match self.check_kernel(&files).await? {
                    Ok(()) => {
                        self.tally(|tally| tally.keep_only(&files));
                        return Ok(());
                    }
                    Err(fault) if way.n_loads == MOST_LOADS => {
                        return Err(UfwError::ReadBack(fault.why));
                    }
                    Err(fault) => {
                        let told = format!("changed what the kernel has of ufw: {}", fault.why);
                        way.kernel.get_or_insert(told);
                        self.load_anew(&fault, &files).await?;
                        way.n_loads += 1;
                        way.n_steps += 1;
                        continue;
                    }
                }
            };
            if let Some((_, said)) = last.filter(|(state, _)| *state == files.state) {
                return Err(UfwError::ReadBack(format!("{step}: {said}")));
            }
            tracing::debug!(%step, "ufw");
            // A step may empty the chains, and what they have counted would be gone with them.
            if way.n_steps > 0 || files.state.has_ours() {
                self.count(&files).await;
            }
            let said = self.call(&step.arguments(&files.state)).await?;
            last = Some((files.state, said));
            way.n_steps += 1;
        }
        Err(UfwError::ReadBack(
            "somebody else keeps changing it".to_owned(),
        ))
    }

    /// Whether the kernel has what ufw has written down, or why not.
    async fn check_kernel(&self, files: &UfwFiles) -> Result<Result<(), KernelFault>, UfwError> {
        if !files.state.is_enabled {
            return Ok(Ok(()));
        }
        for (iptables, chains) in self.families(files) {
            let listing = run(iptables, "iptables", &["-S"]).await?;
            let checked = files::check_kernel(&listing, chains, files.state.defaults);
            if checked.is_err() {
                return Ok(checked);
            }
        }
        Ok(Ok(()))
    }

    /// Takes what the rules have counted by now; a kernel that does not say it hinders nothing.
    pub(super) async fn count(&self, files: &UfwFiles) {
        let n_families = if files.state.has_ipv6 { 2 } else { 1 };
        for (family, iptables) in Family::BOTH
            .into_iter()
            .zip(&self.iptables)
            .take(n_families)
        {
            match run(iptables, "iptables", &["-S", "-v"]).await {
                Ok(listing) => self.tally(|tally| tally.take(family, files, &listing)),
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "what rules of ufw have counted cannot be read");
                }
            }
        }
    }

    pub(super) fn tally<T>(&self, with: impl FnOnce(&mut Tally) -> T) -> T {
        with(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the kernel do what is written down.
    async fn load_anew(&self, fault: &KernelFault, files: &UfwFiles) -> Result<(), UfwError> {
        tracing::warn!(fault.why, "ufw's rules are loaded anew");
        if !fault.is_led {
            for (iptables, _) in self.families(files) {
                let listing = run(iptables, "iptables", &["-S"]).await?;
                for order in files::plan_clearing(&listing) {
                    let order: Vec<_> = order.iter().map(String::as_str).collect();
                    run(iptables, "iptables", &order).await?;
                }
            }
        }
        self.call(&["reload".to_owned()]).await.map(drop)
    }

    /// What tells of the kernel and what it should have, for each version of IP that ufw filters.
    fn families<'f>(
        &'f self,
        files: &'f UfwFiles,
    ) -> impl Iterator<Item = (&'f Program, &'f Vec<ChainRule>)> {
        let n_families = if files.state.has_ipv6 { 2 } else { 1 };
        self.iptables.iter().zip(&files.chains).take(n_families)
    }

    /// Gives ufw an order, and says what it answered.
    async fn call(&self, arguments: &[String]) -> Result<String, UfwError> {
        self.check_means()?;
        on_disk(&self.copies, Copies::ensure).await?;
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        run(&self.ufw, "ufw", &arguments).await
    }

    pub(super) fn check_means(&self) -> Result<(), UfwError> {
        if !self.ufw.is_there() {
            return Err(UfwError::Missing);
        }
        if !rustix::process::geteuid().is_root() {
            return Err(UfwError::Privilege);
        }
        Ok(())
    }
}

/// Runs a program to its end and gives what it printed.
pub(super) async fn run(
    program: &Program,
    name: &'static str,
    arguments: &[&str],
) -> Result<String, UfwError> {
    let ended = program.run(arguments, "").await;
    let ended = ended.map_err(|error| match error {
        RunError::Missing if name == "ufw" => UfwError::Missing,
        RunError::Missing => UfwError::Run {
            program: name,
            source: std::io::ErrorKind::NotFound.into(),
        },
        RunError::Start(source) => UfwError::Run {
            program: name,
            source,
        },
        RunError::Deadline => UfwError::Deadline {
            program: name,
            seconds: program.deadline().as_secs(),
        },
        RunError::TooLong => UfwError::TooLong {
            program: name,
            mebibytes: MAX_OUTPUT_BYTES >> 20,
        },
    })?;
    if ended.is_success {
        return Ok(String::from_utf8_lossy(&ended.output).into_owned());
    }
    let said = [ended.errors, ended.output].concat();
    Err(UfwError::Refused {
        program: format!("{name} {}", printable(&arguments.join(" "), MAX_SAID)),
        said: printable(&String::from_utf8_lossy(&said), MAX_SAID),
    })
}
