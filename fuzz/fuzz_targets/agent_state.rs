//! Feeds arbitrary bytes to the target `agent_state`; `cargo +nightly fuzz run agent_state`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::agent_state(data));

#[cfg(not(fuzzing))]
fn main() {}
