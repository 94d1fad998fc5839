//! Feeds arbitrary bytes to the target `file_memory`; `cargo +nightly fuzz run file_memory`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::file_memory(data));

#[cfg(not(fuzzing))]
fn main() {}
