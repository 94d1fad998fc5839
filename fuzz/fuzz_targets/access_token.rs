//! Feeds arbitrary bytes to the target `access_token`; `cargo +nightly fuzz run access_token`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::access_token(data));

#[cfg(not(fuzzing))]
fn main() {}
