//! Feeds arbitrary bytes to the target `wire_agent_frame`; `cargo +nightly fuzz run wire_agent_frame`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::wire_agent_frame(data));

#[cfg(not(fuzzing))]
fn main() {}
