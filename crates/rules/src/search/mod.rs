//! Which rules an event is tried on, and the event laid out for them.
//! It never decides a match: it leaves out only what cannot match.

pub(crate) mod json;
pub(crate) mod json_names;
pub(crate) mod json_text;
pub(crate) mod prefilter;
pub(crate) mod routing;
pub(crate) mod scan;
pub(crate) mod view;
pub(crate) mod witness;
