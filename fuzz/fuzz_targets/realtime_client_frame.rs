//! Feeds arbitrary bytes to the target `realtime_client_frame`; `cargo +nightly fuzz run realtime_client_frame`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::realtime_client_frame(data));

#[cfg(not(fuzzing))]
fn main() {}
