//! The condition of a key that is to be given up.
//! It never says that a key is given up which is still the agent's.

use hidps_wire::{AgentCondition, ConditionStatus, FacetCondition};

use super::condition;
use crate::retirement::{Retirement, Standing};
use crate::text::printable;

/// Longest part of a key that is quoted; a real one has 44 characters.
const MAX_KEY_CHARS: usize = 64;

/// The condition, from the key that a document names and what was told last, maybe of another one.
#[must_use]
pub fn retirement_condition(key: &str, told: Option<&Retirement>) -> AgentCondition {
    let facet = FacetCondition::KeyRotated;
    let standing = told.filter(|told| told.key == key);
    let key = printable(key, MAX_KEY_CHARS);
    match standing.map_or(&Standing::Waiting, |told| &told.standing) {
        Standing::Waiting => {
            let message =
                format!("the key {key} is to be replaced, which waits for the daemon to be asked");
            condition(facet, ConditionStatus::False, "Waiting", &message)
        }
        Standing::Done => {
            let message = format!("the key {key} is not this agent's any more");
            condition(facet, ConditionStatus::True, "Rotated", &message)
        }
        Standing::Failed(why) => {
            let message =
                format!("the key {key} is still to be replaced, which is tried again: {why}");
            condition(facet, ConditionStatus::False, "NotRotated", &message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: &str, standing: Standing) -> Retirement {
        Retirement {
            key: key.to_owned(),
            standing,
        }
    }

    #[test]
    fn what_was_told_of_another_key_says_nothing_of_this_one() {
        let done = told("first", Standing::Done);

        let of_it = retirement_condition("first", Some(&done));
        let of_another = retirement_condition("second", Some(&done));

        assert_eq!(
            (of_it.status, &*of_it.reason),
            (ConditionStatus::True, "Rotated")
        );
        assert_eq!(
            (of_another.status, &*of_another.reason),
            (ConditionStatus::False, "Waiting")
        );
        assert_eq!(of_another, retirement_condition("second", None));
    }

    #[test]
    fn a_failure_is_told_with_its_reason_and_the_key_as_text() {
        let failed = told(
            "k\u{1b}[2J",
            Standing::Failed("the daemon refused".to_owned()),
        );

        let condition = retirement_condition("k\u{1b}[2J", Some(&failed));

        assert_eq!(condition.reason, "NotRotated");
        assert!(
            condition
                .message
                .ends_with("tried again: the daemon refused")
        );
        assert!(!condition.message.contains('\u{1b}'));
    }
}
