//! Many literals found in one pass over a text, by a bitmap of one rare piece of each.
//! It never misses a literal; every hit of the bitmap is compared before it counts.

use hashbrown::HashMap;

/// Literals to be found at any place of a text.
#[derive(Clone, Default, Debug)]
pub(crate) struct Scan {
    literals: Vec<Box<str>>,
    /// Literals of four bytes and more, if they are many.
    many: Pieces<4, 1>,
    /// Literals of four bytes and more, if they are few: every second byte is enough then.
    few: Pieces<3, 2>,
    /// Literals of two and three bytes.
    short: Pieces<2, 1>,
    /// Literals of one byte, which are bytes of ASCII.
    single: Vec<(u8, usize)>,
}

/// Pieces of `N` bytes of every literal, looked for at every `STEP`th byte of a text: as many of each
/// literal, so that one of them stands at such a byte wherever the literal does.
#[derive(Clone, Default, Debug)]
struct Pieces<const N: usize, const STEP: usize> {
    bits: Bits,
    /// Per piece the literals that have it, and where in them.
    owners: HashMap<[u8; N], Vec<(usize, usize)>>,
}

/// One bit per hash of a piece.
#[derive(Clone, Default, Debug)]
enum Bits {
    /// No literals.
    #[default]
    None,
    /// 8 KiB: for some 1,000 pieces, and always in the fastest cache.
    Few(Box<[u64; FEW]>),
    /// 64 KiB: for more, up to those of all community rules.
    Many(Box<[u64; MANY]>),
}

/// Words of the small bitmap.
const FEW: usize = 1 << 10;

/// Words of the large bitmap.
const MANY: usize = 1 << 13;

/// Most literals that are looked for at every second byte: three bytes of many of them would be in
/// every other word.
const MAX_SPARSE: usize = 300;

/// Most pieces in the small bitmap: one byte in sixty is looked at in vain then.
const MAX_FEW: usize = 1_000;

impl Scan {
    /// Prepares the search for literals, which have to be distinct and not empty.
    pub(crate) fn new(literals: Vec<Box<str>>) -> Self {
        let mut scan = Self::default();
        let are_few = literals.len() <= MAX_SPARSE;
        for (number, literal) in literals.iter().enumerate() {
            match literal.as_bytes() {
                [] => {}
                [only] => scan.single.push((*only, number)),
                [_, _] | [_, _, _] => scan.short.add(number, literal),
                _ if are_few => scan.few.add(number, literal),
                _ => scan.many.add(number, literal),
            }
        }
        scan.literals = literals;
        scan.few.finish();
        scan.many.finish();
        scan.short.finish();
        scan
    }

    /// Whether a literal has less than four bytes, so that texts are passed over twice.
    pub(crate) fn is_short(literal: &str) -> bool {
        literal.len() < 4
    }

    /// Whether its long literals are few, so that a text is passed over by every second byte.
    pub(crate) fn is_sparse(&self) -> bool {
        matches!(self.many.bits, Bits::None)
    }

    /// How long a literal is.
    pub(crate) fn length(&self, number: usize) -> usize {
        self.literals.get(number).map_or(0, |literal| literal.len())
    }

    /// Names to `found` every literal of four bytes and more that is in a text, and where; it may do
    /// so several times.
    pub(crate) fn find_long(&self, text: &str, found: &mut impl FnMut(usize, usize)) {
        self.few.find(text.as_bytes(), &self.literals, found);
        self.many.find(text.as_bytes(), &self.literals, found);
    }

    /// Names to `found` every shorter literal that is in a text, and where it once is.
    pub(crate) fn find_short(&self, text: &str, found: &mut impl FnMut(usize, usize)) {
        self.short.find(text.as_bytes(), &self.literals, found);
        for (byte, number) in &self.single {
            if let Some(at) = memchr::memchr(*byte, text.as_bytes()) {
                found(*number, at);
            }
        }
    }
}

