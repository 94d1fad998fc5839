//! Reads what fanotify says when it names files by handle: pure, from any bytes.
//! It asks the kernel for nothing; what is cut short or unknown is passed over.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// The fixed part of an event.
const METADATA_BYTES: usize = 24;

/// The only layout there is.
const VERSION: u8 = 3;

/// An information record: its type, a byte of nothing, its length.
const HEADER_BYTES: usize = 4;

/// A directory and a name in it.
const DIRECTORY_AND_NAME: u8 = 2;

/// The identifier of a file system.
const FILE_SYSTEM_BYTES: usize = 8;

/// Before a handle's own bytes: how many, and of which type.
const HANDLE_HEADER_BYTES: usize = 8;

/// The kernel names a file by no more.
const MAX_HANDLE_BYTES: usize = 128;

/// A file by its file system and what that calls it, whatever its path is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Handle(Box<[u8]>);

impl Handle {
    /// Joins the parts as they are in an event.
    pub(super) fn new(
        file_system: [u8; FILE_SYSTEM_BYTES],
        kind: i32,
        bytes: &[u8],
    ) -> Option<Self> {
        if bytes.len() > MAX_HANDLE_BYTES {
            return None;
        }
        let n = u32::try_from(bytes.len()).ok()?;
        let header = [n.to_ne_bytes(), kind.to_ne_bytes()].concat();
        Some(Self(
            [&file_system, header.as_slice(), bytes].concat().into(),
        ))
    }
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told<'b> {
    /// What happened, in the kernel's bits.
    pub(super) mask: u64,
    /// The process that did it; none when it is not of this world.
    pub(super) process: Option<u32>,
    /// The directory and the name in it; none when the kernel could not say, or lost something.
    pub(super) place: Option<(Handle, &'b OsStr)>,
}

/// The events in what was read, in order.
pub(super) fn parse(mut bytes: &[u8]) -> impl Iterator<Item = Told<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let event = bytes.get(..length)?;
        bytes = bytes.get(length..)?;
        let metadata = usize::from(u16_at(event, 6)?);
        let is_ours = event.get(4) == Some(&VERSION) && metadata >= METADATA_BYTES;
        if !is_ours || length < metadata {
            return None;
        }
        let process = u32_at(event, 20)?;
        Some(Told {
            mask: u64_at(event, 8)?,
            process: i32::try_from(process)
                .is_ok_and(|id| id > 0)
                .then_some(process),
            place: parse_place(event.get(metadata..)?),
        })
    })
}

fn parse_place(mut records: &[u8]) -> Option<(Handle, &OsStr)> {
    loop {
        let kind = *records.first()?;
        let length = usize::from(u16_at(records, 2)?);
        let record = records.get(HEADER_BYTES..length)?;
        if kind == DIRECTORY_AND_NAME {
            let size = usize::try_from(u32_at(record, FILE_SYSTEM_BYTES)?).ok()?;
            if size > MAX_HANDLE_BYTES {
                return None;
            }
            let end = FILE_SYSTEM_BYTES + HANDLE_HEADER_BYTES + size;
            let handle = Handle(record.get(..end)?.into());
            let name = record.get(end..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            return Some((handle, OsStr::from_bytes(name)));
        }
        records = records.get(length.max(HEADER_BYTES)..)?;
    }
}

/// The handle of the one watch of an inotify instance, out of its `fdinfo`.
pub(super) fn parse_fdinfo(text: &str, file_system: [u8; FILE_SYSTEM_BYTES]) -> Option<Handle> {
    let line = text.lines().find(|line| line.starts_with("inotify "))?;
    let value = |name: &str| {
        let values = line.split_ascii_whitespace();
        values
            .filter_map(|pair| pair.split_once(':'))
            .find_map(|(found, value)| (found == name).then_some(value))
    };
    let kind = i32::from_str_radix(value("fhandle-type")?, 16).ok()?;
    let n_bytes = usize::from_str_radix(value("fhandle-bytes")?, 16).ok()?;
    let digits = value("f_handle")?.as_bytes();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(parse_byte).collect();
    let bytes = bytes.filter(|bytes| bytes.len() == n_bytes)?;
    Handle::new(file_system, kind, &bytes)
}

fn parse_byte(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel says of a change of a name in the directory that [`directory`] is.
    pub(in super::super) fn event(
        mask: u64,
        process: i32,
        place: Option<(&[u8], &str)>,
    ) -> Vec<u8> {
        let mut record = Vec::new();
        if let Some((handle, name)) = place {
            let n = u32::try_from(handle.len()).unwrap();
            record = [
                &[7_u8; 8][..],
                &n.to_ne_bytes(),
                &1_i32.to_ne_bytes(),
                handle,
                name.as_bytes(),
                &[0],
            ]
            .concat();
            let length = u16::try_from(record.len() + 4).unwrap().to_ne_bytes();
            record.splice(0..0, [2, 0, length[0], length[1]]);
        }
        let length = u32::try_from(24 + record.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([3, 0]);
        bytes.extend(24_u16.to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend(process.to_ne_bytes());
        bytes.extend(record);
        bytes
    }

    /// A directory by its handle, and the bytes by which its file system knows it.
    pub(in super::super) fn directory() -> (Handle, [u8; 4]) {
        let bytes = [1, 2, 3, 4];
        (Handle::new([7; 8], 1, &bytes).unwrap(), bytes)
    }

    #[test]
    fn events_are_read_with_their_place_and_whoever_did_it() {
        let (handle, of_directory) = directory();
        let bytes = [
            event(0x100, 42, Some((&of_directory, "file"))),
            event(0x4000, 0, None),
        ]
        .concat();

        let told: Vec<_> = parse(&bytes).collect();

        assert_eq!(told[0].place, Some((handle, OsStr::new("file"))));
        assert_eq!((told[0].mask, told[0].process), (0x100, Some(42)));
        assert_eq!((told[1].mask, told[1].process), (0x4000, None));
        assert_eq!((told.len(), &told[1].place), (2, &None));
    }

    #[test]
    fn the_kernels_words_about_a_watch_are_read() {
        let text = "pos:\t0\nflags:\t02004000\nmnt_id:\t16\nino:\t10\n\
                    inotify wd:1 ino:c sdev:800001 mask:400 ignored_mask:0 fhandle-bytes:8 \
                    fhandle-type:1 f_handle:0c000000f3b5d2a1\n";

        let handle = parse_fdinfo(text, [7; 8]);

        let bytes = [0x0c, 0, 0, 0, 0xf3, 0xb5, 0xd2, 0xa1];
        assert_eq!(handle, Handle::new([7; 8], 1, &bytes));
        assert_eq!(parse_fdinfo("pos:\t0\n", [7; 8]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse(&bytes).count() <= bytes.len());
        }

        #[test]
        fn an_event_cut_short_is_passed_over(cut in 0_usize..60) {
            let whole = event(1, 1, Some((&[1, 2, 3, 4], "file")));
            let cut = cut.min(whole.len() - 1);
            prop_assert_eq!(parse(&whole[..cut]).count(), 0);
        }
    }
}
