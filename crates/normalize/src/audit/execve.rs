//! The arguments of a program that began, which come in one record or in pieces over several.
//! It puts no two arguments together and leaves none out of order.

use super::decode::{decode, text};
use super::record::without_last_word;
use super::words::Words;

/// Most arguments; a command line of more is cut.
const MAX_ARGUMENTS: usize = 256;

/// Longest argument list that is put together, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// An argument or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) argument: usize,
    pub(super) bytes: Vec<u8>,
}

/// The arguments, put together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Arguments {
    pub(super) texts: Vec<String>,
    /// Whether some are missing.
    pub(super) is_cut: bool,
}

/// The pieces in a record: `a0="ls"`, `a1=2F746D70`, `a2_len=18000 a2[0]=7878…`.
pub(super) fn take_pieces(words: &Words<'_>) -> Vec<Piece> {
    let named = words.named.iter();
    named
        .filter_map(|word| {
            let argument = argument_of(word.name)?;
            let bytes = decode(word.value, word.is_quoted)?;
            Some(Piece { argument, bytes })
        })
        .collect()
}

/// Whether a word is about an argument.
pub(super) fn is_of_arguments(name: &str) -> bool {
    let name = name.strip_suffix("_len").unwrap_or(name);
    argument_of(name).is_some()
}

/// The number of an argument: that of `a12`, and of `a12[3]`.
fn argument_of(name: &str) -> Option<usize> {
    let rest = name.strip_prefix('a')?;
    let number = match rest.split_once('[') {
        Some((number, part)) => {
            part.strip_suffix(']')?.parse::<u32>().ok()?;
            number
        }
        None => rest,
    };
    let is_digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|_| is_digits)
}

/// Puts the pieces of all records together, which come in their order; where one is missing, the
/// last word may be a part of a secret and is left out.
pub(super) fn join<'p>(pieces: impl IntoIterator<Item = &'p Piece>, has_more: bool) -> Arguments {
    let mut arguments: Vec<Vec<u8>> = Vec::new();
    let (mut is_cut, mut is_last_whole, mut n_bytes) = (has_more, !has_more, 0);
    for piece in pieces {
        n_bytes += piece.bytes.len();
        let is_next = piece.argument == arguments.len();
        let is_more = piece.argument + 1 == arguments.len();
        let fits = n_bytes <= MAX_BYTES && piece.argument < MAX_ARGUMENTS;
        match arguments.last_mut() {
            _ if !fits => {
                (is_cut, is_last_whole) = (true, is_next);
                break;
            }
            _ if is_next => arguments.push(piece.bytes.clone()),
            Some(last) if is_more => last.extend_from_slice(&piece.bytes),
            // A record before it is missing.
            _ => {
                (is_cut, is_last_whole) = (true, false);
                break;
            }
        }
    }
    let mut texts: Vec<_> = arguments.iter().map(|bytes| text(bytes)).collect();
    if !is_last_whole && let Some(last) = texts.pop() {
        texts.extend(Some(without_last_word(&last).to_owned()).filter(|left| !left.is_empty()));
    }
    Arguments { texts, is_cut }
}