impl<const N: usize, const STEP: usize> Pieces<N, STEP> {
    /// Adds a literal under its rarest pieces, one for every place it may have between two steps.
    fn add(&mut self, number: usize, literal: &str) {
        for first in 0..STEP {
            let pieces = literal.as_bytes().windows(N).enumerate();
            let pieces = pieces.skip(first).step_by(STEP);
            let Some((at, piece)) = pieces.max_by_key(|(_, piece)| rarity(piece)) else {
                continue;
            };
            if let Ok(piece) = piece.try_into() {
                self.owners.entry(piece).or_default().push((number, at));
            }
        }
    }

    /// Builds the bitmap.
    fn finish(&mut self) {
        self.bits = match self.owners.len() {
            0 => Bits::None,
            1..=MAX_FEW => Bits::Few(self.mark()),
            _ => Bits::Many(self.mark()),
        };
    }

    /// A bitmap with the bits of all pieces.
    fn mark<const WORDS: usize>(&self) -> Box<[u64; WORDS]> {
        let mut bitmap = Box::new([0; WORDS]);
        for piece in self.owners.keys() {
            let bit = place::<WORDS>(number(piece));
            bitmap[bit / 64] |= 1 << (bit % 64);
        }
        bitmap
    }

    /// Names to `found` the literals in a text.
    fn find(&self, text: &[u8], literals: &[Box<str>], found: &mut impl FnMut(usize, usize)) {
        match &self.bits {
            Bits::None => {}
            Bits::Few(bitmap) => self.find_in(bitmap, text, literals, found),
            Bits::Many(bitmap) => self.find_in(bitmap, text, literals, found),
        }
    }

    /// Tries the piece at every step, four at a time.
    fn find_in<const WORDS: usize>(
        &self,
        bitmap: &[u64; WORDS],
        text: &[u8],
        literals: &[Box<str>],
        found: &mut impl FnMut(usize, usize),
    ) {
        let is_marked = |number: u32| {
            let bit = place::<WORDS>(number);
            bitmap[bit / 64] >> (bit % 64) & 1
        };
        let mut at = 0;
        while let Some([first, second, third, fourth]) = Self::pieces_at(text, at) {
            let marks = is_marked(first)
                | is_marked(second) << 1
                | is_marked(third) << 2
                | is_marked(fourth) << 3;
            if marks != 0 {
                for step in (0..4).filter(|step| marks >> step & 1 != 0) {
                    self.compare(text, at + step * STEP, literals, found);
                }
            }
            at += 4 * STEP;
        }
        let rest = text.get(at..).unwrap_or_default();
        for (offset, piece) in rest.windows(N).enumerate().step_by(STEP) {
            if is_marked(number(piece)) != 0 {
                self.compare(text, at + offset, literals, found);
            }
        }
    }

    /// The pieces at four steps, while the text goes on behind them.
    fn pieces_at(text: &[u8], at: usize) -> Option<[u32; 4]> {
        let rest = text.get(at..)?;
        let mask = u32::MAX >> (8 * (4 - N));
        if STEP == 1 {
            let block = u64::from_le_bytes(*rest.first_chunk()?);
            return Some([0, 8, 16, 24].map(|shift| (block >> shift) as u32 & mask));
        }
        let [a, b, c, d, e, f, g, h, i, j] = *rest.first_chunk::<10>()?;
        let pieces = [[a, b, c, d], [c, d, e, f], [e, f, g, h], [g, h, i, j]];
        Some(pieces.map(|piece| u32::from_le_bytes(piece) & mask))
    }

