//! Bytes that can be read at any place: a file of the host, or a test's.
//! It never maps a file: a writer may cut it short at any moment.

use std::fs::File;
use std::io::{self, Read};

/// Something with bytes at offsets.
pub(super) trait Bytes {
    /// Reads at an offset; fewer than asked for only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Bytes for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut n_read = 0;
        while let Some(rest) = buffer.get_mut(n_read..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, rest, offset + n_read as u64) {
                Ok(0) => break,
                Ok(n_more) => n_read += n_more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(n_read)
    }
}

impl Bytes for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = self.get(begin..).unwrap_or_default();
        rest.read(buffer)
    }
}

/// A part of something, read in order.
pub(super) struct Section<'b, B> {
    bytes: &'b B,
    offset: u64,
    left: u64,
}

impl<'b, B: Bytes> Section<'b, B> {
    pub(super) fn new(bytes: &'b B, offset: u64, length: u64) -> Self {
        Self {
            bytes,
            offset,
            left: length,
        }
    }
}

impl<B: Bytes> Read for Section<'_, B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        let n_read = self.bytes.read_at(self.offset, buffer)?;
        self.offset += n_read as u64;
        self.left -= n_read as u64;
        Ok(n_read)
    }
}
