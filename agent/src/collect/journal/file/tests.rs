//! Files as journald writes them, and as failing disks leave them.

use super::super::image::{Image, NewEntry};
use super::*;
use hidps_wire::MAX_EVENT_TEXT_BYTES;
use proptest::prelude::*;

/// Every entry as its number and its record.
fn read_all(bytes: &[u8]) -> Vec<(u64, Result<Record, JournalError>)> {
    let mut file = JournalFile::open(bytes).unwrap();
    let n_entries = file.header().n_entries;
    let mut records = Vec::new();
    for number in 0..n_entries {
        let entry = file.read_entry(number).unwrap();
        let record = file.read_record(&entry);
        records.push((entry.head.seqnum, record));
    }
    records
}

fn message(record: &Record) -> String {
    let message = record.message.as_ref().expect("it has a message");
    String::from_utf8_lossy(message).into_owned()
}

#[test]
fn both_forms_of_files_are_read_through_all_lists_of_entries() {
    for is_compact in [false, true] {
        let mut image = Image::new(is_compact, 1);
        for number in 0..40 {
            let text = format!("MESSAGE=line {number}");
            let fields: [&[u8]; 6] = [
                text.as_bytes(),
                b"_TRANSPORT=syslog",
                b"SYSLOG_IDENTIFIER=sshd",
                b"_PID=77",
                b"_UID=0",
                b"_EXE=/usr/sbin/sshd",
            ];
            image.append(NewEntry::numbered(number), &fields);
        }

        let records = read_all(image.bytes());

        assert_eq!(records.len(), 40);
        for (number, record) in records {
            let record = record.unwrap();
            assert_eq!(message(&record), format!("line {number}"));
            assert_eq!(record.identifier.as_deref(), Some("sshd"));
            assert_eq!((record.pid, record.uid), (Some(77), Some(0)));
            assert_eq!(record.exe.as_deref(), Some("/usr/sbin/sshd"));
            assert!(!record.is_kernel && !record.is_cut);
        }
    }
}

