//! Step 8: what happens when a part is killed or away while something changes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hidps_lab::world::AGENT;
use hidps_lab::world::outside::AlertRow;
use hidps_lab::world::probe::wait_until;
use hidps_local_supabase::RestFault;
use tokio::time::sleep;

use crate::report::Observed;
use crate::steps::alerts::{BURST, BURST_ALERT, wait_alerts, wait_mails};
use crate::story::{SOON, Story};

/// How long REST is away: longer than any retry waits.
const OUTAGE: Duration = Duration::from_secs(20);

/// After an outage the daemon tries again within its longest pause.
const RECOVERY: Duration = Duration::from_secs(60);

/// Step 8.
pub(crate) async fn survive(story: &mut Story) -> Result<Observed> {
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
    Ok(observed)
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
    let before = story
        .world
        .outside()
        .list_alerts(AGENT, BURST_ALERT)
        .await?;
    let n_mails = 2 * before.len();
    story.world.stack.faults().set_rest(RestFault::Unavailable);
    let during = raise_while_away(story).await;
    story.world.stack.faults().set_rest(RestFault::None);
    let begun = Instant::now();
    ensure!(
        during? == before,
        "an alert became a row although REST was away"
    );

    let settled = wait_waiting(story, "no alert waiting", RECOVERY, |waiting| waiting < 1.0);
    settled.await?;
    let took = begun.elapsed();
    let rows = wait_alerts(story, BURST_ALERT, |rows| rows.len() > before.len()).await?;
    ensure!(
        rows.len() == before.len() + 1,
        "{} rows became {}",
        before.len(),
        rows.len()
    );
    // Two people get one mail each about the new alert, and none again about the old one.
    wait_mails(story, BURST_ALERT, n_mails + 2).await?;
    let is_new = |row: &&AlertRow| before.iter().all(|old| old.id != row.id);
    let new = rows.iter().find(is_new).context("the new row is found")?;
    Ok((took, new.occurrences))
}

/// Makes a burst, sees its alert wait, and sits the outage out; gives the rows at its end.
async fn raise_while_away(story: &Story) -> Result<Vec<AlertRow>> {
    let gone = Instant::now();
    let host = &story.world.host;
    let ssh = host.ssh().context("the host has an sshd")?;
    ssh.fail_login(host.namespace(), "root", BURST)?;
    wait_waiting(story, "an alert waiting to become a row", SOON, |waiting| {
        waiting >= 1.0
    })
    .await?;
    // The outage lasts as long as the story says, however soon the alert waits.
    sleep(OUTAGE.saturating_sub(gone.elapsed())).await;
    Ok(story
        .world
        .outside()
        .list_alerts(AGENT, BURST_ALERT)
        .await?)
}

async fn wait_waiting(
    story: &Story,
    wanted: &str,
    deadline: Duration,
    holds: impl Fn(f64) -> bool,
) -> Result<()> {
    let daemon = &story.world.daemon;
    let look = async || match daemon.metric("hidps_outbox_alerts_waiting").await {
        Some(waiting) if holds(waiting) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    wait_until(wanted, deadline, look).await?;
    Ok(())
}
