//! Feeds arbitrary bytes to the target `wire_key_bodies`; `cargo +nightly fuzz run wire_key_bodies`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::wire_key_bodies(data));

#[cfg(not(fuzzing))]
fn main() {}
