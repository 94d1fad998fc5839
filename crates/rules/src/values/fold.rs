//! Case folding: one character to one character, the same for rules and events.
//! It never changes the number of characters, so `?` means the same before and after.

/// The caseless form of a character.
///
/// Lower case, character by character: a character whose lower case has several characters
/// stays as it is, and the two lower-case sigmas are one.
pub(crate) fn fold_char(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some('ς'), None) => 'σ',
        (Some(single), None) => single,
        _ => character,
    }
}

/// Appends the caseless form of `text` and answers where it begins and ends.
pub(crate) fn fold_into(text: &str, out: &mut String) -> (usize, usize) {
    let start = out.len();
    if text.is_ascii() {
        out.push_str(text);
        if let Some(added) = out.get_mut(start..) {
            added.make_ascii_lowercase();
        }
    } else {
        out.extend(text.chars().map(fold_char));
    }
    (start, out.len())
}

/// The caseless form of `text`.
pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{fold, fold_char};

    #[test]
    fn letters_of_one_kind_fold_together_in_every_alphabet() {
        for (left, right) in [
            ("ABC", "abc"),
            ("ÄÖÜ", "äöü"),
            ("ΣΑΣ", "σας"),
            ("ДА", "да"),
            ("K", "k"),
        ] {
            assert_eq!(fold(left), fold(right), "{left} and {right}");
        }
    }

    #[test]
    fn letters_that_would_become_several_stay_one() {
        assert_eq!(fold("İ"), "İ");
        assert_eq!(fold("ß"), "ß");
    }

    proptest! {
        #[test]
        fn folding_keeps_the_number_of_characters_and_is_done_after_once(text in any::<String>()) {
            let once = fold(&text);

            assert_eq!(once.chars().count(), text.chars().count());
            assert_eq!(fold(&once), once);
        }

        #[test]
        fn ascii_folds_as_ascii_does(text in "[ -~]*") {
            assert_eq!(fold(&text), text.to_ascii_lowercase());
        }

        #[test]
        fn every_character_folds_alone(character in any::<char>()) {
            assert_eq!(fold(&character.to_string()), fold_char(character).to_string());
        }
    }
}
