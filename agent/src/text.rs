//! Texts of others made fit for a log line or a message: bounded, and on one line.
//! It never changes what an event says; those are for machines and carry every byte.

/// The longest beginning of at most `max` bytes that ends between characters.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// The same text without white space around it, of at most `max_chars`, control characters
/// replaced: whoever wrote it cannot begin a line of ours, move a cursor or ring a bell.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    hidps_wire::printable(text.trim(), max_chars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cut_text_is_a_beginning_within_the_limit(text in ".{0,40}", max in 0_usize..50) {
            let short = cut(&text, max);

            prop_assert!(short.len() <= max && text.starts_with(short));
            prop_assert!(max - short.len() < 4 || short == text);
        }
    }

    #[test]
    fn a_text_of_somebody_else_stays_on_its_line() {
        assert_eq!(
            printable(" a\nERROR \u{1b}[31mforged ", 100),
            "a�ERROR �[31mforged"
        );
    }
}
