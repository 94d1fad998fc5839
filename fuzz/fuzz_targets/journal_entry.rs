//! Feeds arbitrary bytes to the target `journal_entry`; `cargo +nightly fuzz run journal_entry`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::journal_entry(data));

#[cfg(not(fuzzing))]
fn main() {}
