//! Feeds arbitrary bytes to the target `host_files`; `cargo +nightly fuzz run host_files`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::host_files(data));

#[cfg(not(fuzzing))]
fn main() {}
