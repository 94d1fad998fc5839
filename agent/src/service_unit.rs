//! The systemd unit that belongs to this very program, so that neither is older than the other.
//! It never installs anything.

use std::path::Path;

/// The unit as packages install it.
const UNIT: &str = include_str!("../packaging/hidps-agent.service");

/// Where packages put the program.
const PACKAGED: &str = "/usr/bin/hidps-agent";

/// The unit for a program at another place; none where a unit cannot name that place.
#[must_use]
pub fn unit_for(program: &Path) -> Option<String> {
    let path = program.to_str()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    (path.starts_with('/') && path.chars().all(is_plain)).then(|| UNIT.replace(PACKAGED, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_starts_the_program_where_it_is() {
        let unit = unit_for(Path::new("/opt/x/hidps-agent")).unwrap();

        assert!(unit.contains("\nExecStart=/opt/x/hidps-agent run\n"));
        assert!(!unit.contains(PACKAGED));
    }

    #[test]
    fn a_path_that_would_say_more_than_a_path_is_refused() {
        for path in ["hidps-agent", "/a b", "/a\nExecStart=/bin/sh", "/%n", "/$x"] {
            assert_eq!(unit_for(Path::new(path)), None, "{path:?}");
        }
    }
}
