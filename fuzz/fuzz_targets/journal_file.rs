//! Feeds arbitrary bytes to the target `journal_file`; `cargo +nightly fuzz run journal_file`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::journal_file(data));

#[cfg(not(fuzzing))]
fn main() {}
