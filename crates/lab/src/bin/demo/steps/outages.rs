//! Step 8: what happens when a part is killed or away while something changes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hidps_lab::world::AGENT;
use hidps_lab::world::probe::wait_until;
use hidps_local_supabase::RestFault;
use tokio::time::sleep;

use crate::report::Observed;
use crate::steps::alerts::{BURST_ALERT, wait_alerts};
use crate::story::{SOON, Story};

/// How long REST is away: longer than any retry waits.
const OUTAGE: Duration = Duration::from_secs(20);

/// After an outage the daemon tries again within its longest pause.
const RECOVERY: Duration = Duration::from_secs(60);

/// Failed logins of a burst.
const BURST: usize = 6;

/// Step 8.
pub(crate) async fn survive(story: &mut Story) -> Result<(Observed, ())> {
    let daemon = survive_daemon_kill(story)
        .await
        .context("the daemon was killed")?;
    let agent = survive_agent_kill(story)
        .await
        .context("the agent was killed")?;
    let (alert, occurrences) = survive_outage(story).await.context("REST was away")?;
    let observed = Observed::default()
        .took(daemon)
        .timed("agent's restart to converged", agent)
        .timed("REST back to alert row", alert)
        .fact(
            "after the daemon's kill",
            "firewall off as the row said meanwhile",
        )
        .fact(
            "after the agent's kill",
            "firewall on as the row said meanwhile",
        )
        .fact(
            "after the outage",
            format!("one row, {occurrences} occurrences"),
        );
    Ok((observed, ()))
}

async fn survive_daemon_kill(story: &mut Story) -> Result<Duration> {
    story.world.daemon.kill()?;
    story.want_firewall(false).await?;
    let begun = Instant::now();
    story.world.daemon.restart().await?;
    story.wait_table(false).await?;
    story.wait_condition("FirewallSynced").await?;
    let took = begun.elapsed();
    story.world.wait_online().await?;
    story.watcher = None; // its socket went with the daemon
    Ok(took)
}

async fn survive_agent_kill(story: &mut Story) -> Result<Duration> {
    story.world.agent.kill()?;
    story.want_firewall(true).await?;
    let begun = Instant::now();
    let world = &mut story.world;
    world.agent.restart(&world.host)?;
    story.wait_table(true).await?;
    story.wait_condition("FirewallSynced").await?;
    Ok(begun.elapsed())
}

/// A burst from the host's own address, which has no alert yet, while no row can be written.
async fn survive_outage(story: &mut Story) -> Result<(Duration, i32)> {
    let before = story.world.outside.list_alerts(AGENT, BURST_ALERT).await?;
    story.world.stack.faults().set_rest(RestFault::Unavailable);
    let gone = Instant::now();
    let host = &story.world.host;
    host.ssh()
        .context("the host has an sshd")?
        .fail_login(host.namespace(), "root", BURST)?;
    let waiting = wait_until(
        "an alert waiting to become a row",
        SOON,
        async || match story
            .world
            .daemon
            .metric("hidps_outbox_alerts_waiting")
            .await
        {
            Some(waiting) if waiting >= 1.0 => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    // The outage lasts as long as the story says, however soon the alert waits.
    sleep(OUTAGE.saturating_sub(gone.elapsed())).await;
    let during = story.world.outside.list_alerts(AGENT, BURST_ALERT).await;
    story.world.stack.faults().set_rest(RestFault::None);
    let begun = Instant::now();
    waiting?;
    ensure!(
        during? == before,
        "an alert became a row although REST was away"
    );

    let settled = wait_until("the end of waiting", RECOVERY, async || {
        match story
            .world
            .daemon
            .metric("hidps_outbox_alerts_waiting")
            .await
        {
            Some(waiting) if waiting < 1.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    settled.await?;
    let took = begun.elapsed();
    let rows = wait_alerts(story, BURST_ALERT, |rows| rows.len() > before.len()).await?;
    ensure!(
        rows.len() == before.len() + 1,
        "{} rows became {}",
        before.len(),
        rows.len()
    );
    let new = rows
        .iter()
        .find(|row| before.iter().all(|old| old.id != row.id));
    Ok((took, new.context("the new row is found")?.occurrences))
}
