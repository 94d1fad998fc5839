//! What `/proc` says of one process, read at once through one open directory, so that a number
//! that is given to another process meanwhile is never mixed up.
//! It never follows a link, and reads no memory of a process.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat, readlinkat};

use crate::redact::redact_arguments;

/// Most bytes of arguments read; what follows is not looked at.
const MAX_ARGUMENTS_BYTES: usize = 32 * 1024;

/// Most bytes of a command line kept; a longer one says nothing more to a person or a rule.
pub(super) const MAX_COMMAND_BYTES: usize = 8 * 1024;

/// What the kernel adds to the path of a program whose file is gone.
const DELETED: &str = " (deleted)";

/// The number that means nobody has logged in.
const NOBODY: u32 = u32::MAX;

/// A process, as it was when it was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProcEntry {
    /// Its number.
    pub pid: u32,
    /// When it began, in ticks since boot; with the number it is unique.
    pub started: u64,
    /// The process that made it, or took it over.
    pub parent: u32,
    /// The name the kernel has for it, of at most 15 bytes.
    pub name: String,
    /// The path of its program; none where it is ending or a thread of the kernel.
    pub image: Option<String>,
    /// Whether that file is gone.
    pub image_deleted: bool,
    /// Its arguments, without secrets.
    pub command: String,
    /// Where it works.
    pub directory: Option<String>,
    /// The user who runs it and the one whose rights it has.
    pub users: Option<(u32, u32)>,
    /// The user who logged in, whoever they became since.
    pub login_user: Option<u32>,
    /// The number of that login.
    pub session: Option<u32>,
    /// Its terminal.
    pub terminal: Option<String>,
}

/// An open `/proc`.
#[derive(Debug)]
pub(super) struct Proc {
    directory: OwnedFd,
}

impl Proc {
    /// Opens it.
    ///
    /// # Errors
    /// Fails where it is not mounted.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { directory })
    }

    /// Reads one process; none when it has gone.
    #[must_use]
    pub(super) fn read(&self, pid: u32) -> Option<ProcEntry> {
        let directory = self.open_process(pid)?;
        // What goes first when a process ends is read first.
        let image = read_link(&directory, "exe");
        let arguments = read_file(&directory, "cmdline", MAX_ARGUMENTS_BYTES).unwrap_or_default();
        let stat = read_file(&directory, "stat", 1_024)?;
        let mut entry = ProcEntry {
            pid,
            command: parse_arguments(&arguments),
            directory: read_link(&directory, "cwd"),
            ..parse_stat(&String::from_utf8_lossy(&stat))?
        };
        if let Some(image) = image {
            // A file may have this very name; only the kernel's own words mean that it is gone.
            let gone = image
                .strip_suffix(DELETED)
                .filter(|_| is_unlinked(&directory));
            entry.image_deleted = gone.is_some();
            entry.image = Some(gone.map_or_else(|| image.clone(), ToOwned::to_owned));
        }
        let status = read_file(&directory, "status", 2_048).unwrap_or_default();
        entry.users = parse_users(&String::from_utf8_lossy(&status));
        entry.login_user = read_number(&directory, "loginuid");
        entry.session = read_number(&directory, "sessionid");
        Some(entry)
    }

    /// When a process began and what the kernel calls it; none when it has gone.
    #[must_use]
    pub(super) fn read_start(&self, pid: u32) -> Option<(u64, String)> {
        let directory = self.open_process(pid)?;
        let stat = read_file(&directory, "stat", 1_024)?;
        let entry = parse_stat(&String::from_utf8_lossy(&stat))?;
        Some((entry.started, entry.name))
    }

    /// The numbers of all processes, in order.
    ///
    /// # Errors
    /// Fails when the directory cannot be read.
    pub(super) fn list(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let name = entry?
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse::<u32>().ok());
            pids.extend(name);
        }
        pids.sort_unstable();
        Ok(pids)
    }

    fn open_process(&self, pid: u32) -> Option<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.directory, pid.to_string(), flags, Mode::empty()).ok()
    }
}

fn read_link(directory: impl AsFd, name: &str) -> Option<String> {
    let target = readlinkat(directory, name, Vec::with_capacity(256)).ok()?;
    let target = OsStr::from_bytes(target.as_bytes());
    Some(target.to_string_lossy().into_owned())
}

fn is_unlinked(directory: impl AsFd) -> bool {
    let flags = rustix::fs::AtFlags::empty();
    rustix::fs::statat(directory, "exe", flags).is_ok_and(|file| file.st_nlink == 0)
}

fn read_number(directory: impl AsFd, name: &str) -> Option<u32> {
    let text = read_file(directory, name, 16)?;
    let number = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
    (number != NOBODY).then_some(number)
}

fn read_file(directory: impl AsFd, name: &str, max: usize) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    let mut content = Vec::with_capacity(max.min(512));
    while content.len() < max {
        content.reserve(512);
        let n_read = rustix::io::read(&file, rustix::buffer::spare_capacity(&mut content)).ok()?;
        if n_read == 0 {
            break;
        }
    }
    content.truncate(max);
    Some(content)
}

