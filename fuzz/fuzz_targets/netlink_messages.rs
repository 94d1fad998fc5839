//! Feeds arbitrary bytes to the target `netlink_messages`; `cargo +nightly fuzz run netlink_messages`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::netlink_messages(data));

#[cfg(not(fuzzing))]
fn main() {}
