//! Real faults on the whole product, each ending in the host being what the rows say. The same
//! promises are kept on simulated time by `crates/simulation`, with far more schedules.

mod asked_rotation;
mod change_times;
mod feed;
mod health;
mod holds;
mod presence;
mod processes;
mod read_only;
mod reads;
mod rotation;
mod rules;
pub(crate) mod settled;
pub(crate) mod shared;
mod suspended;
mod tenants;
