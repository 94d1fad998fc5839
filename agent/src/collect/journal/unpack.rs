//! The beginnings of packed values; journald packs what is longer than 512 bytes.
//! It never unpacks more than is wanted, however much a value claims to hold.

use std::io::{BufRead, BufReader, Read};

use ruzstd::decoding::StreamingDecoder;
use xz4rust::{XzDecoder, XzError};

use super::format::Packing;

/// Longest value that is unpacked where only a whole one can be: a message of journald's greatest
/// line is 48 KiB unless somebody raised it, one by its own protocol may be longer.
const MAX_WHOLE_BYTES: usize = 4 * 1024 * 1024;

/// Most memory that a packed value may ask for to look back into itself: journald's own choices for
/// zstd and xz ask for 2 MiB at most.
const MAX_WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// What unpacking xz begins with; it grows to what the value asks for.
const FIRST_WINDOW_BYTES: usize = 64 * 1024;

/// How much is read of the file at once.
const READ_BYTES: usize = 16 * 1024;

/// The first bytes of a value, and whether there are more.
pub(super) fn unpack(
    packing: Packing,
    packed: impl Read,
    max: usize,
) -> Result<(Vec<u8>, bool), String> {
    let mut packed = BufReader::with_capacity(READ_BYTES, packed);
    match packing {
        Packing::None => take(packed, max),
        Packing::Zstd => {
            check_window(packed.fill_buf().map_err(|error| error.to_string())?)?;
            let decoder = StreamingDecoder::new(&mut packed).map_err(|error| error.to_string())?;
            take(decoder, max)
        }
        Packing::Lz4 => unpack_lz4(packed, max),
        Packing::Xz => unpack_xz(packed, max),
    }
}

fn take(unpacked: impl Read, max: usize) -> Result<(Vec<u8>, bool), String> {
    let mut bytes = Vec::new();
    let limit = max as u64 + 1;
    unpacked
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    let is_cut = bytes.len() > max;
    bytes.truncate(max);
    Ok((bytes, is_cut))
}

/// Eight bytes of the length, then one block, which can only be unpacked as a whole.
fn unpack_lz4(mut packed: impl Read, max: usize) -> Result<(Vec<u8>, bool), String> {
    let mut length = [0; 8];
    packed
        .read_exact(&mut length)
        .map_err(|error| error.to_string())?;
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_WHOLE_BYTES {
        return Err(format!("{length} bytes are too many to be unpacked"));
    }
    let (block, is_longer) = take(packed, MAX_WHOLE_BYTES)?;
    if is_longer {
        return Err("its packed form is too long".to_owned());
    }
    let mut bytes =
        lz4_flex::block::decompress(&block, length).map_err(|error| error.to_string())?;
    let is_cut = bytes.len() > max;
    bytes.truncate(max);
    Ok((bytes, is_cut))
}

/// Looks how far back a frame of zstd wants to look: its decoder makes room for that at once.
fn check_window(frame: &[u8]) -> Result<(), String> {
    let window = read_window(frame).ok_or("it is no frame of zstd")?;
    if window > MAX_WINDOW_BYTES as u64 {
        return Err(too_greedy(window));
    }
    Ok(())
}

fn too_greedy(window: u64) -> String {
    format!("it asks for {window} bytes of memory")
}

/// The window as the head of a frame says it, or the length of a frame without one.
fn read_window(frame: &[u8]) -> Option<u64> {
    let descriptor = *frame.get(4)?;
    if descriptor & 0b10_0000 == 0 {
        let window = *frame.get(5)?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 0b111));
    }
    let at = 5 + [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let n_bytes = 1 << (descriptor >> 6);
    let mut length = [0; 8];
    length
        .get_mut(..n_bytes)?
        .copy_from_slice(frame.get(at..at + n_bytes)?);
    Some(u64::from_le_bytes(length))
}

fn unpack_xz(mut packed: impl BufRead, max: usize) -> Result<(Vec<u8>, bool), String> {
    let mut decoder = XzDecoder::in_heap_with_alloc_dict_size(FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES);
    let mut bytes = vec![0; max + 1];
    let mut n_unpacked = 0;
    while let Some(room) = bytes.get_mut(n_unpacked..).filter(|room| !room.is_empty()) {
        let input = packed.fill_buf().map_err(|error| error.to_string())?;
        if input.is_empty() {
            return Err("its packed form ends too early".to_owned());
        }
        let step = decoder.decode(input, room).map_err(|error| {
            if let XzError::DictionaryTooLarge(window) = error {
                return too_greedy(window);
            }
            error.to_string()
        })?;
        n_unpacked += step.output_produced();
        packed.consume(step.input_consumed());
        if step.is_end_of_stream() {
            break;
        }
        if !step.made_progress() {
            return Err("its packed form leads nowhere".to_owned());
        }
    }
    bytes.truncate(n_unpacked);
    let is_cut = bytes.len() > max;
    bytes.truncate(max);
    Ok((bytes, is_cut))
}
