//! Feeds arbitrary bytes to the target `realtime_frames`; `cargo +nightly fuzz run realtime_frames`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::realtime_frames(data));

#[cfg(not(fuzzing))]
fn main() {}
