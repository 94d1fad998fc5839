//! Feeds arbitrary bytes to the target `log_pieces`; `cargo +nightly fuzz run log_pieces`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::log_pieces(data));

#[cfg(not(fuzzing))]
fn main() {}
