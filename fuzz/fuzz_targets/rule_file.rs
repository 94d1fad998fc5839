//! Feeds arbitrary bytes to the target `rule_file`; `cargo +nightly fuzz run rule_file`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::rule_file(data));

#[cfg(not(fuzzing))]
fn main() {}