    /// Compares the literals that have the piece at `at`.
    #[inline(never)]
    fn compare(
        &self,
        text: &[u8],
        at: usize,
        literals: &[Box<str>],
        found: &mut impl FnMut(usize, usize),
    ) {
        let piece = text.get(at..).and_then(<[u8]>::first_chunk::<N>);
        let Some(owners) = piece.and_then(|piece| self.owners.get(piece)) else {
            return;
        };
        for (number, offset) in owners {
            let Some(start) = at.checked_sub(*offset) else {
                continue;
            };
            let rest = text.get(start..);
            let literal = literals
                .get(*number)
                .map_or(&[][..], |literal| literal.as_bytes());
            if rest.is_some_and(|rest| rest.starts_with(literal)) {
                found(*number, start);
            }
        }
    }
}

/// A piece as a number.
fn number(piece: &[u8]) -> u32 {
    match *piece {
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]),
        [a, b] => u32::from_le_bytes([a, b, 0, 0]),
        _ => 0,
    }
}

/// The bit of a piece in a bitmap of so many words.
fn place<const WORDS: usize>(number: u32) -> usize {
    let bits = (WORDS * 64).trailing_zeros();
    (number.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// Pieces that lines of servers are full of; a literal is not looked for by them if it can be
/// helped.
const COMMON: [&[u8; 4]; 24] = [
    b"/usr", b"usr/", b"sr/b", b"r/bi", b"/bin", b"bin/", b"/sbi", b"sbin", b"/etc", b"etc/",
    b"/var", b"var/", b"/log", b"/tmp", b"/lib", b"lib/", b"http", b"ttp:", b"tp:/", b"p://",
    b"/hom", b"home", b"root", b"user",
];

/// How rarely ordinary lines have a piece: only the order has a meaning.
fn rarity(piece: &[u8]) -> u32 {
    if COMMON.iter().any(|common| common.as_slice() == piece) {
        return 0;
    }
    let of_byte = |byte: &u8| match byte {
        b'e' | b'a' | b's' | b'r' | b't' | b'o' | b'i' | b'n' | b' ' | b'/' => 1,
        b'l' | b'c' | b'd' | b'p' | b'm' | b'u' | b'-' | b'.' | b'0'..=b'9' => 2,
        b'b' | b'f' | b'g' | b'h' | b'v' | b'w' | b'y' | b'_' | b':' | b'=' => 3,
        b'k' | b'x' | b'j' | b'q' | b'z' => 5,
        _ => 6,
    };
    piece.iter().map(of_byte).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop_oneof, proptest};

    use super::{MAX_SPARSE, Scan};

    proptest! {
        #[test]
        fn every_literal_in_a_text_is_found_and_no_other(
            mut literals in proptest::collection::vec("[ab/é]{1,6}", 0..12),
            text in "[ab/é]{0,30}",
            others in prop_oneof![Just(0), Just(MAX_SPARSE)],
        ) {
            literals.extend((0..others).map(|number| format!("other{number}")));
            literals.sort();
            literals.dedup();
            let scan = Scan::new(literals.iter().map(|literal| literal.as_str().into()).collect());
            let mut found = Vec::new();

            scan.find_long(&text, &mut |number, at| found.push((number, at)));
            scan.find_short(&text, &mut |number, at| found.push((number, at)));
            for (number, at) in &found {
                assert!(text.get(*at..).is_some_and(|rest| rest.starts_with(&literals[*number])));
            }
            let mut found: Vec<usize> = found.into_iter().map(|(number, _)| number).collect();

            found.sort_unstable();
            found.dedup();
            let expected: Vec<usize> = (0..literals.len())
                .filter(|number| text.contains(&literals[*number]))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn short_literals_are_looked_for_only_where_they_are_wanted() {
        let scan = Scan::new(["abcd", "abc", "a"].map(Into::into).to_vec());
        let find = |with_short| {
            let mut found = Vec::new();
            scan.find_long("xabcdx", &mut |number, _| found.push(number));
            if with_short {
                scan.find_short("xabcdx", &mut |number, _| found.push(number));
            }
            found
        };

        assert_eq!(find(false), [0]);
        assert_eq!(find(true), [0, 1, 2]);
    }
}
