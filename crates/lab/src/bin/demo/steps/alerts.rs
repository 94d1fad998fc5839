//! Steps 5 and 6: rules turn events into alerts, and alerts into mail.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hidps_lab::world::outside::AlertRow;
use hidps_lab::world::probe::wait_until;
use hidps_lab::world::{ADMIN, AGENT, VIEWER};
use hidps_local_supabase::Mail;

use crate::report::Observed;
use crate::story::{SOON, Story};

/// Titles of the rules that are meant to match.
const FILE_ALERT: &str = "File that grants access or runs by itself changed";
pub(crate) const BURST_ALERT: &str = "SSH brute force from one source";

/// The burst rule wants five failures within a minute; the alert is due with the last of them.
pub(crate) const BURST: usize = 5;

/// Step 5.
pub(crate) async fn raise(story: &mut Story) -> Result<Observed> {
    let (file_alert, file_took) = change_key_file(story).await?;
    let burst_took = burst(story).await?;
    let first = wait_alerts(story, BURST_ALERT, |rows| rows.len() == 1)
        .await?
        .remove(0);
    burst(story).await?;
    let more = |rows: &[AlertRow]| rows.iter().any(|row| row.occurrences > first.occurrences);
    let rows = wait_alerts(story, BURST_ALERT, more).await?;

    let [again] = rows.as_slice() else {
        bail!("the repeat made {} rows", rows.len());
    };
    ensure!(again.id == first.id, "the repeat made another row");
    let occurrences = format!("{} then {}, one row", first.occurrences, again.occurrences);
    let observed = Observed::default()
        .took(burst_took)
        .timed("file changed to alert", file_took)
        .fact("file", describe(&file_alert)?)
        .fact("burst", describe(again)?)
        .fact("occurrences", occurrences)
        .fact("explanation", again.explanation.clone());
    Ok(observed)
}

/// Adds a key to a watched file through which people get in.
async fn change_key_file(story: &mut Story) -> Result<(AlertRow, Duration)> {
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
    let mut rows = wait_alerts(story, FILE_ALERT, |rows| rows.len() == 1).await?;
    Ok((rows.remove(0), begun.elapsed()))
}

/// An alert in one line, after a look at whether it has what people need.
fn describe(alert: &AlertRow) -> Result<String> {
    let AlertRow {
        title,
        message,
        alert_type,
        severity,
        ..
    } = alert;
    let explained = alert
        .explanation
        .as_object()
        .is_some_and(|why| !why.is_empty());
    ensure!((1..=4).contains(severity) && explained, "{alert:?}");
    ensure!(
        !message.is_empty() && !alert.fingerprint.is_empty(),
        "{alert:?}"
    );
    Ok(format!(
        "{title} (severity {severity}, {alert_type}): {message}"
    ))
}

/// Step 6.
pub(crate) async fn mail(story: &mut Story) -> Result<Observed> {
    let begun = Instant::now();
    let mails = wait_mails(story, BURST_ALERT, 2).await?;
    let took = begun.elapsed();

    let to: BTreeSet<_> = mails
        .iter()
        .flat_map(|mail| mail.to.iter().cloned())
        .collect();
    ensure!(
        to == [ADMIN, VIEWER].map(str::to_owned).into(),
        "mail went to {to:?}"
    );
    let mail = mails.first().context("there is a mail")?;
    ensure!(
        mail.text.contains("web-01"),
        "the text names no host:\n{}",
        mail.text
    );
    let beginning = mail.text.lines().take(4).collect::<Vec<_>>().join(" / ");
    let observed = Observed::default()
        .took(took)
        .fact("to", Vec::from_iter(to))
        .fact("subject", mail.subject.as_str())
        .fact("text begins", beginning);
    Ok(observed)
}

/// Waits until so many mails about a title have come; each has an id of its own.
pub(crate) async fn wait_mails(story: &Story, title: &str, n_wanted: usize) -> Result<Vec<Mail>> {
    let stack = &story.world.stack;
    let wanted = format!("{n_wanted} mails about {title:?}");
    let found = wait_until(&wanted, SOON, async || {
        let mut mails = stack.mails().await.map_err(|error| error.to_string())?;
        mails.retain(|mail| mail.subject.contains(title));
        if mails.len() >= n_wanted {
            Ok(mails)
        } else {
            Err(format!("{} came", mails.len()))
        }
    });
    let (mails, _) = found.await?;
    let ids: BTreeSet<_> = mails
        .iter()
        .filter_map(|mail| mail.header("message-id"))
        .collect();
    ensure!(
        mails.len() == n_wanted,
        "{} mails came, not {n_wanted}",
        mails.len()
    );
    ensure!(
        ids.len() == n_wanted,
        "{n_wanted} mails have {} ids",
        ids.len()
    );
    Ok(mails)
}

/// Fails logins as the stranger; gives the time from the end of the last one to the alert's row.
async fn burst(story: &Story) -> Result<Duration> {
    let host = &story.world.host;
    let ssh = host.ssh().context("the host has an sshd")?;
    ssh.fail_login(host.stranger(), "root", BURST)?;
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
    let outside = story.world.outside();
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
