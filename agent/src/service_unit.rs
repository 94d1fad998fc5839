//! The systemd unit that belongs to this very program, so that neither is older than the other.
//! It never installs anything.

use std::path::Path;

use clap::ValueEnum;

/// The unit as packages install it.
const UNIT: &str = include_str!("../packaging/hidps-agent.service");

/// What the agent can be allowed beyond its unit, each by a drop-in of its own.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Extra {
    /// Use ufw, as root.
    Ufw,
    /// Tell who changes watched files.
    FileActors,
}

impl Extra {
    /// The text of its drop-in.
    #[must_use]
    pub const fn drop_in(self) -> &'static str {
        match self {
            Self::Ufw => include_str!("../packaging/ufw.conf"),
            Self::FileActors => include_str!("../packaging/file-actors.conf"),
        }
    }
}

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
    fn a_drop_in_says_by_what_it_is_printed() {
        for extra in Extra::value_variants() {
            let name = extra.to_possible_value().unwrap();
            let printed_by = format!("`hidps-agent unit --with {}`", name.get_name());

            // By this install.sh knows its own files.
            let first = extra.drop_in().lines().next().unwrap();
            assert!(first.contains(&printed_by), "{first}");
        }
    }

    #[test]
    fn a_path_that_would_say_more_than_a_path_is_refused() {
        for path in ["hidps-agent", "/a b", "/a\nExecStart=/bin/sh", "/%n", "/$x"] {
            assert_eq!(unit_for(Path::new(path)), None, "{path:?}");
        }
    }
}
