//! What the steps of the story share: the world, the people in it, and what to look for.
//! It never decides whether a step held.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hidps_lab::world::outside::ConditionRow;
use hidps_lab::world::person::Person;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::viewer::Viewer;
use hidps_lab::world::{AGENT, VIEWER, World};
use hidps_wire::AgentId;
use serde_json::json;
use uuid::Uuid;

use crate::report::Observed;

/// A change reaches a host within a second; a busy machine and the feed's idle pace need longer.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The world and who and what the steps need of each other.
pub(crate) struct Story {
    /// Everything that runs.
    pub(crate) world: World,
    /// The member who watches.
    pub(crate) watcher: Option<(Person, Viewer)>,
    /// A word that occurs in one log line and nowhere else.
    pub(crate) marker: String,
    /// How many documents the agent had accepted after the firewall step.
    pub(crate) accepted: Option<usize>,
}

impl Story {
    /// Begins.
    pub(crate) fn new(world: World) -> Self {
        let marker = format!("marked{}", Uuid::new_v4().simple());
        Self {
            world,
            watcher: None,
            marker,
            accepted: None,
        }
    }

    /// Ends the people and gives the world back.
    pub(crate) fn end(self) -> World {
        self.world
    }

    /// The viewer of the member who watches, subscribed to the agent.
    pub(crate) async fn viewer(&mut self) -> Result<&mut Viewer> {
        if self.watcher.is_none() {
            let person = self.world.sign_in(VIEWER).await?;
            let address = self.world.daemon.address();
            let mut viewer = Viewer::connect(address, person.access_token()).await?;
            viewer.subscribe(agent_id()?).await?;
            self.watcher = Some((person, viewer));
        }
        let (_, viewer) = self.watcher.as_mut().context("somebody watches")?;
        Ok(viewer)
    }

    /// Writes the desired state of the firewall as the admin.
    pub(crate) async fn want_firewall(&mut self, enabled: bool) -> Result<()> {
        let wanted = json!({"firewall_enabled": enabled});
        let rows = self
            .world
            .admin
            .update("agent_stats", wanted, json!({"agent_id": AGENT}))
            .await?;
        ensure!(
            rows.as_array().map(Vec::len) == Some(1),
            "the update wrote {rows}"
        );
        Ok(())
    }

    /// Asks for a path to be watched, as the admin.
    pub(crate) async fn want_watched(&mut self, path: &Path) -> Result<()> {
        let added_by = self.world.admin.user_id().to_owned();
        let row = json!({"agent_id": AGENT, "file_path": path, "added_by": added_by});
        self.world.admin.insert("monitored_files", row).await?;
        Ok(())
    }

    /// Asks for a path to be no longer watched, as the admin.
    pub(crate) async fn want_unwatched(&mut self, path: &Path) -> Result<()> {
        let row = json!({"agent_id": AGENT, "file_path": path});
        let deleted = self.world.admin.delete("monitored_files", row).await?;
        ensure!(
            deleted.as_array().map(Vec::len) == Some(1),
            "the deletion hit {deleted}"
        );
        Ok(())
    }

    /// Waits until a condition holds for what is desired now; gives it and how long it took.
    pub(crate) async fn wait_condition(&self, kind: &str) -> Result<(ConditionRow, Duration)> {
        self.wait_status(kind, "true").await
    }

    /// Waits until a condition has a status for what is desired now.
    pub(crate) async fn wait_status(
        &self,
        kind: &str,
        status: &str,
    ) -> Result<(ConditionRow, Duration)> {
        let wanted = format!("{kind} = {status} for the desired generation");
        let outside = self.world.outside();
        let held = wait_until(&wanted, SOON, async || {
            let generation = outside
                .read_generation(AGENT)
                .await
                .map_err(|e| e.to_string())?;
            let row = outside
                .read_condition(AGENT, kind)
                .await
                .map_err(|e| e.to_string())?;
            match row {
                Some(row)
                    if row.status == status && row.observed_generation == Some(generation) =>
                {
                    Ok(row)
                }
                other => Err(format!("{other:?} at generation {generation}")),
            }
        })
        .await;
        held.map_err(|error| self.with_logs(error))
    }

    /// Waits until our table is, or is no longer, in the host's packet filter.
    pub(crate) async fn wait_table(&self, loaded: bool) -> Result<Duration> {
        let wanted = if loaded {
            "the table in the packet filter"
        } else {
            "its removal"
        };
        let seen = wait_until(wanted, SOON, async || {
            let rules = self
                .world
                .host
                .list_firewall()
                .map_err(|error| error.to_string())?;
            let there = rules.contains("table inet hidps");
            if there == loaded {
                Ok(())
            } else {
                Err(format!("loaded: {there}"))
            }
        })
        .await;
        seen.map(|(_, took)| took)
            .map_err(|error| self.with_logs(error))
    }

    /// How many documents the agent has accepted since its start.
    pub(crate) fn count_accepted(&self) -> usize {
        self.world
            .agent
            .log()
            .matches("accepted a desired document")
            .count()
    }

    /// The namespace's parts, or why the step cannot be told here.
    pub(crate) fn why_degraded(&self) -> Option<String> {
        self.world.host.why_degraded().map(str::to_owned)
    }

    fn with_logs(&self, error: impl std::error::Error) -> anyhow::Error {
        let (agent, daemon) = (self.world.agent.log(), self.world.daemon.log());
        let last = |log: &str| {
            log.lines()
                .rev()
                .take(15)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let lines = |log: &str| last(log).into_iter().rev().collect::<Vec<_>>().join("\n");
        anyhow::anyhow!(
            "{error}\nagent:\n{}\ndaemon:\n{}",
            lines(&agent),
            lines(&daemon)
        )
    }
}

/// The agent of the story.
pub(crate) fn agent_id() -> Result<AgentId> {
    AGENT.parse().context("the agent's id is a UUID")
}

/// What there is after the start.
pub(crate) fn observe_start(world: &World) -> Observed {
    let host = world.host.namespace().map_or_else(
        || {
            format!(
                "this machine: {}",
                world.host.why_degraded().unwrap_or_default()
            )
        },
        |place| format!("namespace {place}"),
    );
    Observed::default()
        .fact("supabase", world.stack.url())
        .fact("daemon", world.daemon.address().to_string())
        .fact("host", host)
}

/// What there is after the end.
pub(crate) fn observe_end(directory: &Path) -> Result<Observed> {
    ensure!(
        !directory.exists(),
        "{} is still there",
        directory.display()
    );
    let ours = format!("hidps-lab-{}-", std::process::id());
    let namespaces = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    for namespace in namespaces {
        let name = namespace.file_name().to_string_lossy().into_owned();
        if name.starts_with(&ours) {
            bail!("the namespace {name} is still there");
        }
    }
    Ok(Observed::default().fact("left", "nothing"))
}