#[test]
fn a_file_that_grows_is_read_on() {
    let mut image = Image::new(false, 1);
    for number in 0..3 {
        image.append(NewEntry::numbered(number), &[b"MESSAGE=x"]);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    std::fs::write(&path, image.bytes()).unwrap();
    let mut file = JournalFile::open(std::fs::File::open(&path).unwrap()).unwrap();
    assert!(file.read_entry(2).is_ok() && file.read_entry(3).is_err());

    for number in 3..30 {
        image.append(NewEntry::numbered(number), &[b"MESSAGE=x"]);
        std::fs::write(&path, image.bytes()).unwrap();
        file.refresh().unwrap();
        let entry = file.read_entry(number).unwrap();
        assert_eq!(entry.head.seqnum, number);
    }
}

#[test]
fn long_messages_are_cut_and_marked_and_binary_ones_survive() {
    let mut image = Image::new(true, 1);
    let prefix = b"MESSAGE=".to_vec();
    let just = [prefix.clone(), vec![b'x'; MAX_EVENT_TEXT_BYTES]].concat();
    let long = [prefix.clone(), vec![b'y'; 1 << 20]].concat();
    let binary = [prefix, vec![0, 0xff, b'\n', b'=', b'a']].concat();
    for (number, payload) in (1..).zip([&just, &long, &binary]) {
        image.append(NewEntry::numbered(number), &[payload]);
    }

    let records = read_all(image.bytes());

    let read: Vec<_> = records
        .into_iter()
        .map(|(_, record)| record.unwrap())
        .map(|record| (record.message.unwrap().len(), record.is_cut))
        .collect();
    assert_eq!(
        read,
        [
            (MAX_EVENT_TEXT_BYTES, false),
            (MAX_EVENT_TEXT_BYTES, true),
            (5, false)
        ]
    );
}

#[test]
fn packed_values_are_unpacked_or_told() {
    let mut image = Image::new(false, 1);
    let text = [b"MESSAGE=".to_vec(), vec![b'z'; 1 << 20]].concat();
    let mut lz4 = (text.len() as u64).to_le_bytes().to_vec();
    lz4.extend(lz4_flex::block::compress(&text));
    let huge = [(1_u64 << 40).to_le_bytes().to_vec(), vec![0; 8]].concat();
    for (number, (payload, packing)) in (1..).zip([
        (lz4.as_slice(), 2),
        (&huge, 2),
        (b"\xfd7zXZ\0".as_slice(), 1),
        (b"not zstd".as_slice(), 4),
        (b"not xz but long enough to be looked at".as_slice(), 1),
    ]) {
        let item = image.value(payload, packing);
        image.append_items(NewEntry::numbered(number), &[item]);
    }

    let records = read_all(image.bytes());

    let first = records[0].1.as_ref().unwrap();
    assert_eq!(first.message.as_ref().unwrap().len(), MAX_EVENT_TEXT_BYTES);
    assert!(first.is_cut);
    let problems: Vec<_> = records[1..]
        .iter()
        .map(|(_, record)| record.as_ref().unwrap_err().to_string())
        .collect();
    assert!(
        problems[0].contains("too many to be unpacked"),
        "{problems:?}"
    );
    assert!(problems[1].contains("ends too early"), "{problems:?}");
    assert!(problems[2].contains("no frame of zstd"), "{problems:?}");
    assert!(problems[3].contains("cannot be unpacked"), "{problems:?}");
}

#[test]
fn values_packed_by_zstd_are_unpacked() {
    let frame = zstd_raw(b"MESSAGE=hello");
    let mut image = Image::new(false, 1);
    let item = image.value(&frame, 4);
    image.append_items(NewEntry::numbered(1), &[item]);

    let records = read_all(image.bytes());

    assert_eq!(message(records[0].1.as_ref().unwrap()), "hello");
}

/// The smallest frame of zstd around some bytes: one block that is not compressed.
fn zstd_raw(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    let block = (u32::from(length) << 3 | 1).to_le_bytes();
    // The magic number; one segment, its length in one byte; the last block, raw.
    let head = [
        0x28, 0xb5, 0x2f, 0xfd, 0x20, length, block[0], block[1], block[2],
    ];
    [&head[..], bytes].concat()
}

/// `MESSAGE=hello, packed by xz` as journald's liblzma packs it: without a check.
const XZ_SHORT: &str = "\
fd377a585a000000ff12d9410200210110000000a8708e8601001a4d4553534147453d68656c6c6f2c207061\
636b656420627920787a000000012b1bae8193dc06729e7a010000000000595a";

/// `MESSAGE=` and a mebibyte of `z`.
const XZ_LONG: &str = "\
fd377a585a000000ff12d9410200210110000000a8708e86f0000700e25d00269146acd06f74b8a644fd3b4e\
2907e9662a5108aad2fff1b014a6e38487513e989872773b5fc8dc7f1a723ea2e3a1f71b9c77c1e8fdbcd9d6\
3b6d2585c9514efc2e285ccf7b2bf8eab069f5be63b11104d216f471c7b971878d02cf8d613e8972405258be\
e976ac59e4e55b0508f9c7daadfcfb522b74cd1e5b2042f9dd533df82964093b80cb2a6cdfb53bf0c4bd2e5f\
aa0f3e4b664290130eff1093f8717859f80bcdff9528460fa9fc7cdefb9a302e56c08f85f38381c065c42553\
f8f591363105a5b0ee6fc1704d470cd19111aaad601dbaceb127185c5986e963d2a90900000000000001f601\
8880400038cd5f04a8000afc020000000000595a";

/// `MESSAGE=` and 5,000 times `z`, in a stream that asks for 256 MiB.
const XZ_GREEDY: &str = "\
fd377a585a000000ff12d94102002101200000000988a576e0138f00275d00269146acd06f74b8a644fd3b4e\
2907e9662a5108aad2fff1b014a6e38487513e98980027216800000000013b902700000024930b41a8000afc\
020000000000595a";

fn from_hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn values_packed_by_xz_are_unpacked_as_far_as_wanted() {
    let mut image = Image::new(false, 1);
    for (number, packed) in (1..).zip([XZ_SHORT, XZ_LONG]) {
        let item = image.value(&from_hex(packed), 1);
        image.append_items(NewEntry::numbered(number), &[item]);
    }

    let records = read_all(image.bytes());

    let [short, long] = [0, 1].map(|number: usize| records[number].1.as_ref().unwrap());
    assert_eq!(message(short), "hello, packed by xz");
    let length = long.message.as_ref().unwrap().len();
    assert_eq!((length, long.is_cut), (MAX_EVENT_TEXT_BYTES, true));
}

#[test]
fn values_that_ask_for_much_memory_are_not_unpacked() {
    // One segment of 16 MiB and a window of 1 GiB, each in the head of a frame of zstd.
    let segment = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 1, 1, 0, 0];
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa0, 1, 0, 0];
    let mut image = Image::new(false, 1);
    let greedy = [
        (&segment[..], 4),
        (&window[..], 4),
        (&from_hex(XZ_GREEDY), 1),
    ];
    for (number, (packed, packing)) in (1..).zip(greedy) {
        let item = image.value(packed, packing);
        image.append_items(NewEntry::numbered(number), &[item]);
    }

    for (number, record) in read_all(image.bytes()) {
        let problem = record.unwrap_err().to_string();
        assert!(problem.contains("it asks for"), "{number}: {problem}");
    }
}

