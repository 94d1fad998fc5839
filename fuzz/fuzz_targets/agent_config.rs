//! Feeds arbitrary bytes to the target `agent_config`; `cargo +nightly fuzz run agent_config`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::agent_config(data));

#[cfg(not(fuzzing))]
fn main() {}
