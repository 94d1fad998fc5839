//! Feeds arbitrary bytes to the target `wire_posted`; `cargo +nightly fuzz run wire_posted`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::wire_posted(data));

#[cfg(not(fuzzing))]
fn main() {}
