//! Steps 1 and 7: the firewall as a row, as packets, and as data.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hidps_lab::world::{AGENT, World};
use hidps_wire::{Answer, DesiredDocument, PlannedChange, Question};
use serde_json::Value;

use crate::report::Observed;
use crate::story::{SOON, Story, agent_id};

/// A port of the host that nobody asked to keep open.
const CLOSED_PORT: u16 = 8080;

/// On a cable between namespaces a handshake takes microseconds; a dropped one takes all of this.
const REACH_DEADLINE: Duration = Duration::from_millis(700);

/// Step 1.
pub(crate) async fn turn_on(story: &mut Story) -> Result<Observed> {
    let listener = story.world.host.listen(CLOSED_PORT)?;
    let outer = story
        .world
        .host
        .connect_as_stranger(CLOSED_PORT, REACH_DEADLINE);
    let outer = outer.context("the port is reachable before")?;
    let (inner, _) = listener.accept().context("the connection is taken")?;

    let timed = turn_on_timed(story).await?;

    let ssh = check_reach(&story.world, outer, inner).await?;
    let generation = story.world.outside().read_generation(AGENT).await?;
    story.want_firewall(true).await?;
    let after = story.world.outside().read_generation(AGENT).await?;
    ensure!(
        after == generation,
        "setting it again made generation {after} of {generation}"
    );
    story.accepted = Some(story.count_accepted());
    let reach = format!("{CLOSED_PORT} dropped, {ssh} reachable, older connection and agent alive");
    let observed = timed
        .fact("before", format!("{CLOSED_PORT} and {ssh} reachable"))
        .fact("after", reach)
        .fact("generation desired and observed", generation)
        .fact("the same value again", "no new generation");
    Ok(observed)
}

/// Writes the row and waits for the packet filter, the condition, and the news of it.
async fn turn_on_timed(story: &mut Story) -> Result<Observed> {
    let filter = format!("agent_id=eq.{AGENT}");
    story.world.admin.watch("agent_conditions", &filter).await?;
    let begun = Instant::now();
    story.want_firewall(true).await?;
    story.wait_table(true).await?;
    let applied = begun.elapsed();
    let (condition, _) = story.wait_condition("FirewallSynced").await?;
    let reported = begun.elapsed();
    let is_news = |row: &Value| row["type"] == "FirewallSynced" && row["status"] == "true";
    let heard = story.world.admin.next_change(is_news).await;
    heard.context("the frontend hears of it by Realtime")?;
    let observed = Observed::default()
        .took(applied)
        .timed("condition", reported)
        .timed("heard by Realtime", begun.elapsed())
        .fact(
            "condition",
            format!("{}: {}", condition.reason, condition.message),
        );
    Ok(observed)
}

/// Looks from outside at what passes; gives the port that has to.
async fn check_reach(world: &World, mut outer: TcpStream, mut inner: TcpStream) -> Result<u16> {
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
    let reached = world.host.connect_as_stranger(ssh, SOON);
    reached.context("the port to keep open is reachable")?;
    exchange(&mut outer, &mut inner).context("the older connection goes on")?;
    ensure!(
        world.outside().is_online(AGENT).await?,
        "the agent lost its own link"
    );
    Ok(ssh)
}

/// Step 7.
pub(crate) async fn ask(story: &mut Story) -> Result<Observed> {
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
    let plan = plan_without_applying(story).await?;
    let observed = Observed::default()
        .took(took)
        .fact("what switching it off would do", plan)
        .fact("rules", rules.len())
        .fact("ours", managed)
        .fact("truncated", truncated);
    Ok(observed)
}

/// Asks what a document would change, and makes sure that asking changes nothing.
async fn plan_without_applying(story: &mut Story) -> Result<String> {
    let agent = agent_id()?;
    let before = story.world.host.list_firewall()?;
    let viewer = story.viewer().await?;
    let as_desired = viewer.ask(agent, Question::Plan { document: None }).await?;
    let off = DesiredDocument {
        firewall_enabled: Some(false),
        ..DesiredDocument::default()
    };
    let document = Some(Box::new(off));
    let switched_off = viewer.ask(agent, Question::Plan { document }).await?;
    let after = story.world.host.list_firewall()?;

    let (Answer::Plan(as_desired), Answer::Plan(switched_off)) = (as_desired, switched_off) else {
        bail!("the host did not plan");
    };
    ensure!(
        as_desired.firewall.change == PlannedChange::None,
        "a converged host would change: {as_desired:?}"
    );
    ensure!(
        switched_off.firewall.change == PlannedChange::Remove,
        "switching off would not remove the table: {switched_off:?}"
    );
    ensure!(
        before == after,
        "asking changed the firewall:\n{before}\n{after}"
    );
    Ok(format!(
        "{} lines and {} paths go, cuts off: {:?}",
        switched_off.firewall.lines.len(),
        switched_off.unwatch.len(),
        switched_off.cuts_off
    ))
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
