//! Feeds arbitrary bytes to the target `sshd_line`; `cargo +nightly fuzz run sshd_line`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::sshd_line(data));

#[cfg(not(fuzzing))]
fn main() {}
