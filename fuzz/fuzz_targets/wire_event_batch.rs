//! Feeds arbitrary bytes to the target `wire_event_batch`; `cargo +nightly fuzz run wire_event_batch`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::wire_event_batch(data));

#[cfg(not(fuzzing))]
fn main() {}
