//! Feeds arbitrary bytes to the target `rule_pipeline`; `cargo +nightly fuzz run rule_pipeline`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::rule_pipeline(data));

#[cfg(not(fuzzing))]
fn main() {}
