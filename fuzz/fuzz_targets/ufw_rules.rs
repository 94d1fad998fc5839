//! Feeds arbitrary bytes to the target `ufw_rules`; `cargo +nightly fuzz run ufw_rules`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::ufw_rules(data));

#[cfg(not(fuzzing))]
fn main() {}
