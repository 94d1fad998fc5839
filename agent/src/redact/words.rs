//! A text cut into words and the spaces between them, as a shell would, quotes included.
//! It takes nothing away: the pieces put together are the text.

/// A part of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece<'t> {
    /// White space.
    Space(&'t str),
    /// What stands between white space; spaces in quotes belong to it.
    Word(&'t str),
}

/// The pieces of a text, in order.
pub(super) fn split(text: &str) -> Pieces<'_> {
    Pieces {
        rest: text,
        unpaired: [false; 2],
    }
}

/// The pieces still to come.
pub(super) struct Pieces<'t> {
    rest: &'t str,
    /// Quotes of which no other is left, so that none is searched twice.
    unpaired: [bool; 2],
}

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let first = self.rest.chars().next()?;
        let end = if first.is_whitespace() {
            let end = self.rest.find(|c: char| !c.is_whitespace());
            end.unwrap_or(self.rest.len())
        } else {
            self.word_end()
        };
        let (piece, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(if first.is_whitespace() {
            Piece::Space(piece)
        } else {
            Piece::Word(piece)
        })
    }
}

impl Pieces<'_> {
    fn word_end(&mut self) -> usize {
        let mut at = 0;
        while let Some(c) = self.rest.get(at..).and_then(|rest| rest.chars().next()) {
            if c.is_whitespace() {
                return at;
            }
            at += c.len_utf8();
            let kind = match c {
                '"' => 0,
                '\'' => 1,
                _ => continue,
            };
            if self.unpaired[kind] {
                continue;
            }
            match self.rest.get(at..).and_then(|rest| rest.find(c)) {
                Some(length) => at += length + c.len_utf8(),
                None => self.unpaired[kind] = true,
            }
        }
        at
    }
}
