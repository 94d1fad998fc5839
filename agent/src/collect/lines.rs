//! Bytes into lines: partial ones wait for their end, endless ones are cut and marked.
//! It reads nothing itself.

use hidps_wire::MAX_EVENT_TEXT_BYTES;

/// Longest line that is passed on whole: the longest text an event may carry.
pub(super) const MAX_LINE_BYTES: usize = MAX_EVENT_TEXT_BYTES;

/// A line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line<'b> {
    /// Its bytes without the newline.
    pub(super) bytes: &'b [u8],
    /// Whether its end was cut off.
    pub(super) is_cut: bool,
}

/// The part of a line that has no end yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct LineSplitter {
    partial: Vec<u8>,
    /// The line was passed on already; the rest of it is not wanted.
    is_skipping: bool,
}

impl LineSplitter {
    /// One that begins within a long line of which nothing more is wanted.
    pub(super) fn in_cut_line() -> Self {
        Self {
            partial: Vec::new(),
            is_skipping: true,
        }
    }

    /// Whether it is within a long line that was passed on already.
    pub(super) fn is_in_cut_line(&self) -> bool {
        self.is_skipping
    }

    /// How many bytes of a line that has no end yet it holds.
    pub(super) fn pending_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Takes in bytes and passes every complete line on.
    pub(super) fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Line<'_>)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => self.end_line(end, &mut sink),
                None => self.extend(piece, &mut sink),
            }
        }
    }

    /// Passes on what has no newline and will get none.
    pub(super) fn finish(&mut self, mut sink: impl FnMut(Line<'_>)) {
        if !self.partial.is_empty() {
            self.end_line(b"", &mut sink);
        }
        *self = Self::default();
    }

    fn end_line(&mut self, end: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        if self.partial.is_empty() && !self.is_skipping && end.len() <= MAX_LINE_BYTES {
            // The common case: the line is whole and is not copied.
            return sink(Line {
                bytes: end,
                is_cut: false,
            });
        }
        self.extend(end, sink);
        if !self.is_skipping {
            sink(Line {
                bytes: &self.partial,
                is_cut: false,
            });
        }
        // A long line must not keep its memory.
        *self = Self::default();
    }

    fn extend(&mut self, piece: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        if self.is_skipping {
            return;
        }
        let room = MAX_LINE_BYTES - self.partial.len();
        let (taken, rest) = piece.split_at(room.min(piece.len()));
        self.partial.extend_from_slice(taken);
        if !rest.is_empty() {
            sink(Line {
                bytes: &self.partial,
                is_cut: true,
            });
            self.partial = Vec::new();
            self.is_skipping = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<(usize, Vec<u8>, bool)> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        let mut take = |line: Line<'_>| {
            lines.push((line.bytes.len(), line.bytes.to_owned(), line.is_cut));
        };
        for chunk in chunks {
            splitter.push(chunk, &mut take);
        }
        splitter.finish(&mut take);
        lines
    }

    proptest! {
        #[test]
        fn however_it_is_cut_into_pieces_the_lines_are_the_same(
            text in "[ab\n]{0,60}",
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();

            let lines = split(&chunks);

            let expected: Vec<_> = text.lines().map(|line| line.as_bytes().to_owned()).collect();
            let found: Vec<_> = lines.into_iter().map(|(_, line, _)| line).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_endless_line_is_cut_once_and_the_next_one_is_whole() {
        let long = vec![b'x'; MAX_LINE_BYTES + 5];

        let lines = split(&[&long, &long, b"\nnext\n"]);

        let sizes: Vec<_> = lines
            .iter()
            .map(|(size, _, is_cut)| (*size, *is_cut))
            .collect();
        assert_eq!(sizes, [(MAX_LINE_BYTES, true), (4, false)]);
    }

    #[test]
    fn a_line_of_just_the_greatest_length_is_whole() {
        let mut text = vec![b'x'; MAX_LINE_BYTES];
        text.push(b'\n');
        let (first, second) = text.split_at(7);

        assert!(!split(&[&text])[0].2);
        assert_eq!(
            split(&[first, second])[0],
            (MAX_LINE_BYTES, vec![b'x'; MAX_LINE_BYTES], false)
        );
    }
}
