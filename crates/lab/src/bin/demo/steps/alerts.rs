//! Steps 5 and 6: rules turn events into alerts, and alerts into mail.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hidps_lab::netns::Namespace;
use hidps_lab::world::outside::AlertRow;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{ADMIN, AGENT, VIEWER};

use crate::report::Observed;
use crate::story::{SOON, Story};

/// Titles of the rules that are meant to match.
const FILE_ALERT: &str = "File that grants access or runs by itself changed";
pub(crate) const BURST_ALERT: &str = "SSH brute force from one source";

/// Enough failures within a minute for the burst rule, which wants five.
const BURST: usize = 6;

/// Step 5.
pub(crate) async fn raise(story: &mut Story) -> Result<(Observed, ())> {
    let directory = story.world.directory().join("deploy/.ssh");
    fs::create_dir_all(&directory)?;
    let keys = directory.join("authorized_keys");
    fs::write(&keys, "ssh-ed25519 AAAA deploy\n")?;
    story.want_watched(&keys).await?;
    story.wait_condition("FilesWatched").await?;

    let begun = Instant::now();
    fs::write(
        &keys,
        "ssh-ed25519 AAAA deploy\nssh-ed25519 AAAA intruder\n",
    )?;
    let file_alert = wait_alerts(story, FILE_ALERT, |rows| rows.len() == 1)
        .await?
        .remove(0);
    let file_took = begun.elapsed();
    let burst_took = burst(story, story.world.host.stranger()).await?;
    let first = wait_alerts(story, BURST_ALERT, |rows| rows.len() == 1)
        .await?
        .remove(0);
    burst(story, story.world.host.stranger()).await?;
    let more = |rows: &[AlertRow]| rows.iter().any(|row| row.occurrences > first.occurrences);
    let rows = wait_alerts(story, BURST_ALERT, more).await?;

    ensure!(
        rows.len() == 1 && rows[0].id == first.id,
        "the repeat made {} rows",
        rows.len()
    );
    for alert in [&file_alert, &rows[0]] {
        ensure!(
            (1..=4).contains(&alert.severity),
            "severity {}",
            alert.severity
        );
        ensure!(
            !alert.message.is_empty() && !alert.fingerprint.is_empty(),
            "{alert:?}"
        );
        ensure!(
            alert
                .explanation
                .as_object()
                .is_some_and(|why| !why.is_empty()),
            "{alert:?}"
        );
    }
    let line = |alert: &AlertRow| {
        format!(
            "{} (severity {}, {}): {}",
            alert.title, alert.severity, alert.alert_type, alert.message
        )
    };
    let observed = Observed::default()
        .took(burst_took)
        .timed("file changed to alert", file_took)
        .fact("file", line(&file_alert))
        .fact("burst", line(&rows[0]))
        .fact(
            "occurrences",
            format!(
                "{} then {}, one row",
                first.occurrences, rows[0].occurrences
            ),
        )
        .fact("explanation", rows[0].explanation.clone());
    Ok((observed, ()))
}

/// Step 6.
pub(crate) async fn mail(story: &mut Story) -> Result<(Observed, ())> {
    let wanted = "a mail about the burst to each member";
    let begun = Instant::now();
    let stack = &story.world.stack;
    let mails = wait_until(wanted, SOON, async || {
        let mails = stack.mails().await.map_err(|error| error.to_string())?;
        let about: Vec<_> = mails
            .into_iter()
            .filter(|mail| mail.subject.contains(BURST_ALERT))
            .collect();
        let to: BTreeSet<_> = about
            .iter()
            .flat_map(|mail| mail.to.iter().cloned())
            .collect();
        let members = [ADMIN, VIEWER].map(str::to_owned).into();
        if to == members {
            Ok(about)
        } else {
            Err(format!("mail went to {to:?}"))
        }
    })
    .await;
    let took = begun.elapsed();

    let (mails, _) = mails?;
    let mail = mails.first().context("there is a mail")?;
    ensure!(
        mail.text.contains("web-01"),
        "the text does not name the host:\n{}",
        mail.text
    );
    let ids: BTreeSet<_> = mails
        .iter()
        .filter_map(|mail| mail.header("message-id"))
        .collect();
    ensure!(
        ids.len() == mails.len(),
        "{} mails have {} ids",
        mails.len(),
        ids.len()
    );
    ensure!(
        mails.len() == 2,
        "{} mails about one alert to two people",
        mails.len()
    );
    let observed = Observed::default()
        .took(took)
        .fact(
            "to",
            mails
                .iter()
                .flat_map(|mail| mail.to.clone())
                .collect::<Vec<_>>(),
        )
        .fact("subject", mail.subject.as_str())
        .fact(
            "text begins",
            mail.text.lines().take(4).collect::<Vec<_>>().join(" / "),
        );
    Ok((observed, ()))
}

/// Fails logins from a place; gives the time from the last one until nothing, as a latency's zero.
pub(crate) async fn burst(story: &Story, from: Option<&Namespace>) -> Result<Duration> {
    let ssh = story.world.host.ssh().context("the host has an sshd")?;
    ssh.fail_login(from, "root", BURST)?;
    let begun = Instant::now();
    wait_alerts(story, BURST_ALERT, |rows| !rows.is_empty()).await?;
    Ok(begun.elapsed())
}

/// Waits until the open alerts of a title are as wanted.
pub(crate) async fn wait_alerts(
    story: &Story,
    title: &str,
    wanted: impl Fn(&[AlertRow]) -> bool,
) -> Result<Vec<AlertRow>> {
    let outside = &story.world.outside;
    let found = wait_until(&format!("the alert {title:?}"), SOON, async || {
        let rows = outside
            .list_alerts(AGENT, title)
            .await
            .map_err(|error| error.to_string())?;
        if wanted(&rows) {
            Ok(rows)
        } else {
            Err(format!("{rows:?}"))
        }
    })
    .await?;
    Ok(found.0)
}
