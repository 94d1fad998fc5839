//! What a rule over single events asks for: selections and the condition that joins them.
//! It never remembers anything from one event to the next.

pub(crate) mod condition;
pub(crate) mod detection;
pub(crate) mod expression;
pub(crate) mod selection;
