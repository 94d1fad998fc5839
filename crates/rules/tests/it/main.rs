//! Tests of the rule engine from outside, in one program: linking many of them costs more than running.
//! It never looks inside of the engine.

mod ambiguities;
mod community;
mod conditions;
mod correlation_types;
mod correlations;
mod costs;
mod engine;
mod explanations;
mod filters;
mod golden;
mod hostile;
mod json;
mod laws;
mod layers;
mod lint;
mod own_attributes;
mod own_rules;
mod pipelines;
mod refusals;
mod rule_tests;
mod specification;
mod support;
mod values;
mod windows;
