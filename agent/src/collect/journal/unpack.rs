//! The beginnings of packed values; journald packs what is longer than 512 bytes.
//! It never unpacks more than is wanted, however much a value claims to hold.

use std::io::{BufReader, Read};

use ruzstd::decoding::StreamingDecoder;

use super::format::Packing;

/// Longest value that is unpacked where only a whole one can be: a message of journald's greatest
/// line is 48 KiB unless somebody raised it, one by its own protocol may be longer.
const MAX_WHOLE_BYTES: usize = 4 * 1024 * 1024;

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
            let decoder = StreamingDecoder::new(&mut packed).map_err(|error| error.to_string())?;
            take(decoder, max)
        }
        Packing::Lz4 => unpack_lz4(packed, max),
        Packing::Xz => Err("it is packed by xz, which this agent does not read".to_owned()),
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
