//! A Sigma rule engine: events in, matches out.
//! It never reads a clock, a file or a socket; text and times come in as arguments.
//!
//! [`RuleSet::compile`] turns YAML texts into rules and refuses, with file, line and column, what
//! it cannot honour. [`Engine::observe`] tries them on one [`Event`] and hands out each [`Match`].
//! Correlation windows are kept apart by [`Scope`] and bounded by [`Limits`]; [`Engine::replace`]
//! changes the rules under running windows. [`Engine::explain`] and [`lint()`] tell people why.
//! [`tests::run_tests`] runs the tests that stand beside rules.

mod breaker;
mod compilation;
mod condition;
mod correlate;
mod correlation;
mod correlation_condition;
mod correlation_formula;
mod counters;
mod detection;
mod document;
mod encoding;
mod engine;
mod event;
mod exact_sum;
mod explain;
mod explain_windows;
mod explanation;
mod expression;
mod fault;
mod filter;
mod fold;
mod found;
mod glob;
mod json;
mod json_text;
mod layer;
mod limits;
mod lint;
mod lint_attributes;
mod lint_detection;
mod lint_links;
mod matcher;
mod metadata;
mod modifier;
mod network;
mod number;
mod number_window;
mod options;
mod own_attribute;
mod pattern;
mod pipeline;
mod pipeline_gate;
mod pipeline_parse;
mod pipeline_run;
mod pipeline_source;
mod placeholder;
mod prefilter;
mod probe;
mod rearm;
mod regular;
mod required;
mod resolve;
mod routing;
mod rule_set;
mod scan;
mod selection;
mod sequence;
pub mod tests;
mod time_part;
mod timespan;
mod value;
mod view;
mod vocabulary;
mod window;
mod window_store;
mod witness;
mod yaml;

pub use breaker::{Budget, Clock, Suspension};
pub use counters::{Counters, RuleCounters};
pub use engine::Engine;
pub use event::{Event, LogSource, Scope, Value};
pub use explanation::{Explanation, ItemTruth, SelectionTruth, Verdict, WindowState};
pub use fault::RuleError;
pub use found::{Match, Window};
pub use json::EventError;
pub use layer::{Layer, LayerLimits};
pub use limits::Limits;
pub use lint::{Finding, Severity, lint, lint_with};
pub use metadata::{Level, RuleInfo, Status};
pub use network::Network;
pub use options::Options;
pub use pipeline::Pipeline;
pub use probe::MAX_NANOS_PER_BYTE;
pub use rule_set::{RuleFile, RuleSet};
pub use window_store::Evictions;

/// Runs the examples of the crate's README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
