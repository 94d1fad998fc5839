//! Where a swarm lives: the Supabase stack and the daemon, without any host.
//! It leaves nothing behind, however it ends, but the caches below `target`.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use hidps_local_supabase::{Row, Stack, StackError};
use hidps_wire::Generation;
use tempfile::TempDir;

use crate::ports::free_port;
use crate::swarm::Swarm;
use crate::swarm::roster::{ID_PREFIX, agent_id, write_asleep, write_rows};
use crate::world::daemon::{Daemon, DaemonSettings};
use crate::world::probe::{NotSeen, wait_until};
use crate::world::{
    WorldError, WorldOptions, binaries, daemon_environment, make_directory, stack_options,
};

/// A feed that was away for long is joined again within half a minute.
const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// Times of changes are written within a second, unless very many are.
const RECORD_WITHIN: Duration = Duration::from_secs(60);

/// Something desired changes each time.
const TOGGLE: &str =
    "update agent_stats set firewall_enabled = not coalesce(firewall_enabled, false)";

const COUNT_CONFIRMED: &str = "select count(*) as n from ( \
     select a.id from agents a \
     join desired_generations g on g.agent_id = a.id \
     join agent_conditions c on c.agent_id = a.id and c.status = 'true' \
       and c.type in ('FirewallSynced', 'FilesWatched') and c.observed_generation = g.generation \
     where a.is_online and a.name like 'swarm-%' \
     group by a.id having count(*) = 2 \
   ) confirmed";

/// How a field is laid out.
#[derive(Clone, Copy, Debug)]
pub struct FieldOptions {
    /// Agents with rows and admitted keys.
    pub n_agents: usize,
    /// Seconds between the daemon's full comparisons.
    pub resync_secs: u32,
}

/// A stack and a daemon.
#[derive(Debug)]
pub struct Field {
    /// The daemon's process; declared, and so ended, before what it talks to.
    pub daemon: Daemon,
    /// The Supabase stack.
    pub stack: Stack,
    directory: TempDir,
}

impl Field {
    /// Starts the stack, writes the rows, and starts the daemon.
    ///
    /// # Errors
    /// Names the part that did not come up.
    pub async fn start(options: FieldOptions) -> Result<Self, WorldError> {
        let program = binaries::find_daemon()?;
        let directory = make_directory()?;
        let stack = Stack::start(stack_options(&WorldOptions::default())).await?;
        write_rows(&stack, options.n_agents).await?;
        let mut environment = daemon_environment(&stack, directory.path());
        environment.push(("HIDPS_RESYNC_SECS", options.resync_secs.to_string()));
        let port = free_port(Ipv4Addr::LOCALHOST.into());
        let port = port.map_err(|source| WorldError::Prepare { source })?;
        let settings = DaemonSettings {
            program,
            port,
            also_listen: None,
            environment,
        };
        let daemon = Daemon::start(settings).await?;
        Ok(Self {
            daemon,
            stack,
            directory,
        })
    }

    /// Adds agents that never connect; their ids sort before those of the swarm.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn add_asleep(&self, n_agents: usize) -> Result<(), StackError> {
        write_asleep(&self.stack, n_agents).await
    }

    /// Changes what is desired of one agent: its firewall goes on, or off.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn toggle_firewall(&self, agent: usize) -> Result<(), StackError> {
        let toggle = format!("{TOGGLE} where agent_id = '{}'", agent_id(agent));
        self.stack.sql(&toggle).await.map(drop)
    }

    /// Changes what is desired of the first agents, all in one statement.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn toggle_firewalls(&self, n_agents: usize) -> Result<(), StackError> {
        let toggle = format!("{TOGGLE} where {}", among(n_agents));
        self.stack.sql(&toggle).await.map(drop)
    }

    /// The generations of what is desired of the first agents, in their order.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read_generations(&self, n_agents: usize) -> Result<Vec<Generation>, StackError> {
        let query = format!(
            "select generation from desired_generations where {} order by agent_id",
            among(n_agents)
        );
        let rows = self.stack.sql(&query).await?;
        let generation = |row: &Row| row.get("generation")?.as_deref()?.parse().ok();
        Ok(rows.iter().filter_map(generation).map(Generation).collect())
    }

    /// The time as the database has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read_time(&self) -> Result<String, StackError> {
        let rows = self.stack.sql("select clock_timestamp() as now").await?;
        let now = rows.first().and_then(|row| row.get("now")?.clone());
        Ok(now.unwrap_or_default())
    }

    /// What the database itself says of the changes since then: the seconds from the writer's
    /// transaction to the agent having applied it, the middle of all, once the newest change of
    /// each of the first agents is recorded as applied.
    ///
    /// # Errors
    /// When the database does not answer or one is not recorded within a minute.
    pub async fn read_change_time(&self, since: &str, n_agents: usize) -> anyhow::Result<f64> {
        let unrecorded = format!(
            "select count(*) as n from desired_generations g where {} and not exists (\
             select from desired_changes c where c.agent_id = g.agent_id \
             and c.generation = g.generation and c.applied_at is not null)",
            among(n_agents)
        );
        wait_until(
            "every change being recorded",
            RECORD_WITHIN,
            async || match self.read_number(&unrecorded).await {
                Ok(Some(0.0)) => Ok(()),
                other => Err(format!("{other:?} are not")),
            },
        )
        .await?;
        let middle = format!(
            "select percentile_disc(0.5) within group (\
             order by extract(epoch from applied_at - changed_at)) as n \
             from desired_changes where changed_at >= '{since}' and applied_at is not null"
        );
        let middle = self.read_number(&middle).await?;
        middle.context("the database has no times of changes")
    }

    async fn read_number(&self, query: &str) -> Result<Option<f64>, StackError> {
        let rows = self.stack.sql(query).await?;
        Ok(rows
            .first()
            .and_then(|row| row.get("n")?.as_deref()?.parse().ok()))
    }

    /// How many agents of the swarm the database knows to be online and as desired now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_confirmed(&self) -> Result<usize, StackError> {
        let count = self.read_number(COUNT_CONFIRMED).await?;
        Ok(count.unwrap_or_default() as usize)
    }

    /// Waits until the daemon is joined to the feed.
    ///
    /// # Errors
    /// When it is not within a minute.
    pub async fn wait_joined(&self) -> Result<(), NotSeen> {
        let joined = wait_until("the feed being joined", JOIN_WITHIN, async || {
            match self.daemon.metric("hidps_realtime_connected").await {
                Some(joined) if joined > 0.0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        joined.await.map(drop)
    }

    /// Starts a swarm of the agents with keys.
    #[must_use]
    pub fn start_swarm(&self, n_agents: usize, spread: Duration) -> Swarm {
        Swarm::start(self.daemon.address(), n_agents, spread)
    }

    /// Ends everything in order.
    ///
    /// # Errors
    /// When a part does not end by itself; it is then killed as this returns.
    pub async fn stop(self) -> Result<(), WorldError> {
        let Self {
            mut daemon,
            stack,
            directory,
        } = self;
        let drained = daemon.stop();
        drop(daemon);
        stack.stop().await?;
        drop(directory);
        drained?;
        Ok(())
    }
}

/// A condition on `agent_id` that holds for the first agents.
fn among(n_agents: usize) -> String {
    let last = n_agents.saturating_sub(1);
    format!(
        "agent_id between '{ID_PREFIX}000000000000' and '{}'",
        agent_id(last)
    )
}
