//! Feeds arbitrary bytes to the target `watch_path`; `cargo +nightly fuzz run watch_path`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::watch_path(data));

#[cfg(not(fuzzing))]
fn main() {}
