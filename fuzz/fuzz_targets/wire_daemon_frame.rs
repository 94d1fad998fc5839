//! Feeds arbitrary bytes to the target `wire_daemon_frame`; `cargo +nightly fuzz run wire_daemon_frame`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::wire_daemon_frame(data));

#[cfg(not(fuzzing))]
fn main() {}
