//! What people are told of a change that is held back.
//! It never decides; the plan does.

use crate::model::HoldMark;
use crate::reconcile::plan::HoldReason;

/// How a hold is ended by a person, once somebody has looked at it.
const RELEASE: &str = "insert a row into held_releases to let it through";

impl HoldReason {
    /// One CamelCase word for machines.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::WentBack => "GenerationWentBack",
            Self::OtherContent => "ContentDiffers",
            Self::ReadOnly => "ReadOnly",
            Self::Marked(HoldMark::BlastRadius) => "BlastRadius",
            Self::Marked(HoldMark::Unknown) => "HeldByDatabase",
            Self::Emptied { .. } => "Emptied",
            Self::Shrunk { .. } => "MassShrink",
        }
    }

    /// One sentence for people: what is held, why, and how to let it through.
    pub(super) fn sentence(self) -> String {
        match self {
            Self::WentBack => format!(
                "the host has applied a newer generation than the database holds, as after a \
                 restored backup; {RELEASE}"
            ),
            Self::OtherContent => format!(
                "the host has applied this generation with other content; change a desired value, \
                 or {RELEASE}"
            ),
            Self::ReadOnly => {
                "this daemon only observes (HIDPS_READ_ONLY) and sends no command".to_owned()
            }
            Self::Marked(HoldMark::BlastRadius) => format!(
                "too many agents of the organization were changed within a minute; {RELEASE}"
            ),
            Self::Marked(HoldMark::Unknown) => format!(
                "the database holds it back for a reason that this daemon does not know; {RELEASE}"
            ),
            Self::Emptied { applied } => format!(
                "the host had {applied} desired things of late, and none would remain; {RELEASE}"
            ),
            Self::Shrunk { applied, desired } => format!(
                "the host had {applied} desired things of late, and only {desired} would remain; \
                 {RELEASE}"
            ),
        }
    }
}
