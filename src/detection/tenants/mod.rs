//! What organizations want of detection beyond the built-in rules, for their own agents only.
//! It never lets one organization's wishes reach another's agents, and never takes a failed read for
//! an empty one.
//!
//! `follow` reads rows and puts layers in force, in `turns`; `draft` makes a layer of rows and says
//! which of them it cannot honour, within the `room` that is left; `known` is one organization as it
//! was last read, `layer` what workers look up, `engines` a worker's engines for them, `silence` one
//! suppression.

mod draft;
mod engines;
mod follow;
mod known;
mod layer;
mod room;
mod silence;
mod turns;

pub(super) use self::engines::OrgEngines;
pub use self::follow::{TenantFeed, TenantRules, TenantSettings};
pub use self::layer::Layers;
pub(super) use self::layer::{OrgLayer, Settings};

/// The layers of these wishes.
#[cfg(test)]
pub(super) fn layers_of(
    intents: &[crate::model::DetectionIntent],
    base: &hidps_rules::RuleSet,
) -> Layers {
    Layers::new(intents.iter().map(|intent| {
        let layer = draft::draft(intent, base, None, room::Room::all()).layer;
        (std::sync::Arc::new(layer), intent.agents.clone())
    }))
}
