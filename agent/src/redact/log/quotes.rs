//! Where programs that log commands put them: what stands before one in their messages.
//! It masks nothing, and a table that knows a program says nothing of another one's messages.

/// How a program writes a command into a message.
struct Quote {
    /// The name of the program, or what its names begin with.
    program: Name,
    /// What stands before the first command.
    begins: &'static [&'static str],
    /// Words between that and the command.
    n_skipped: usize,
    /// What stands before each one that follows.
    goes_on: &'static [&'static str],
    /// Whether a command may have the same in it, so that only the first of each counts.
    goes_on_once: bool,
    /// What may stand behind the last one.
    ends: &'static [&'static str],
}

/// Names of programs.
#[derive(Clone, Copy)]
enum Name {
    /// This one.
    Is(&'static str),
    /// Those that begin so.
    Begins(&'static str),
    /// Any: what stands before the command is known well enough.
    Any,
}

const fn quote(program: Name, begins: &'static [&'static str]) -> Quote {
    Quote {
        program,
        begins,
        n_skipped: 0,
        goes_on: &[],
        goes_on_once: false,
        ends: &[],
    }
}

/// The lines of systemd in which a description stands, which is a command where `systemd-run` or
/// `run0` made the unit.
const SYSTEMD: [&str; 9] = [
    "Started ",
    "Finished ",
    "Stopped ",
    "Reloaded ",
    "Starting ",
    "Stopping ",
    "Reloading ",
    "Failed to start ",
    "Dependency failed for ",
];

static QUOTES: [Quote; 15] = [
    Quote {
        // Whoever names a directory so only has more of the line looked at.
        goes_on: &[" ; ENV=", " ; COMMAND="],
        ..quote(
            Name::Begins("sudo"),
            &["ENV=", "COMMAND=", "(command continued) "],
        )
    },
    Quote {
        ends: &[")"],
        ..quote(
            Name::Begins("cron"),
            &["CMD (", "CMDEND (", "CMDOUT (", " cmd "],
        )
    },
    Quote {
        ends: &[")"],
        ..quote(Name::Is("incrond"), &["CMD ("])
    },
    quote(Name::Is("fcron"), &["Job "]),
    Quote {
        goes_on: &[" - ", "] "],
        goes_on_once: true,
        ends: &["...", "."],
        ..quote(Name::Is("systemd"), &SYSTEMD)
    },
    Quote {
        ends: &["]"],
        ..quote(Name::Is("pkexec"), &["[COMMAND="])
    },
    quote(Name::Is("polkitd"), &[" ["]),
    quote(Name::Is("doas"), &[" ran command "]),
    Quote {
        goes_on: &[": "],
        goes_on_once: true,
        ..quote(Name::Is("doas"), &["command not permitted for "])
    },
    quote(Name::Is("sshd"), &["forced-command "]),
    Quote {
        goes_on: &[" comm=\""],
        ..quote(Name::Begins("dbus-"), &["comm=\""])
    },
    quote(Name::Is("snoopy"), &["]: "]),
    quote(Name::Is("kernel"), &["ommand line: "]),
    // Of a shell that logs what is typed into it.
    Quote {
        n_skipped: 2,
        ..quote(Name::Any, &["HISTORY: PID=", "HISTORY (TRUNCATED): PID="])
    },
    // Of Ansible's modules, under their own name or that of what runs them.
    Quote {
        goes_on: &[" _raw_params="],
        goes_on_once: true,
        ..quote(Name::Any, &["Invoked with _raw_params=", "Invoked with "])
    },
];

/// A command in a message: where it begins and ends.
pub(super) type Place = (usize, usize);

/// The commands in a message of a program, by any of the names it has.
pub(super) fn find_commands(names: &[&str], message: &str) -> Vec<Place> {
    let quotes = QUOTES.iter();
    let found = quotes.filter(|quote| names.iter().any(|name| quote.program.is_of(name)));
    found
        .map(|quote| quote.places(message))
        .find(|places| !places.is_empty())
        .unwrap_or_default()
}

impl Name {
    fn is_of(self, name: &str) -> bool {
        match self {
            Self::Is(known) => name == known,
            Self::Begins(known) => name.starts_with(known),
            Self::Any => true,
        }
    }
}

impl Quote {
    fn places(&self, message: &str) -> Vec<Place> {
        let first = self.begins.iter();
        let first = first.filter_map(|begin| Some((message.find(begin)?, begin.len())));
        // Of two that begin at one place the longer one says more.
        let first = first.min_by_key(|(at, length)| (*at, std::cmp::Reverse(*length)));
        let Some((at, length)) = first else {
            return Vec::new();
        };
        let (end, begin) = (self.end(message), self.skip(message, at + length));
        let rest = message.get(begin..end).unwrap_or_default();
        let further = self.goes_on.iter();
        let further = further.flat_map(|mark| {
            let n_most = if self.goes_on_once { 1 } else { usize::MAX };
            let found = rest.match_indices(mark).take(n_most);
            found.map(|(at, _)| (begin + at, begin + at + mark.len()))
        });
        let mut marks: Vec<_> = further.collect();
        marks.sort_unstable();
        let begins = std::iter::once(begin).chain(marks.iter().map(|(_, behind)| *behind));
        let ends = marks.iter().map(|(before, _)| *before).chain([end]);
        begins
            .zip(ends)
            .filter(|(begin, end)| begin < end)
            .collect()
    }

    /// Where a command begins that has other words before it.
    fn skip(&self, message: &str, begin: usize) -> usize {
        let rest = message.get(begin..).unwrap_or_default();
        let mut spaces = rest.match_indices(' ').map(|(at, _)| begin + at + 1);
        match self.n_skipped.checked_sub(1) {
            Some(n_before) => spaces.nth(n_before).unwrap_or(message.len()),
            None => begin,
        }
    }

    /// Where the last command ends.
    fn end(&self, message: &str) -> usize {
        let ends = self.ends.iter();
        let rest = ends.filter_map(|end| message.strip_suffix(end)).next();
        rest.map_or(message.len(), str::len)
    }
}
