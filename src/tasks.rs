//! The daemon's long-running tasks: named, owned, and ended in order.
//! It never restarts a task: one that ends early takes the process with it, so that nothing runs
//! on without a part.

use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A set of named tasks.
#[derive(Debug, Default)]
pub struct TaskSet {
    set: JoinSet<()>,
    names: Vec<(Id, &'static str)>,
}

impl TaskSet {
    /// Starts a task that is meant to run until it is cancelled.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.push((handle.id(), name));
    }

    /// Waits until some task ends and gives its name, and whether it panicked.
    pub async fn first_ended(&mut self) -> (&'static str, bool) {
        match self.set.join_next_with_id().await {
            Some(ended) => self.describe(ended),
            None => std::future::pending().await,
        }
    }

    /// Cancels, waits up to `deadline`, and gives the names of the tasks that did not end.
    pub async fn drain(
        mut self,
        stop: &CancellationToken,
        deadline: Duration,
    ) -> Vec<&'static str> {
        stop.cancel();
        let all_ended = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                self.describe(ended);
            }
        };
        if timeout(deadline, all_ended).await.is_ok() {
            return Vec::new();
        }
        self.names.into_iter().map(|(_, name)| name).collect()
    }

    fn describe(&mut self, ended: Result<(Id, ()), JoinError>) -> (&'static str, bool) {
        let (id, panicked) = match &ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let position = self.names.iter().position(|(known, _)| *known == id);
        let name = position.map_or("unnamed", |at| self.names.swap_remove(at).1);
        (name, panicked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_early_is_named() {
        let mut tasks = TaskSet::default();
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("brittle", async { panic!("broken invariant") });

        let ended = tasks.first_ended().await;

        assert_eq!(ended, ("brittle", true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_names_what_did_not_end() {
        let stop = CancellationToken::new();
        let mut tasks = TaskSet::default();
        let token = stop.clone();
        tasks.spawn("polite", async move { token.cancelled().await });
        tasks.spawn("deaf", std::future::pending());

        let left = tasks.drain(&stop, Duration::from_secs(5)).await;

        assert_eq!(left, ["deaf"]);
    }
}
