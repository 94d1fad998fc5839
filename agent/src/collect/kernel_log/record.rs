//! One record of the kernel's log as `/dev/kmsg` gives it: `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`.
//! It never takes a record of a process for the kernel's.

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// Whether the kernel itself says it; a process that writes to the device cannot.
    pub(super) is_kernels: bool,
    /// Its number; the numbers of one boot have no gaps.
    pub(super) number: u64,
    /// Microseconds since the boot.
    pub(super) micros: u64,
    /// What it says.
    pub(super) text: String,
}

/// Reads a record; none if it is not one.
pub(super) fn parse_record(bytes: &[u8]) -> Option<Record> {
    let at = bytes.iter().position(|byte| *byte == b';')?;
    let (head, rest) = (bytes.get(..at)?, bytes.get(at + 1..)?);
    let head = std::str::from_utf8(head).ok()?;
    let mut parts = head.split(',');
    let priority: u32 = parts.next()?.parse().ok()?;
    let number = parts.next()?.parse().ok()?;
    let micros = parts.next()?.parse().ok()?;
    // What follows the line are properties of a device.
    let line = rest.split(|byte| *byte == b'\n').next()?;
    Some(Record {
        is_kernels: priority >> 3 == 0,
        number,
        micros,
        text: String::from_utf8_lossy(&unescape(line)).into_owned(),
    })
}

/// The kernel writes what cannot be printed, and the backslash, as `\x0a`.
fn unescape(line: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, more)) = rest.split_first() {
        match escaped(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    bytes
}

fn escaped(rest: &[u8]) -> Option<u8> {
    let digits = rest.strip_prefix(b"\\x")?.get(..2)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_says_who_when_and_what() {
        let bytes = b"6,1234,5678901,-;usb 1-1: new\\x0aline \\\\ \\xzz\n SUBSYSTEM=usb\n DEVICE=+usb:1-1\n";

        let record = parse_record(bytes).unwrap();

        assert!(record.is_kernels);
        assert_eq!((record.number, record.micros), (1_234, 5_678_901));
        assert_eq!(record.text, "usb 1-1: new\nline \\\\ \\xzz");
    }

    #[test]
    fn what_a_process_wrote_is_not_the_kernels() {
        let record = parse_record(b"12,7,8,-,caller=T1;systemd[1]: hello\n").unwrap();

        assert!(!record.is_kernels);
        assert_eq!(record.text, "systemd[1]: hello");
    }

    #[test]
    fn what_is_no_record_is_none() {
        for bytes in [
            &b""[..],
            b";",
            b"6,1;x",
            b"6,x,1,-;x",
            b"-6,1,1,-;x",
            b"6,1,1,-",
        ] {
            assert_eq!(parse_record(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse_record(&bytes);
        }

        #[test]
        fn a_text_comes_back_as_it_was_escaped(text in "[ -~\n\u{7f}]{0,60}") {
            let escape = |c: char| match c {
                '\\' | '\n' | '\u{7f}' => format!("\\x{:02x}", u32::from(c)),
                c => c.to_string(),
            };
            let escaped: String = text.chars().map(escape).collect();

            let record = parse_record(format!("6,1,2,-;{escaped}\n").as_bytes()).unwrap();

            prop_assert_eq!(record.text, text);
        }
    }
}
