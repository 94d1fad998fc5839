//! Values of records as they were before the kernel wrote them down.
//! It takes digits for a text only in fields that the kernel writes so.

/// Fields whose values are in quotes where they are harmless, and in digits where they are not.
const ENCODED: [&str; 23] = [
    "acct",
    "cmd",
    "comm",
    "cwd",
    "data",
    "device",
    "dir",
    "exe",
    "file",
    "grp",
    "key",
    "name",
    "new_group",
    "new-disk",
    "ocomm",
    "old-disk",
    "path",
    "proctitle",
    "root_dir",
    "sw",
    "uri",
    "vm",
    "watch",
];

/// Whether a field's value may be in digits.
pub(super) fn is_encoded(name: &str) -> bool {
    ENCODED.contains(&name)
}

/// The bytes that hexadecimal digits stand for; none if they are no such digits.
pub(super) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    // Both the kernel and the programs write capitals; `face` is a word.
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// A value that may be in digits.
pub(super) fn decode(value: &str, is_quoted: bool) -> Option<Vec<u8>> {
    if is_quoted {
        return Some(value.as_bytes().to_vec());
    }
    if value == "(null)" {
        return None;
    }
    Some(from_hex(value).unwrap_or_else(|| value.as_bytes().to_vec()))
}

/// The text of bytes that some program chose.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