#[test]
fn a_chain_of_lists_without_end_is_damage() {
    let mut image = Image::new(false, 1);
    image.append(NewEntry::numbered(1), &[b"MESSAGE=x"]);
    image.chain(4 * MAX_ARRAYS);
    let mut file = JournalFile::open(image.bytes()).unwrap();

    let read = file.read_entry(2 * MAX_ARRAYS as u64);

    assert!(
        matches!(
            read,
            Err(JournalError::Damaged {
                what: "list of entries",
                ..
            })
        ),
        "{read:?}"
    );
    assert!(file.read_entry(0).is_ok());
    assert!(file.arrays.len() <= MAX_ARRAYS);
}

#[test]
fn what_is_no_journal_or_a_newer_one_is_refused() {
    let image = Image::new(false, 1);
    let mut newer = image.clone();
    newer.damage(15, 0x80);

    assert!(matches!(
        JournalFile::open(newer.bytes()),
        Err(JournalError::UnknownFeatures(0x8000_0000))
    ));
    for bytes in [&b""[..], b"LPKSHHRH", b"a text that is no journal at all"] {
        let opened = JournalFile::open(bytes);
        assert!(
            matches!(opened, Err(JournalError::NotAJournal)),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_list_of_entries_that_leads_back_to_itself_is_damage() {
    let mut image = Image::new(false, 1);
    for number in 0..2 {
        image.append(NewEntry::numbered(number), &[b"MESSAGE=x"]);
    }
    let array = super::super::format::u64_at(image.bytes(), 176).unwrap();
    // The header claims a third entry, and the first list names itself as the next one.
    image.damage(152, 3);
    let at = usize::try_from(array).unwrap() + 16;
    for (number, byte) in array.to_le_bytes().into_iter().enumerate() {
        image.damage(at + number, byte);
    }

    let mut file = JournalFile::open(image.bytes()).unwrap();

    assert!(file.read_entry(1).is_ok());
    assert!(file.read_entry(2).is_err());
}

proptest! {
    #[test]
    fn whatever_a_disk_did_to_it_nothing_breaks_and_everything_ends(
        damages in prop::collection::vec((0_usize..1_200, any::<u8>()), 1..12),
        is_compact: bool,
    ) {
        let mut image = Image::new(is_compact, 1);
        for number in 0..6 {
            let text = format!("MESSAGE=line {number}");
            image.append(NewEntry::numbered(number), &[text.as_bytes(), b"_PID=1"]);
        }
        for (at, byte) in damages {
            image.damage(at.max(17).min(image.bytes().len() - 1), byte);
        }

        let Ok(mut file) = JournalFile::open(image.bytes()) else { return Ok(()) };
        for number in (0..file.header().n_entries).take(20) {
            if let Ok(entry) = file.read_entry(number) {
                file.read_record(&entry).ok();
            }
        }
        file.find_first(|head| head.seqnum > 3).ok();
    }
}
