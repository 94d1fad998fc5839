//! Feeds arbitrary bytes to the target `rule_condition`; `cargo +nightly fuzz run rule_condition`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::rule_condition(data));

#[cfg(not(fuzzing))]
fn main() {}
