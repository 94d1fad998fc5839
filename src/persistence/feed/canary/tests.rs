//! A beat proves the feed only if it comes back by both ways in time.

use super::*;

const EVERY: Duration = Duration::from_secs(5);
const MS: Duration = Duration::from_millis(1);

/// A joined canary whose first beat is written.
fn beating() -> (Canary, Instant) {
    let now = Instant::now();
    let mut canary = Canary::new(EVERY, now);
    canary.on_ready(now);
    assert_eq!(canary.act(now), Some(Act::Write(1)));
    canary.on_written(1, Ok(()), now);
    (canary, now)
}

fn reason(canary: &Canary) -> Option<&'static str> {
    canary.report().1.map(|fault| fault.reason)
}

#[test]
fn nothing_is_written_before_the_feed_is_joined() {
    let now = Instant::now();
    let mut canary = Canary::new(EVERY, now);

    assert_eq!(canary.act(now + EVERY), None);
    assert_eq!(canary.deadline(), None);
}

#[test]
fn a_beat_that_comes_back_by_both_ways_is_well_and_timed() {
    let (mut canary, now) = beating();

    canary.on_heard(Way::Broadcast, 1, now + 2 * MS);
    canary.on_heard(Way::Changes, 1, now + 90 * MS);

    let (trip, fault) = canary.report();
    assert_eq!(fault, None);
    assert_eq!(trip.broadcast, Some(2 * MS));
    assert_eq!(trip.changes, Some(90 * MS));
    assert_eq!(canary.deadline(), Some(now + EVERY));
    assert_eq!(canary.act(now + EVERY), Some(Act::Write(2)));
}

#[test]
fn a_beat_may_come_back_before_its_write_is_answered() {
    let now = Instant::now();
    let mut canary = Canary::new(EVERY, now);
    canary.on_ready(now);
    canary.act(now);

    canary.on_heard(Way::Broadcast, 1, now + MS);
    canary.on_heard(Way::Changes, 1, now + MS);
    canary.on_written(1, Ok(()), now + 2 * MS);

    assert_eq!(canary.act(now + PATIENCE + EVERY), Some(Act::Write(2)));
    assert_eq!(reason(&canary), None);
}

#[test]
fn silence_of_either_way_is_named_and_joins_again() {
    let check = |heard: &[Way], expected| {
        let (mut canary, now) = beating();
        for way in heard {
            canary.on_heard(*way, 1, now + MS);
        }

        let act = canary.act(now + PATIENCE);

        assert_eq!(act, Some(Act::Rejoin(expected)));
        assert_eq!(reason(&canary), Some(expected));
    };

    check(&[], "CanarySilent");
    check(&[Way::Broadcast], "ChangesSilent");
    check(&[Way::Changes], "BroadcastSilent");
}

#[test]
fn a_way_that_stays_silent_costs_new_joins_less_and_less_often() {
    let (mut canary, mut now) = beating();
    let mut rejoins = 0;

    for _ in 0..3_600 {
        now += Duration::from_secs(1);
        match canary.act(now) {
            Some(Act::Rejoin(_)) => {
                rejoins += 1;
                canary.on_lost();
                canary.on_ready(now);
            }
            Some(Act::Write(beat)) => {
                canary.on_written(beat, Ok(()), now);
                canary.on_heard(Way::Broadcast, beat, now);
            }
            Some(Act::Compare) | None => {}
        }
    }

    assert!((5..=20).contains(&rejoins), "{rejoins} joins in an hour");
    assert_eq!(reason(&canary), Some("ChangesSilent"));
}

#[test]
fn a_beat_that_cannot_be_written_is_no_silence_of_the_feed() {
    let now = Instant::now();
    let mut canary = Canary::new(EVERY, now);
    canary.on_ready(now);
    canary.act(now);

    canary.on_written(1, Err("503".into()), now);

    assert_eq!(reason(&canary), Some("CanaryNotWritten"));
    assert_eq!(canary.act(now + EVERY), Some(Act::Write(2)));
}

#[test]
fn beats_of_an_earlier_join_prove_nothing() {
    let (mut canary, now) = beating();
    canary.on_lost();
    canary.on_ready(now);
    assert_eq!(canary.act(now), Some(Act::Write(2)));
    canary.on_written(2, Ok(()), now);

    canary.on_heard(Way::Broadcast, 1, now);
    canary.on_heard(Way::Changes, 1, now);

    assert!(matches!(canary.act(now + PATIENCE), Some(Act::Rejoin(_))));
}

/// Has the next beat come back by both ways.
fn come_back(canary: &mut Canary, beat: u64, now: Instant) {
    assert_eq!(canary.act(now), Some(Act::Write(beat)));
    canary.on_written(beat, Ok(()), now);
    canary.on_heard(Way::Broadcast, beat, now);
    canary.on_heard(Way::Changes, beat, now);
}

#[test]
fn a_feed_that_is_proven_after_a_beat_could_not_be_written_is_compared_once() {
    let now = Instant::now();
    let mut canary = Canary::new(EVERY, now);
    canary.on_ready(now);
    canary.act(now);
    canary.on_written(1, Err("no database".into()), now);

    come_back(&mut canary, 2, now + EVERY);

    assert_eq!(canary.act(now + EVERY), Some(Act::Compare));
    assert_eq!(canary.act(now + EVERY), None);
    assert_eq!(reason(&canary), None);
}

#[test]
fn a_feed_that_was_silent_and_joined_anew_is_compared_by_the_join_alone() {
    let (mut canary, now) = beating();
    assert!(matches!(canary.act(now + PATIENCE), Some(Act::Rejoin(_))));
    canary.on_lost();
    canary.on_ready(now + PATIENCE);

    come_back(&mut canary, 2, now + PATIENCE);

    assert_eq!(canary.act(now + PATIENCE), None);
}

#[test]
fn a_silence_that_ends_before_it_may_join_again_is_compared() {
    let (mut canary, now) = beating();
    assert!(matches!(canary.act(now + PATIENCE), Some(Act::Rejoin(_))));
    canary.on_lost();
    canary.on_ready(now + PATIENCE);
    assert_eq!(canary.act(now + PATIENCE), Some(Act::Write(2)));
    canary.on_written(2, Ok(()), now + PATIENCE);
    // Missed again, but a new join has to wait longer this time.
    canary.rejoin_at = now + 10 * PATIENCE;
    assert_eq!(canary.act(now + 2 * PATIENCE), None);

    come_back(&mut canary, 3, now + 2 * PATIENCE);

    assert_eq!(canary.act(now + 2 * PATIENCE), Some(Act::Compare));
}
