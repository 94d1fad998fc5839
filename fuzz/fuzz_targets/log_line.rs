//! Feeds arbitrary bytes to the target `log_line`; `cargo +nightly fuzz run log_line`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::log_line(data));

#[cfg(not(fuzzing))]
fn main() {}
