//! A Sigma rule engine: events in, matches out.
//! It never reads a clock, a file or a socket; text and times come in as arguments.
//!
//! [`RuleSet::compile`] turns YAML texts into rules and refuses, with file, line and column, what
//! it cannot honour. [`Engine::observe`] tries them on one [`Event`] and hands out each [`Match`].
//! Correlation windows are kept apart by [`Scope`] and bounded by [`Limits`]; [`Engine::replace`]
//! changes the rules under running windows. [`Engine::explain`] and [`lint()`] tell people why.
//! [`tests::run_tests`] runs the tests that stand beside rules.

mod breaker;
mod correlation;
mod counters;
mod engine;
mod event;
mod explain;
mod fault;
mod found;
mod layer;
mod limits;
mod lint;
mod pipeline;
mod reading;
mod rule_set;
mod search;
mod selecting;
pub mod tests;
mod values;

pub use breaker::{Account, Breadth, Budget, Clock, Suspension};
pub use correlation::window_store::Evictions;
pub use counters::{Counters, RuleCounters, RuleHold};
pub use engine::Engine;
pub use event::{Event, LogSource, Scope, Value};
pub use explain::explanation::{Explanation, ItemTruth, SelectionTruth, Verdict, WindowState};
pub use fault::RuleError;
pub use found::{Match, Window};
pub use layer::{Layer, LayerLimits};
pub use limits::Limits;
pub use lint::{Finding, Severity, lint, lint_with};
pub use pipeline::Pipeline;
pub use reading::metadata::{Level, RuleInfo, Status};
pub use reading::options::{Options, parse_placeholders};
pub use rule_set::{RuleFile, RuleSet};
pub use search::json::EventError;
pub use values::network::Network;
pub use values::probe::MAX_NANOS_PER_BYTE;

/// Runs the examples of the crate's README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