/// Arguments of which so many bytes were read at most, up to the last word that is whole: a part
/// of a secret may not look like one.
pub(in crate::collect) fn whole_words(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() < most {
        return bytes;
    }
    let is_end = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let end = bytes.iter().rposition(is_end).unwrap_or(0);
    bytes.get(..end).unwrap_or_default()
}

/// Arguments with a NUL behind each, joined by spaces, without secrets.
#[must_use]
pub fn parse_arguments(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(whole_words(bytes, MAX_ARGUMENTS_BYTES));
    let text = text.trim_end_matches('\0');
    let mut line = redact_arguments(text.split('\0'));
    if line.len() > MAX_COMMAND_BYTES {
        line.truncate(line.floor_char_boundary(MAX_COMMAND_BYTES));
    }
    line
}

/// The fields of `/proc/PID/stat`; the name is in parentheses and may hold any of them.
#[must_use]
pub fn parse_stat(text: &str) -> Option<ProcEntry> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().take(20).collect();
    let terminal: i32 = fields.get(4)?.parse().ok()?;
    Some(ProcEntry {
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        terminal: name_terminal(terminal),
        started: fields.get(19)?.parse().ok()?,
        ..ProcEntry::default()
    })
}

/// The name of a terminal by its device number; only those that people use have one.
fn name_terminal(device: i32) -> Option<String> {
    let device = device.cast_unsigned();
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        4 if minor < 64 => Some(format!("tty{minor}")),
        4 => Some(format!("ttyS{}", minor - 64)),
        136..=143 => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        _ => None,
    }
}

/// The user who runs a process and the one whose rights it has.
#[must_use]
pub fn parse_users(status: &str) -> Option<(u32, u32)> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut users = line.split_ascii_whitespace().map(str::parse);
    Some((users.next()?.ok()?, users.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_process_is_read() {
        let proc = Proc::open(Path::new("/proc")).unwrap();

        let entry = proc.read(std::process::id()).unwrap();

        let image = std::env::current_exe().unwrap();
        assert_eq!(entry.image.as_deref(), image.to_str());
        assert!(!entry.image_deleted && entry.started > 0);
        let directory = std::env::current_dir().unwrap();
        assert_eq!(entry.directory.as_deref(), directory.to_str());
        assert_eq!(
            proc.read_start(entry.pid),
            Some((entry.started, entry.name))
        );
        assert!(proc.list().unwrap().contains(&entry.pid));
        assert_eq!(entry.users.unwrap().0, rustix::process::getuid().as_raw());
    }

    #[test]
    fn a_process_that_has_gone_is_none() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();

        let proc = Proc::open(Path::new("/proc")).unwrap();

        assert_eq!(proc.read(pid), None);
    }

    #[test]
    fn a_name_may_look_like_the_fields_behind_it() {
        let text = "42 (a) R 1 (b) S 7 42 42 34817 42 4194304 0 0 0 0 0 0 0 0 20 0 1 0 123 9 9";

        let entry = parse_stat(text).unwrap();

        assert_eq!((entry.parent, entry.started), (7, 123));
        assert_eq!(entry.name, "a) R 1 (b");
        assert_eq!(entry.terminal.as_deref(), Some("pts/1"));
    }

    #[test]
    fn arguments_are_joined_without_secrets_and_bounded() {
        assert_eq!(
            parse_arguments(b"mysql\0-phunter2\0a b\0"),
            "mysql -p*** a b"
        );
        assert_eq!(parse_arguments(b""), "");
        let long = [b"x --token ".repeat(4_000), b"\0secret".to_vec()].concat();
        let line = parse_arguments(
            &long
                .iter()
                .map(|b| if *b == b' ' { 0 } else { *b })
                .collect::<Vec<_>>()[..],
        );
        assert!(line.len() <= MAX_COMMAND_BYTES && !line.contains("secret"));
    }

    #[test]
    fn arguments_that_are_cut_end_with_a_whole_word() {
        assert_eq!(whole_words(b"a\0b c", 6), b"a\0b c");
        assert_eq!(whole_words(b"a\0b c", 5), b"a\0b");
        assert_eq!(whole_words(b"a\0hunter2", 9), b"a");
        assert_eq!(whole_words(b"hunter2", 7), b"");
    }

    #[test]
    fn users_are_read_from_the_line_of_their_own() {
        assert_eq!(
            parse_users("Name:\tx\nUid:\t1000\t0\t0\t0\n"),
            Some((1_000, 0))
        );
        assert_eq!(parse_users("Name:\tUid: 5\n"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "([ ()0-9a-zR-]|\\PC){0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop((parse_stat(&text), parse_users(&text)));

            prop_assert!(parse_arguments(&bytes).len() <= MAX_COMMAND_BYTES);
        }
    }
}
