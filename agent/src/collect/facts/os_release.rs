//! The distribution, from `os-release`.
//! It never runs a shell over it, although the file is written as one would read it.

use std::fs;
use std::path::Path;

/// Longest file that is read; real ones have half a kilobyte.
const MAX_BYTES: usize = 64 * 1024;

/// What a distribution says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct OsRelease {
    pub(super) pretty_name: Option<String>,
    pub(super) id: Option<String>,
    pub(super) version: Option<String>,
}

impl OsRelease {
    pub(super) fn read(root: &Path) -> Self {
        let read = |path: &str| fs::read(root.join(path)).ok();
        let bytes = read("etc/os-release").or_else(|| read("usr/lib/os-release"));
        let bytes = bytes.unwrap_or_default();
        let text = String::from_utf8_lossy(bytes.get(..MAX_BYTES.min(bytes.len())).unwrap_or(&[]));
        Self::parse(&text)
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else {
                continue;
            };
            let place = match name {
                "PRETTY_NAME" => &mut release.pretty_name,
                "ID" => &mut release.id,
                "VERSION_ID" => &mut release.version,
                _ => continue,
            };
            *place = Some(unquote(value)).filter(|value| !value.is_empty());
        }
        release
    }
}

fn unquote(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value
            .strip_prefix(quote)
            .and_then(|v| v.strip_suffix(quote))
        {
            // Within quotes a backslash keeps what follows from having a meaning.
            let mut is_escaped = false;
            return inner
                .chars()
                .filter(|c| {
                    let is_kept = is_escaped || *c != '\\';
                    is_escaped = !is_kept;
                    is_kept
                })
                .collect();
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_quotes() {
        let release = OsRelease::parse(
            "# x\nPRETTY_NAME=\"A \\\"b\\\" \\\\ c\"\nID=debian\nVERSION_ID='12'\nVERSION=13\n",
        );

        assert_eq!(release.pretty_name.as_deref(), Some("A \"b\" \\ c"));
        assert_eq!(release.id.as_deref(), Some("debian"));
        assert_eq!(release.version.as_deref(), Some("12"));
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        for text in ["", "ID=", "ID=\"\"", "junk", "=", "ID"] {
            assert_eq!(OsRelease::parse(text), OsRelease::default(), "{text:?}");
        }
    }
}
