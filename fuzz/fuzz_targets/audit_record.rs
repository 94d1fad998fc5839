//! Feeds arbitrary bytes to the target `audit_record`; `cargo +nightly fuzz run audit_record`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::audit_record(data));

#[cfg(not(fuzzing))]
fn main() {}
