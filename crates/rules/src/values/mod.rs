//! From one value of a rule to a test on one value of an event.
//! It never knows of fields, rules or events.

pub(crate) mod encoding;
pub(crate) mod fold;
pub(crate) mod glob;
pub(crate) mod matcher;
pub(crate) mod modifier;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod pattern;
pub(crate) mod probe;
pub(crate) mod regular;
pub(crate) mod required;
pub(crate) mod time_part;
pub(crate) mod value;
