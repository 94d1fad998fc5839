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

/// A line of the unit that a systemd below a version does not understand, and what says for it what
/// comes closest; nothing where nothing does.
struct OlderLine {
    below: u32,
    key: &'static str,
    older: &'static str,
}

/// Every line that an older systemd would take for another one, or not at all. Keys that it warns of and
/// passes over, without which the agent is only less confined, are left to it.
const OLDER_LINES: [OlderLine; 9] = [
    // The agent is told to read the token itself.
    older(247, "LoadCredential=", ""),
    // A group it does not know would leave a list that allows next to nothing.
    older(239, "SystemCallFilter=@system-service", ""),
    // Nobody else makes the directory of its state; root does, with as few rights.
    older(235, "StateDirectory=", ""),
    older(235, "User=", "User=root"),
    older(235, "Group=", "Group=root"),
    older(235, "AmbientCapabilities=", ""),
    // The strictest there is under which /var/lib can be written.
    older(235, "ProtectSystem=", "ProtectSystem=full"),
    older(231, "MemoryMax=", "MemoryLimit=256M"),
    older(230, "StartLimitIntervalSec=", ""),
];

const fn older(below: u32, key: &'static str, older: &'static str) -> OlderLine {
    OlderLine { below, key, older }
}

/// Since when systemd can wait longer each time it starts something again.
const STEPS_SINCE: u32 = 254;

/// A unit in the words of a version of systemd: the same, as far as that version can say it.
#[must_use]
pub fn unit_in_words_of(systemd: u32, unit: &str) -> String {
    let mut text = String::new();
    for line in unit.lines() {
        let is_meant = |it: &&OlderLine| systemd < it.below && line.starts_with(it.key);
        match OLDER_LINES.iter().find(is_meant) {
            Some(OlderLine { older: "", .. }) => continue,
            Some(it) => text += it.older,
            None => text += line,
        }
        text.push('\n');
        if systemd >= STEPS_SINCE && line.starts_with("RestartSec=") {
            text += "RestartSteps=5\nRestartMaxDelaySec=60\n";
        }
    }
    text
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
    fn an_older_systemd_gets_no_line_that_it_would_misunderstand() {
        let unit = |systemd| unit_in_words_of(systemd, UNIT);
        let has = |systemd, line: &str| unit(systemd).lines().any(|it| it == line);

        assert_eq!(unit(247), UNIT);
        assert_eq!(unit(253), UNIT);
        assert!(!unit(246).contains("LoadCredential") && unit(246).contains("@system-service"));
        assert!(!unit(238).contains("@system-service") && unit(238).contains("~@privileged"));
        assert!(has(238, "User=hidps-agent") && unit(238).contains("\nAmbientCapabilities="));
        assert!(has(219, "User=root") && has(219, "Group=root"));
        assert!(has(219, "ProtectSystem=full") && has(219, "MemoryLimit=256M"));
        assert!(!unit(219).contains("AmbientCapabilities") && unit(219).contains("BoundingSet="));
        for line in &OLDER_LINES {
            assert!(UNIT.contains(&format!("\n{}", line.key)), "{}", line.key);
        }
    }

    #[test]
    fn a_newer_systemd_waits_longer_each_time() {
        let unit = unit_in_words_of(254, UNIT);

        assert!(unit.contains("RestartSec=5\nRestartSteps=5\nRestartMaxDelaySec=60\n"));
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
