//! Feeds arbitrary bytes to the target `nft_listing`; `cargo +nightly fuzz run nft_listing`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hidps_fuzz::nft_listing(data));

#[cfg(not(fuzzing))]
fn main() {}
