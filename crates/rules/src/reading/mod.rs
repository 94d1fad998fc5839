//! From YAML text to the rules of a set: documents, attributes, references, exceptions.
//! It never looks at an event.

pub(crate) mod compilation;
pub(crate) mod document;
pub(crate) mod filter;
pub(crate) mod metadata;
pub(crate) mod options;
pub(crate) mod own_attribute;
pub(crate) mod placeholder;
pub(crate) mod rearm;
pub(crate) mod resolve;
pub(crate) mod timespan;
pub(crate) mod yaml;
