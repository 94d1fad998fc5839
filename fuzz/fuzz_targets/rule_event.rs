//! Feeds arbitrary bytes to the target `rule_event`; `cargo +nightly fuzz run rule_event`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::rule_event(data));

#[cfg(not(fuzzing))]
fn main() {}
