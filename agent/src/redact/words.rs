//! A text cut as a shell would: words with their quotes, spaces, comments, the borders of `$(…)`.
//! It takes nothing away: the pieces put together are the text.

/// How deep commands within commands are followed.
const MAX_NESTED: usize = 16;

/// A part of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece<'t> {
    /// White space.
    Space(&'t str),
    /// What stands between white space; spaces in quotes belong to it.
    Word(&'t str),
    /// A word whose double quotes are interrupted by a command.
    Interrupted(&'t str),
    /// `$(` or a backtick: a command begins whose output is a part of the word.
    Begin(&'t str),
    /// That command ends.
    End(&'t str),
}

/// The pieces of a text, in order.
pub(super) fn split(text: &str) -> Pieces<'_> {
    Pieces {
        rest: text,
        unpaired: [false; 2],
        is_quoted: false,
        is_comment: false,
        is_beginning: true,
        frames: Vec::new(),
    }
}

/// The first sign between commands that stands in no quotes, in a word that is not empty.
pub(super) fn separator(word: &str) -> Option<usize> {
    if !word.contains(['|', ';', '&', '(', ')']) {
        return None;
    }
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in word.char_indices() {
        let follows = |next| {
            word.get(at + 1..)
                .is_some_and(|rest| rest.starts_with(next))
        };
        match c {
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            // A redirection is none.
            '&' if matches!(before, '>' | '<') || follows('>') => {}
            '|' if before == '>' => {}
            '|' | ';' | '&' | '(' | ')' if quote.is_none() => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

/// A command within a word.
#[derive(Clone, Copy, Debug)]
struct Frame {
    is_backtick: bool,
    /// Parentheses that are open within it.
    n_open: u32,
    /// It interrupts double quotes, which go on behind it.
    is_quoted: bool,
}

/// The pieces still to come.
pub(super) struct Pieces<'t> {
    rest: &'t str,
    /// Quotes of which no other is left, so that none is searched twice.
    unpaired: [bool; 2],
    /// The rest begins within double quotes.
    is_quoted: bool,
    /// The rest begins in a comment, where a quote is a letter until the line ends.
    is_comment: bool,
    /// The rest is where a word or a comment may begin.
    is_beginning: bool,
    frames: Vec<Frame>,
}

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let first = self.rest.chars().next()?;
        if !self.is_quoted && first.is_whitespace() {
            let end = self.rest.find(|c: char| !c.is_whitespace());
            let space = self.take(end.unwrap_or(self.rest.len()))?;
            self.is_comment &= !space.contains('\n');
            self.is_beginning = true;
            return Some(Piece::Space(space));
        }
        let is_beginning = std::mem::take(&mut self.is_beginning);
        self.is_comment |= is_beginning && first == '#' && !self.is_quoted;
        if self.is_comment {
            let end = self.rest.find(char::is_whitespace);
            return self.take(end.unwrap_or(self.rest.len())).map(Piece::Word);
        }
        if !self.is_quoted && self.is_end(first) {
            self.is_quoted = self.frames.pop().is_some_and(|frame| frame.is_quoted);
            return self.take(1).map(Piece::End);
        }
        let begin = self.begin_length(self.rest);
        if begin > 0 {
            self.frames.push(Frame {
                is_backtick: first == '`',
                n_open: 0,
                is_quoted: std::mem::take(&mut self.is_quoted),
            });
            self.is_beginning = true;
            return self.take(begin).map(Piece::Begin);
        }
        let end = self.word_end();
        let word = self.take(end)?;
        Some(if self.is_quoted {
            Piece::Interrupted(word)
        } else {
            Piece::Word(word)
        })
    }
}

impl<'t> Pieces<'t> {
    /// What is still to come.
    pub(super) fn rest(&self) -> &'t str {
        self.rest
    }

    fn take(&mut self, end: usize) -> Option<&'t str> {
        let (piece, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(piece)
    }

    /// Whether this sign ends the command that began last.
    fn is_end(&self, sign: char) -> bool {
        self.frames.last().is_some_and(|frame| match sign {
            '`' => frame.is_backtick,
            ')' => !frame.is_backtick && frame.n_open == 0,
            _ => false,
        })
    }

    /// How long the sign is by which a command begins here; 0 where none does.
    fn begin_length(&self, text: &str) -> usize {
        if self.frames.len() >= MAX_NESTED {
            0
        } else if text.starts_with("$(") {
            2
        } else {
            usize::from(text.starts_with('`') && !self.is_end('`'))
        }
    }

    /// Where the word ends; within double quotes, if a command interrupts it there.
    fn word_end(&mut self) -> usize {
        let mut at = 0;
        if self.is_quoted {
            match self.quoted_end(0) {
                Some(end) if self.is_quoted => return end,
                Some(end) => at = end,
                None => self.is_quoted = false,
            }
        }
        while let Some(c) = self.rest.get(at..).and_then(|rest| rest.chars().next()) {
            let here = self.rest.get(at..).unwrap_or_default();
            if c.is_whitespace() || self.is_end(c) || self.begin_length(here) > 0 {
                return at;
            }
            at += c.len_utf8();
            if let ('(' | ')', Some(frame)) = (c, self.frames.last_mut()) {
                let n_open = frame.n_open;
                frame.n_open = if c == '(' {
                    n_open + 1
                } else {
                    n_open.saturating_sub(1)
                };
            }
            match c {
                '"' if !self.unpaired[0] => match self.quoted_end(at) {
                    Some(end) if self.is_quoted => return end,
                    Some(end) => at = end,
                    None => self.unpaired[0] = true,
                },
                '\'' if !self.unpaired[1] => match self.rest.get(at..).and_then(|s| s.find(c)) {
                    Some(length) => at += length + 1,
                    None => self.unpaired[1] = true,
                },
                _ => {}
            }
        }
        at
    }

    /// Where double quotes end that are open here, or are interrupted by a command.
    fn quoted_end(&mut self, from: usize) -> Option<usize> {
        let inside = self.rest.get(from..)?;
        let mut at = 0;
        loop {
            at += inside.get(at..)?.find(['"', '`', '$'])?;
            let here = inside.get(at..)?;
            if here.starts_with('"') {
                self.is_quoted = false;
                return Some(from + at + 1);
            }
            if self.begin_length(here) > 0 || here.starts_with('`') && self.is_end('`') {
                self.is_quoted = !self.is_end('`') || !here.starts_with('`');
                return Some(from + at);
            }
            at += 1;
        }
    }
}
