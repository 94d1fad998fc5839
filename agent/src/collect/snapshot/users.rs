//! Whose a process is, by name where the host's own list of users has one.
//! It never asks a directory on the network, which may be slow or gone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use hidps_wire::Shown;

/// Most users that are remembered of one list.
const MAX_USERS: usize = 10_000;

/// Names of users by their number.
#[derive(Debug, Default)]
pub(super) struct UserNames(BTreeMap<u32, Shown<64>>);

impl UserNames {
    /// Reads the host's own list.
    pub(super) fn read(root: &Path) -> Self {
        Self::parse(&fs::read_to_string(root.join("etc/passwd")).unwrap_or_default())
    }

    /// Reads lines of `name:password:number:…`; the first of a number counts.
    pub(super) fn parse(passwd: &str) -> Self {
        let mut names = BTreeMap::new();
        for line in passwd.lines().take(MAX_USERS) {
            let mut fields = line.split(':');
            if let (Some(name), Some(number)) = (fields.next(), fields.nth(1))
                && let Ok(number) = number.parse()
            {
                names.entry(number).or_insert_with(|| Shown::new(name));
            }
        }
        Self(names)
    }

    /// Whose a process is, by its directory; its number where it has no name here.
    pub(super) fn owner(&mut self, process: &Path) -> Option<Shown<64>> {
        let number = fs::metadata(process).ok()?.uid();
        let name = self.0.entry(number);
        Some(
            name.or_insert_with(|| Shown::new(&number.to_string()))
                .clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts_and_odd_lines_do_not() {
        let names =
            UserNames::parse("root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nodd\n:::\na:x:b:1");

        assert_eq!(names.0, BTreeMap::from([(0, Shown::new("root"))]));
    }
}
