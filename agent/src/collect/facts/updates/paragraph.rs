//! The paragraphs of dpkg's status and of apt's lists, one at a time: a list has a hundred megabytes.
//! It keeps four fields and never a whole file.

use std::io::{self, BufRead, BufReader, Read};

/// Longest line of such a file; what is longer is none.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// What is kept of a paragraph.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Paragraph {
    pub(super) package: String,
    pub(super) version: Option<String>,
    pub(super) architecture: String,
    pub(super) status: Option<String>,
}

/// Calls with each paragraph that names a package.
///
/// # Errors
/// When the file cannot be read, or a line is too long to be one of it.
pub(super) fn each_paragraph(file: impl Read, mut act: impl FnMut(&Paragraph)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut paragraph = Paragraph::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let n_read = reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)?;
        if n_read as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            let why = "a line is too long for a list of packages";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if line.trim_ascii().is_empty() {
            if !paragraph.package.is_empty() {
                act(&paragraph);
            }
            paragraph = Paragraph::default();
        }
        if n_read == 0 {
            return Ok(());
        }
        take_field(&mut paragraph, &line);
    }
}

fn take_field(paragraph: &mut Paragraph, line: &[u8]) {
    // Names of fields are written in one way in these files, and lines that go on begin with a space.
    let value = |name: &str| {
        let value = line.strip_prefix(name.as_bytes())?.trim_ascii();
        std::str::from_utf8(value).ok().map(str::to_owned)
    };
    match line.first() {
        Some(b'P') => {
            if let Some(package) = value("Package:") {
                paragraph.package = package;
            }
        }
        Some(b'V') => paragraph.version = value("Version:").or(paragraph.version.take()),
        Some(b'A') => {
            if let Some(architecture) = value("Architecture:") {
                paragraph.architecture = architecture;
            }
        }
        Some(b'S') => paragraph.status = value("Status:").or(paragraph.status.take()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Paragraph> {
        let mut found = Vec::new();
        each_paragraph(text, |paragraph| found.push(paragraph.clone())).unwrap();
        found
    }

    #[test]
    fn paragraphs_end_with_an_empty_line_or_the_file() {
        let found = read(
            b"Package: a\nVersion: 1-1\nArchitecture: amd64\nDescription: x\n Version: 9\n\n\n\
              Package: b\nStatus: install ok installed\nVersions: 3\nPriority: x\n\nJunk: x\n\n\
              Package: c",
        );

        let names: Vec<_> = found.iter().map(|p| &*p.package).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(found[0].version.as_deref(), Some("1-1"));
        assert_eq!(found[1].version, None);
        assert_eq!(found[1].status.as_deref(), Some("install ok installed"));
    }

    #[test]
    fn bytes_that_are_no_text_are_no_field() {
        assert_eq!(
            read(b"Package: \xff\n\nPackage: a\nVersion: \xff\n").len(),
            1
        );
    }

    #[test]
    fn a_file_without_lines_is_refused() {
        let endless = io::repeat(b'x').take(10 * MAX_LINE_BYTES);

        assert!(each_paragraph(endless, |_| {}).is_err());
    }
}
