//! Many literals found in one pass over a text, by a bitmap of one rare piece of each.
//! It never misses a literal; every hit of the bitmap is compared before it counts.

use hashbrown::HashMap;

/// Literals to be found at any place of a text.
#[derive(Clone, Default, Debug)]
pub(crate) struct Scan {
    literals: Vec<Box<str>>,
    /// Literals of four bytes and more.
    long: Pieces<4>,
    /// Literals of two and three bytes.
    short: Pieces<2>,
    /// Literals of one byte, which are bytes of ASCII.
    single: Vec<(u8, usize)>,
}

/// One piece of `N` bytes of every literal.
#[derive(Clone, Default, Debug)]
struct Pieces<const N: usize> {
    /// One bit per hash of a piece; empty without literals.
    bitmap: Vec<u64>,
    /// Shifts a hash down to the number of a bit.
    shift: u32,
    /// Per piece the literals that have it, and where in them.
    owners: HashMap<[u8; N], Vec<(usize, usize)>>,
}

impl Scan {
    /// Prepares the search for literals, which have to be distinct and not empty.
    pub(crate) fn new(literals: Vec<Box<str>>) -> Self {
        let mut scan = Self::default();
        for (number, literal) in literals.iter().enumerate() {
            match literal.as_bytes() {
                [] => {}
                [only] => scan.single.push((*only, number)),
                [_, _] | [_, _, _] => scan.short.add(number, literal),
                _ => scan.long.add(number, literal),
            }
        }
        scan.literals = literals;
        scan.long.finish();
        scan.short.finish();
        scan
    }

    /// Whether a literal has less than four bytes, so that texts are passed over twice.
    pub(crate) fn is_short(literal: &str) -> bool {
        literal.len() < 4
    }

    /// Names to `found` every literal that is in a text, perhaps several times.
    pub(crate) fn find(&self, text: &str, with_short: bool, found: &mut impl FnMut(usize)) {
        self.long.find(text.as_bytes(), &self.literals, found);
        if with_short {
            self.short.find(text.as_bytes(), &self.literals, found);
            for (byte, number) in &self.single {
                if memchr::memchr(*byte, text.as_bytes()).is_some() {
                    found(*number);
                }
            }
        }
    }
}

impl<const N: usize> Pieces<N> {
    /// Adds a literal under its rarest piece.
    fn add(&mut self, number: usize, literal: &str) {
        let pieces = literal.as_bytes().windows(N).enumerate();
        let Some((at, piece)) = pieces.max_by_key(|(_, piece)| rarity(piece)) else {
            return;
        };
        if let Ok(piece) = piece.try_into() {
            self.owners.entry(piece).or_default().push((number, at));
        }
    }

    /// Builds the bitmap: some sixty bits for every piece, so that one byte in sixty is looked at
    /// in vain, within bounds that keep it in the cache.
    fn finish(&mut self) {
        if self.owners.is_empty() {
            return;
        }
        let bits = (self.owners.len() * 64)
            .next_power_of_two()
            .clamp(1 << 10, 1 << 18);
        self.shift = 32 - bits.trailing_zeros();
        self.bitmap = vec![0; bits / 64];
        for piece in self.owners.keys() {
            let bit = place(piece, self.shift);
            self.bitmap[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Names to `found` the literals in a text.
    fn find(&self, text: &[u8], literals: &[Box<str>], found: &mut impl FnMut(usize)) {
        if self.bitmap.is_empty() {
            return;
        }
        for (at, piece) in text.windows(N).enumerate() {
            let bit = place(piece, self.shift);
            let word = self.bitmap.get(bit / 64).copied().unwrap_or_default();
            if word >> (bit % 64) & 1 != 0 {
                self.compare(text, at, piece, literals, found);
            }
        }
    }

    /// Compares the literals that have the piece at `at`.
    #[inline(never)]
    fn compare(
        &self,
        text: &[u8],
        at: usize,
        piece: &[u8],
        literals: &[Box<str>],
        found: &mut impl FnMut(usize),
    ) {
        let Some(owners) = <[u8; N]>::try_from(piece)
            .ok()
            .and_then(|piece| self.owners.get(&piece))
        else {
            return;
        };
        for (number, offset) in owners {
            let rest = at.checked_sub(*offset).and_then(|start| text.get(start..));
            let literal = literals
                .get(*number)
                .map_or(&[][..], |literal| literal.as_bytes());
            if rest.is_some_and(|rest| rest.starts_with(literal)) {
                found(*number);
            }
        }
    }
}

/// The number of the bit of a piece.
#[inline(always)]
fn place(piece: &[u8], shift: u32) -> usize {
    let number = match *piece {
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
        [a, b] => u32::from_le_bytes([a, b, 0, 0]),
        _ => 0,
    };
    (number.wrapping_mul(0x9e37_79b1) >> shift) as usize
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
    use proptest::prelude::proptest;

    use super::Scan;

    proptest! {
        #[test]
        fn every_literal_in_a_text_is_found_and_no_other(
            mut literals in proptest::collection::vec("[ab/é]{1,6}", 0..12),
            text in "[ab/é]{0,30}",
        ) {
            literals.sort();
            literals.dedup();
            let scan = Scan::new(literals.iter().map(|literal| literal.as_str().into()).collect());
            let mut found = Vec::new();

            scan.find(&text, true, &mut |number| found.push(number));

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
            scan.find("xabcdx", with_short, &mut |number| found.push(number));
            found
        };

        assert_eq!(find(false), [0]);
        assert_eq!(find(true), [0, 1, 2]);
    }
}
