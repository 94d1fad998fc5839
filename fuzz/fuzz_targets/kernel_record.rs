//! Feeds arbitrary bytes to the target `kernel_record`; `cargo +nightly fuzz run kernel_record`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::kernel_record(data));

#[cfg(not(fuzzing))]
fn main() {}
