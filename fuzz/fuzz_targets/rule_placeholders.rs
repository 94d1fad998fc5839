//! Feeds arbitrary bytes to the target `rule_placeholders`; `cargo +nightly fuzz run rule_placeholders`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::rule_placeholders(data));

#[cfg(not(fuzzing))]
fn main() {}
