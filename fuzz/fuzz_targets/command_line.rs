//! Feeds arbitrary bytes to the target `command_line`; `cargo +nightly fuzz run command_line`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::command_line(data));

#[cfg(not(fuzzing))]
fn main() {}
