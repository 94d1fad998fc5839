//! Feeds arbitrary bytes to the target `proxy_answer`; `cargo +nightly fuzz run proxy_answer`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::proxy_answer(data));

#[cfg(not(fuzzing))]
fn main() {}
