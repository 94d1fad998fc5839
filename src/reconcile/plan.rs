//! The pure decision: given what is desired and what is applied, what comes next.
//! It never looks at anything but its arguments.

use hidps_wire::Applied;

use crate::model::DesiredState;

/// What comes next for an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing: not known yet what is desired, or it is applied.
    Idle,
    /// Send the desired document.
    Apply,
    /// Send nothing and say why.
    Hold(HoldReason),
}

/// Why a desired document is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldReason {
    /// The agent has applied a newer generation: the database was set back.
    WentBack,
    /// The agent has applied this generation with other content.
    OtherContent,
}

/// Decides the next step.
///
/// Laws: total and deterministic; `Idle` if and only if nothing is desired or exactly that is
/// applied; after the document it asks for was applied, it is `Idle`.
#[must_use]
pub fn plan_step(desired: Option<&DesiredState>, applied: Option<&Applied>) -> Step {
    match (desired, applied) {
        (None, _) => Step::Idle,
        (Some(_), None) => Step::Apply,
        (Some(desired), Some(applied)) if applied.generation < desired.generation => Step::Apply,
        (Some(desired), Some(applied)) if applied.generation > desired.generation => {
            Step::Hold(HoldReason::WentBack)
        }
        (Some(desired), Some(applied)) if applied.hash == desired.hash => Step::Idle,
        (Some(_), Some(_)) => Step::Hold(HoldReason::OtherContent),
    }
}

#[cfg(test)]
mod tests {
    use hidps_wire::{ContentHash, DesiredDocument, Generation};
    use proptest::prelude::*;

    use super::*;

    fn desired() -> impl Strategy<Value = DesiredState> {
        (0_u64..4, "[ab]").prop_map(|(generation, hash)| DesiredState {
            generation: Generation(generation),
            hash: ContentHash(hash),
            document: DesiredDocument::default(),
        })
    }

    fn applied() -> impl Strategy<Value = Applied> {
        (0_u64..4, "[ab]").prop_map(|(generation, hash)| Applied {
            generation: Generation(generation),
            hash: ContentHash(hash),
        })
    }

    proptest! {
        #[test]
        fn idle_means_nothing_desired_or_exactly_that_applied(
            desired in proptest::option::of(desired()),
            applied in proptest::option::of(applied()),
        ) {
            let step = plan_step(desired.as_ref(), applied.as_ref());

            let converged = match (&desired, &applied) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(d), Some(a)) => d.generation == a.generation && d.hash == a.hash,
            };
            prop_assert_eq!(step == Step::Idle, converged);
        }

        #[test]
        fn applying_what_was_asked_for_leaves_nothing_to_do(
            desired in desired(),
            before in proptest::option::of(applied()),
        ) {
            prop_assume!(plan_step(Some(&desired), before.as_ref()) == Step::Apply);
            let after =
                Applied { generation: desired.generation, hash: desired.hash.clone() };

            prop_assert_eq!(plan_step(Some(&desired), Some(&after)), Step::Idle);
        }

        #[test]
        fn a_generation_never_goes_back(desired in desired(), applied in applied()) {
            let step = plan_step(Some(&desired), Some(&applied));

            prop_assert!(step != Step::Apply || desired.generation > applied.generation);
        }
    }
}
