//! Feeds arbitrary bytes to the target `token_request`; `cargo +nightly fuzz run token_request`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::token_request(data));

#[cfg(not(fuzzing))]
fn main() {}
