//! Feeds arbitrary bytes to the target `log_message`; `cargo +nightly fuzz run log_message`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::log_message(data));

#[cfg(not(fuzzing))]
fn main() {}
