//! Feeds arbitrary bytes to the target `host_tables`; `cargo +nightly fuzz run host_tables`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::host_tables(data));

#[cfg(not(fuzzing))]
fn main() {}
