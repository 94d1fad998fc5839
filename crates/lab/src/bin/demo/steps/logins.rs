//! Steps 3 and 4: a failed login as an event, who may see it, and that nobody keeps it.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use hidps_lab::world::STRANGER;
use hidps_lab::world::outside::find_in_files;
use hidps_lab::world::viewer::{Viewer, ViewerError};
use hidps_wire::{EventKind, FieldValue, LogEvent, Refusal};

use crate::report::Observed;
use crate::story::{SOON, Story, agent_id};

/// Step 3: the marked login comes from the host itself, apart from the bursts that raise alerts.
pub(crate) async fn stream(story: &mut Story) -> Result<Observed> {
    story.viewer().await?;
    let (host, user) = (&story.world.host, story.marker.clone());
    let ssh = host.ssh().context("the host has an sshd")?;
    let from = ssh.address().ip().to_string();

    ssh.fail_login(host.namespace(), &user, 1)?;
    let begun = Instant::now();
    let viewer = story.viewer().await?;
    let event = viewer
        .next_event("the failed login", SOON, |event| {
            text(event, "user") == user && text(event, "outcome") == "failure"
        })
        .await?;
    let took = begun.elapsed();

    ensure!(
        event.kind == EventKind::Login,
        "its kind is {:?}",
        event.kind
    );
    ensure!(
        &*event.service == "sshd",
        "its service is {}",
        event.service
    );
    ensure!(
        text(&event, "src_ip") == from,
        "its source is {}",
        text(&event, "src_ip")
    );
    ensure!(
        text(&event, "method") == "password",
        "its method is {}",
        text(&event, "method")
    );
    let observed = Observed::default()
        .took(took)
        .fact("line", event.message.as_str())
        .fact("source", from)
        .fact("method and outcome", "password, failure");
    Ok(observed)
}

/// Step 4.
pub(crate) async fn keep_private(story: &mut Story) -> Result<Observed> {
    let agent = agent_id()?;
    let stranger = story.world.sign_in(STRANGER).await?;
    let mut viewer = Viewer::connect(story.world.daemon.address(), stranger.access_token()).await?;
    let begun = Instant::now();
    let message = match viewer.subscribe(agent).await {
        Err(ViewerError::Refused {
            reason: Refusal::Forbidden,
            message,
        }) => message,
        other => bail!("a person of another organization got {other:?}"),
    };
    let took = begun.elapsed();

    let outside = story.world.outside();
    outside.flush().await?;
    let files = story.world.stack.data_dir();
    // The search itself is tried on something that is stored: a watched path.
    let stored = story.world.directory().display().to_string();
    let (in_tables, in_files) = (
        outside.find_in_tables(&stored).await?,
        find_in_files(files, &stored)?,
    );
    ensure!(
        !in_tables.is_empty() && !in_files.is_empty(),
        "the search finds nothing that is there"
    );
    let wal = in_files.iter().any(|file| file.contains("pg_wal"));
    ensure!(
        wal,
        "the search does not see the write-ahead log: {in_files:?}"
    );

    let marker = &story.marker;
    let kept = outside.find_in_tables(marker).await?;
    ensure!(kept.is_empty(), "the marked line is in {kept:?}");
    for directory in [files, &story.world.daemon_state()] {
        let kept = find_in_files(directory, marker)?;
        ensure!(kept.is_empty(), "the marked line is in {kept:?}");
    }
    let seen = story.watcher.as_ref().map_or(0, |(_, viewer)| {
        viewer
            .events()
            .iter()
            .filter(|event| event.message.contains(marker.as_str()))
            .count()
    });
    let observed = Observed::default()
        .took(took)
        .fact("another organization", format!("forbidden: {message}"))
        .fact("events with the marked word at the viewer", seen)
        .fact("tables, WAL, files and spool with the marked word", 0)
        .fact(
            "tables and files with a stored path",
            format!("{} and {}", in_tables.len(), in_files.len()),
        );
    Ok(observed)
}

fn text(event: &LogEvent<'_>, name: &str) -> String {
    match event.fields.get(name) {
        Some(FieldValue::Text(text)) => text.as_str().to_owned(),
        _ => String::new(),
    }
}
