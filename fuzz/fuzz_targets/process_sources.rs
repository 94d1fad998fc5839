//! Feeds arbitrary bytes to the target `process_sources`; `cargo +nightly fuzz run process_sources`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::process_sources(data));

#[cfg(not(fuzzing))]
fn main() {}
