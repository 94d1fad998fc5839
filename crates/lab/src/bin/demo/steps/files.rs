//! Step 2: a watched file and everything that can happen to it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hidps_wire::{EventKind, FieldValue, LogEvent};

use crate::report::Observed;
use crate::story::{SOON, Story};

/// Step 2.
pub(crate) async fn watch(story: &mut Story) -> Result<Observed> {
    let directory = story.world.directory().join("watched");
    fs::create_dir(&directory)?;
    let file = directory.join("accounts.txt");
    fs::write(&file, "one\n")?;
    story.viewer().await?;

    let begun = Instant::now();
    story.want_watched(&file).await?;
    let (condition, _) = story.wait_condition("FilesWatched").await?;
    let watched = begun.elapsed();
    if let Some(before) = story.accepted {
        // The same firewall value was written again in between.
        let after = story.count_accepted();
        ensure!(
            after == before + 1,
            "the agent was sent {} documents for one change",
            after - before
        );
    }

    let (aside, new) = (directory.join("aside.txt"), directory.join("new.txt"));
    let mut latencies = Vec::new();
    latencies.push(expect_one(story, &file, "modified", || append(&file)).await?);
    let replace = || fs::write(&new, "two\n").and_then(|()| fs::rename(&new, &file));
    latencies.push(expect_one(story, &file, "moved_to", replace).await?);
    latencies.push(expect_one(story, &file, "moved_from", || fs::rename(&file, &aside)).await?);
    latencies.push(expect_one(story, &file, "moved_to", || fs::rename(&aside, &file)).await?);
    latencies.push(expect_one(story, &file, "deleted", || fs::remove_file(&file)).await?);
    ensure_no_repeats(story, &file).await?;
    let (missing, _) = story.wait_status("FilesWatched", "false").await?;
    story.want_unwatched(&file).await?;
    story.wait_condition("FilesWatched").await?;

    let slowest = latencies.into_iter().max().unwrap_or_default();
    let observed = Observed::default()
        .took(slowest)
        .timed("row to watched", watched)
        .fact(
            "condition",
            format!("{}: {}", condition.reason, condition.message),
        )
        .fact(
            "while it is gone",
            format!("{}: {}", missing.reason, missing.message),
        )
        .fact(
            "events",
            "modified, moved_to, moved_from, moved_to, deleted: one each, with the file's name",
        );
    Ok(observed)
}

/// Does something to a file and waits for its event at the viewer.
async fn expect_one(
    story: &mut Story,
    file: &Path,
    action: &str,
    act: impl FnOnce() -> std::io::Result<()>,
) -> Result<Duration> {
    let viewer = story.viewer().await?;
    let begun = Instant::now();
    act().with_context(|| format!("{action} of the file"))?;
    let wanted = format!("the event {action}");
    let event = viewer
        .next_event(&wanted, SOON, |event| is_about(event, file, action))
        .await?;
    ensure!(
        event.kind == EventKind::FileMonitoring,
        "its kind is {:?}",
        event.kind
    );
    Ok(begun.elapsed())
}

/// What was done five times came as five events; the stream is in order, so a later login that the
/// viewer saw would have come after any straggler. Here the deletion is last.
async fn ensure_no_repeats(story: &mut Story, file: &Path) -> Result<()> {
    let viewer = story.viewer().await?;
    let count = |action: &str| {
        viewer
            .events()
            .iter()
            .filter(|e| is_about(e, file, action))
            .count()
    };
    let counts = ["created", "modified", "moved_to", "moved_from", "deleted"].map(count);
    ensure!(counts == [0, 1, 2, 1, 1], "events came {counts:?} times");
    Ok(())
}

fn is_about(event: &LogEvent<'_>, file: &Path, action: &str) -> bool {
    let text = |name: &str| match event.fields.get(name) {
        Some(FieldValue::Text(text)) => text.as_str().to_owned(),
        _ => String::new(),
    };
    Path::new(&text("TargetFilename")) == file && text("action") == action
}

fn append(file: &Path) -> std::io::Result<()> {
    fs::OpenOptions::new()
        .append(true)
        .open(file)?
        .write_all(b"more\n")
}
