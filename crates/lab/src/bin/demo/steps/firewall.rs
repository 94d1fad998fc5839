//! Steps 1 and 7: the firewall as a row, as packets, and as data.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hidps_lab::world::{AGENT, World};
use hidps_wire::{Answer, Question};

use crate::report::Observed;
use crate::story::{SOON, Story, agent_id};

/// A port of the host that nobody asked to keep open.
const CLOSED_PORT: u16 = 8080;

/// On a cable between namespaces a handshake takes microseconds; a dropped one takes all of this.
const REACH_DEADLINE: Duration = Duration::from_millis(700);

/// How many documents agents have confirmed.
const APPLIED: &str = "hidps_desired_apply_seconds_count";

/// Step 1.
pub(crate) async fn turn_on(story: &mut Story) -> Result<(Observed, ())> {
    let listener = story.world.host.listen(CLOSED_PORT)?;
    let mut outer = story
        .world
        .host
        .connect_as_stranger(CLOSED_PORT, REACH_DEADLINE)
        .context("the port is reachable before")?;
    let (mut inner, _) = listener.accept().context("the connection is taken")?;
    let filter = format!("agent_id=eq.{AGENT}");
    story.world.admin.watch("agent_conditions", &filter).await?;

    let begun = Instant::now();
    story.want_firewall(true).await?;
    story.wait_table(true).await?;
    let applied = begun.elapsed();
    let (condition, _) = story.wait_condition("FirewallSynced").await?;
    let reported = begun.elapsed();
    story
        .world
        .admin
        .next_change(|row| row["type"] == "FirewallSynced" && row["status"] == "true")
        .await
        .context("the frontend hears of it by Realtime")?;
    let heard = begun.elapsed();

    let world = &story.world;
    if world
        .host
        .connect_as_stranger(CLOSED_PORT, REACH_DEADLINE)
        .is_ok()
    {
        bail!("port {CLOSED_PORT} is still reachable");
    }
    let ssh = world
        .host
        .ssh()
        .context("the host has an sshd")?
        .address()
        .port();
    world
        .host
        .connect_as_stranger(ssh, SOON)
        .context("the port to keep open is reachable")?;
    exchange(&mut outer, &mut inner).context("the older connection goes on")?;
    ensure!(
        world.outside.is_online(AGENT).await?,
        "the agent lost its own link"
    );
    let generation = world.outside.read_generation(AGENT).await?;
    let applied_count = world.daemon.metric(APPLIED).await;

    story.want_firewall(true).await?;
    let after = story.world.outside.read_generation(AGENT).await?;
    ensure!(
        after == generation,
        "setting it again made generation {after} of {generation}"
    );
    story.applied = applied_count;
    let observed = Observed::default()
        .took(applied)
        .timed("condition", reported)
        .timed("heard by Realtime", heard)
        .fact("before", format!("{CLOSED_PORT} and {ssh} reachable"))
        .fact(
            "after",
            format!("{CLOSED_PORT} dropped, {ssh} reachable, older connection alive, agent online"),
        )
        .fact(
            "condition",
            format!("{}: {}", condition.reason, condition.message),
        )
        .fact("generation desired and observed", generation)
        .fact("the same value again", "no new generation");
    Ok((observed, ()))
}

/// That nothing was sent to the agent between the last count and one further document.
pub(crate) async fn ensure_one_more_applied(world: &World, before: Option<f64>) -> Result<()> {
    let before = before.context("documents were counted before")?;
    let after = world
        .daemon
        .metric(APPLIED)
        .await
        .context("documents are counted")?;
    ensure!(
        (after - before - 1.0).abs() < 0.5,
        "{before} documents became {after}, not one more"
    );
    Ok(())
}

/// Step 7.
pub(crate) async fn ask(story: &mut Story) -> Result<(Observed, ())> {
    let agent = agent_id()?;
    let viewer = story.viewer().await?;

    let begun = Instant::now();
    let answer = viewer.ask(agent, Question::FirewallRules).await?;
    let took = begun.elapsed();

    let Answer::FirewallRules { rules, truncated } = answer else {
        bail!("the host answered {answer:?}");
    };
    let managed = rules
        .iter()
        .filter(|rule| rule.managed && rule.table == "hidps")
        .count();
    ensure!(managed > 0, "none of {} rules is ours", rules.len());
    let observed = Observed::default()
        .took(took)
        .fact("rules", rules.len())
        .fact("ours", managed)
        .fact("truncated", truncated);
    Ok((observed, ()))
}

fn exchange(outer: &mut TcpStream, inner: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; 4];
    for socket in [&*outer, &*inner] {
        socket.set_read_timeout(Some(SOON))?;
    }
    outer.write_all(b"ping")?;
    inner.read_exact(&mut buffer)?;
    inner.write_all(b"pong")?;
    outer.read_exact(&mut buffer)?;
    ensure!(&buffer == b"pong", "{buffer:?} came back");
    Ok(())
}
