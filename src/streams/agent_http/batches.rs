//! Lines of a post as batches that detection takes: as many as it needs, and no line too long for one.
//! It never leaves a line out; what is cut says so.

use hidps_wire::{
    EventBatch, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, MAX_EVENT_TEXT_BYTES, Parties,
    PostedLine, Text, encode,
};
use jiff::Timestamp;

use crate::streams::agent_http::lines::event_of;

/// Bytes of events in one batch; the rest is what stands around them.
const ROOM: usize = MAX_AGENT_FRAME_BYTES - 128;

/// The lengths to which texts of a line are cut, in bytes, until its event fits. What is taken out of
/// a line stands beside it, and a byte may be written as six.
const LENGTHS: [usize; 2] = [MAX_EVENT_TEXT_BYTES, 4 * 1024];

/// Short enough for any line.
const SHORTEST: usize = 512;

/// The lines, in their order, and how many of them are in each batch.
pub(super) fn batches_of(lines: &[PostedLine<'_>], now: Timestamp) -> Vec<(usize, String)> {
    let (mut batches, mut events, mut n_bytes) = (Vec::new(), Vec::new(), 0);
    let batch = |events: Vec<_>| (events.len(), encode(&EventBatch::new(1, 0, events)));
    for line in lines {
        let (event, length) = fitting_event(line, now);
        if n_bytes + length > ROOM {
            batches.push(batch(std::mem::take(&mut events)));
            n_bytes = 0;
        }
        n_bytes += length;
        events.push(event);
    }
    batches.push(batch(events));
    batches
}

/// The event of a line, and how long it is with what separates it from the next.
fn fitting_event(line: &PostedLine<'_>, now: Timestamp) -> (LogEvent<'static>, usize) {
    let within = |max| {
        let (cut, is_cut) = cut_line(line, max);
        let mut event = event_of(&cut, now);
        if is_cut {
            event.fields.push("truncated", FieldValue::Bool(true));
        }
        let length = encode(&event).len() + 1;
        (event.into_owned(), length)
    };
    let fits =
        |(event, length): &(LogEvent<'_>, usize)| event.is_within_limits() && *length <= ROOM;
    let fitting = LENGTHS.into_iter().map(within).find(fits);
    fitting.unwrap_or_else(|| within(SHORTEST))
}

/// The same line with every text cut to a length, and whether one was.
fn cut_line<'a>(line: &'a PostedLine<'_>, max: usize) -> (PostedLine<'a>, bool) {
    let mut is_cut = false;
    let mut cut = |text: &'a Text<'_>| {
        let text = text.as_str();
        let end = text.floor_char_boundary(max);
        is_cut |= end < text.len();
        Text::from(text.get(..end).unwrap_or_default())
    };
    let line = PostedLine {
        agent: None,
        timestamp: line.timestamp.as_ref().map(&mut cut),
        service: cut(&line.service),
        kind: line.kind.as_ref().map(&mut cut),
        message: cut(&line.message),
        parties: line.parties.as_ref().map(|parties| Parties {
            sender: cut(&parties.sender),
            receiver: cut(&parties.receiver),
            context: cut(&parties.context),
        }),
    };
    (line, is_cut)
}

#[cfg(test)]
mod tests {
    use hidps_wire::{MAX_EVENTS_PER_BATCH, decode};
    use proptest::prelude::*;

    use super::*;

    fn line(message: String) -> PostedLine<'static> {
        PostedLine {
            agent: None,
            timestamp: None,
            service: "sshd".to_owned().into(),
            kind: Some("login".to_owned().into()),
            message: message.into(),
            parties: None,
        }
    }

    /// The events of all batches; each batch is one that detection takes.
    fn events(lines: &[PostedLine<'_>]) -> Vec<(String, bool)> {
        let mut events = Vec::new();
        for (n_lines, text) in batches_of(lines, Timestamp::UNIX_EPOCH) {
            let batch: EventBatch<'_> =
                decode(&text, MAX_AGENT_FRAME_BYTES).expect("it is short enough");
            assert!(batch.events.iter().all(LogEvent::is_within_limits));
            assert_eq!(batch.events.len(), n_lines);
            events.extend(batch.events.iter().map(|event| {
                let is_cut = event.fields.get("truncated").is_some();
                (event.message.as_str().to_owned(), is_cut)
            }));
        }
        events
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_says_so_and_the_others_are_whole() {
        let events = events(&[
            line("first".into()),
            line("x".repeat(200_000)),
            line("\u{1}".repeat(200_000)),
            line("last".into()),
        ]);

        assert_eq!((&*events[0].0, events[0].1), ("first", false));
        assert_eq!(
            (events[1].0.len(), events[1].1),
            (MAX_EVENT_TEXT_BYTES, true)
        );
        assert!(events[2].1);
        assert_eq!((&*events[3].0, events[3].1), ("last", false));
    }

    #[test]
    fn lines_that_grow_by_how_they_are_written_become_several_batches() {
        let lines: Vec<_> = (0..MAX_EVENTS_PER_BATCH)
            .map(|_| line("\u{1}".repeat(3_000)))
            .collect();

        assert!(batches_of(&lines, Timestamp::UNIX_EPOCH).len() > 1);
        let events = events(&lines);
        assert_eq!(events.len(), lines.len());
        assert!(
            events
                .iter()
                .all(|(text, is_cut)| text.len() == 3_000 && !is_cut)
        );
    }

    proptest! {
        #[test]
        fn every_line_arrives_in_order(
            lines in prop::collection::vec((0..4_usize, 0..40_000_usize), 0..20)
        ) {
            let fill = ["x", "\"", "\u{7}", "é"];
            let lines: Vec<_> = lines
                .into_iter()
                .map(|(which, length)| line(fill[which].repeat(length)))
                .collect();
            let events = events(&lines);
            prop_assert_eq!(events.len(), lines.len());
            for (line, (text, is_cut)) in lines.iter().zip(events) {
                prop_assert!(line.message.starts_with(&text));
                prop_assert_eq!(is_cut, text.len() < line.message.len());
            }
        }
    }
}
