//! Feeds arbitrary bytes to the target `file_actors`; `cargo +nightly fuzz run file_actors`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::file_actors(data));

#[cfg(not(fuzzing))]
fn main() {}
