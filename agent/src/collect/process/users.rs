//! Names of users by their numbers, from a file in the form of `/etc/passwd`.
//! It asks no name service: a user of a directory server is shown by number.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// How long a file is believed unchanged, in nanoseconds.
const BELIEVED: u64 = 10_000_000_000;

/// Most users held; hosts with more show numbers for the rest.
const MAX_USERS: usize = 16_384;

/// Most bytes of the file read.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The names of users.
#[derive(Debug)]
pub(crate) struct UserNames {
    file: PathBuf,
    names: HashMap<u32, Arc<str>>,
    modified: Option<SystemTime>,
    looked_at: Option<u64>,
}

impl Default for UserNames {
    fn default() -> Self {
        Self::of(PathBuf::from("/etc/passwd"))
    }
}

impl UserNames {
    /// The names in a file.
    #[must_use]
    pub(super) fn of(file: PathBuf) -> Self {
        Self {
            file,
            names: HashMap::new(),
            modified: None,
            looked_at: None,
        }
    }

    /// The name of a user, or the number where there is none.
    pub(crate) fn name(&mut self, user: u32, now: u64) -> Arc<str> {
        if self
            .looked_at
            .is_none_or(|at| now.saturating_sub(at) > BELIEVED)
        {
            self.looked_at = Some(now);
            self.refresh();
        }
        match self.names.get(&user) {
            Some(name) => Arc::clone(name),
            None => user.to_string().into(),
        }
    }

    fn refresh(&mut self) {
        let Ok(metadata) = fs::metadata(&self.file) else {
            return;
        };
        let modified = metadata.modified().ok();
        if modified == self.modified || metadata.len() > MAX_FILE_BYTES {
            return;
        }
        if let Ok(text) = fs::read(&self.file) {
            self.names = parse(&String::from_utf8_lossy(&text));
            self.modified = modified;
        }
    }
}

/// The first name of every number, as the C library has it.
pub(super) fn parse(text: &str) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut parts = line.split(':');
        let (Some(name), Some(user)) = (parts.next(), parts.nth(1)) else {
            continue;
        };
        if let Ok(user) = user.parse()
            && names.len() < MAX_USERS
        {
            names.entry(user).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shown_by_name_and_a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("passwd");
        fs::write(&file, "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:\n+::\nbad\n").unwrap();
        let mut users = UserNames::of(file.clone());

        let before = [users.name(0, 0), users.name(7, 0)];
        fs::write(&file, "root:x:0:0:\nbob:x:7:7:").unwrap();
        let modified = SystemTime::UNIX_EPOCH;
        fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let soon = users.name(7, BELIEVED);
        let later = users.name(7, BELIEVED + 1);

        assert_eq!(before.map(|name| name.to_string()), ["root", "7"]);
        assert_eq!((&*soon, &*later), ("7", "bob"));
    }
}
