//! Which word of a line names the program that runs, behind those that only start another.
//! It knows their flags; a word that merely looks like a program's name means nothing to it.

use super::names;
use super::programs::{Argument, Program};

/// A program that starts another, the flags of its own that take a value, and how many words
/// come before the other.
type Starter = (&'static [&'static str], &'static str, u8);

/// The flags of ssh that take a value.
const SSH: &str = "BbcDEeFIiJLlmOopQRSWw";

/// The flags of interpreters that take a value, code left aside.
const INTERPRETER: &str = "oOWXI";

const STARTERS: [Starter; 23] = [
    (&["sudo", "doas"], "ughpCRrtTUD", 0),
    (&["env"], "uCS", 0),
    (&["timeout"], "sk", 1),
    (&["xargs"], "InPLdsEa", 0),
    (&["nice"], "n", 0),
    (&["ionice"], "cnpPu", 0),
    (&["chrt", "taskset"], "TPD", 1),
    (&["chroot"], "", 1),
    (&["runuser"], "ugG", 0),
    (&["su"], "gGsw", 1),
    (&["exec"], "a", 0),
    (&["flock"], "wE", 1),
    (&["watch"], "n", 0),
    (&["strace", "ltrace"], "abeEIoOpPsSuUX", 0),
    (&["nsenter", "unshare"], "tSGRw", 0),
    (&["systemd-run"], "Mptu", 0),
    (&["stdbuf"], "ioe", 0),
    (&["time"], "fo", 0),
    (&["ssh"], SSH, 1),
    (&["sshpass"], "fdePp", 0),
    (&["parallel"], "jSIanNLPd", 0),
    (
        &[
            "nohup",
            "setsid",
            "command",
            "builtin",
            "eval",
            "busybox",
            "torsocks",
            "torify",
            "proxychains",
            "proxychains4",
            "if",
            "then",
            "else",
            "elif",
            "do",
            "while",
            "until",
            "!",
            "{",
            "faketime",
            "firejail",
            "coproc",
        ],
        "",
        0,
    ),
    (
        &[
            "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "python", "python2", "python3",
            "perl", "ruby", "node",
        ],
        INTERPRETER,
        0,
    ),
];

/// Long flags of programs that start another whose value is the next word.
const LONG_FLAGS: [&str; 14] = [
    "--user",
    "--group",
    "--chdir",
    "--chroot",
    "--unset",
    "--signal",
    "--kill-after",
    "--adjustment",
    "--max-args",
    "--max-procs",
    "--delimiter",
    "--env",
    "--workdir",
    "--output",
];

/// Where in a command the next word stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Place {
    /// It names a program.
    #[default]
    Program,
    /// It belongs to a program that starts another, which takes values by these letters, after
    /// so many words.
    Starter(&'static str, u8),
    /// It is the value of a flag of such a program.
    Value(&'static str, u8),
    /// It is an argument.
    Argument,
    /// It may name a program wherever it stands, as behind `docker run`.
    Anywhere,
}

/// The command that a line is in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Command {
    /// The program whose flags are looked for.
    program: Option<&'static Program>,
    /// How many words of each of its places have been seen.
    n_seen: [u8; 3],
    place: Place,
    is_container: bool,
    /// The next word is the value of a flag of the program.
    is_value: bool,
}

impl Command {
    /// What a word that stands here carries.
    pub(super) fn argument(&self, word: &str) -> Option<Argument> {
        match self.place {
            Place::Program | Place::Value(..) => None,
            Place::Starter(..) | Place::Argument | Place::Anywhere => self.program?.argument(word),
        }
    }

    /// Whether a shell or another interpreter has begun, and its arguments may be code.
    pub(super) fn is_interpreter(&self) -> bool {
        self.place == Place::Starter(INTERPRETER, 0)
    }

    /// Whether what stands here is run by a shell of another host.
    pub(super) fn is_remote(&self) -> bool {
        self.place == Place::Starter(SSH, 0)
    }

    /// Whether a flag `-c` or `-e` may be followed by code here.
    pub(super) fn may_take_code(&self) -> bool {
        self.place != Place::Anywhere && (self.program.is_none() || self.place != Place::Argument)
    }

    /// Whether the next word names a program.
    pub(super) fn begins(&self) -> bool {
        matches!(self.place, Place::Program | Place::Starter(_, 0))
    }

    /// Notes a word, without quotes, that carries no secret by what the program takes.
    pub(super) fn note(&mut self, word: &str) {
        match self.place {
            Place::Program => self.note_first(word),
            Place::Value(letters, n_words) => self.place = Place::Starter(letters, n_words),
            Place::Starter(letters, n_words) => self.note_of_starter(word, letters, n_words),
            Place::Argument => self.note_argument(word),
            Place::Anywhere => {
                if let Some(program) = Program::of(file_name(word)) {
                    self.start(program);
                    self.place = Place::Anywhere;
                }
            }
        }
    }

    fn note_first(&mut self, word: &str) {
        let name = file_name(word);
        if word.is_empty() || is_assignment(word) {
            return;
        }
        if let Some(program) = Program::of(name) {
            self.start(program);
        } else {
            self.program = None;
            self.place = Place::Argument;
        }
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let starter = STARTERS
            .iter()
            .find(|(names, ..)| names.contains(&file_name(word)) || names.contains(&name));
        if let Some((_, letters, n_words)) = starter {
            self.place = Place::Starter(letters, *n_words);
        }
        self.is_container = matches!(
            name,
            "docker" | "podman" | "nerdctl" | "kubectl" | "oc" | "lxc"
        );
    }

    fn note_of_starter(&mut self, word: &str, letters: &'static str, n_words: u8) {
        if word.starts_with(['-', '+']) && word.len() > 1 {
            let is_long = word.starts_with("--");
            let takes_next = if is_long {
                LONG_FLAGS.contains(&word)
            } else {
                let first = word.find(|c: char| c != '-' && letters.contains(c));
                first.is_some_and(|at| at + 1 == word.len())
            };
            if takes_next {
                self.place = Place::Value(letters, n_words);
            }
        } else if is_assignment(word) {
        } else if n_words > 0 {
            self.place = Place::Starter(letters, n_words - 1);
        } else {
            self.place = Place::Program;
            self.note_first(word);
        }
    }

    fn note_argument(&mut self, word: &str) {
        if self.is_container && matches!(word, "exec" | "run" | "create") && !self.is_value {
            *self = Self {
                place: Place::Anywhere,
                ..Self::default()
            };
        } else if matches!(word, "-exec" | "-execdir" | "-ok" | "-okdir") && self.program.is_none()
        {
            *self = Self::default();
        } else if let Some(program) = self.program {
            self.is_value = !self.is_value && program.takes_next(word);
            self.program = Some(program.behind(word));
        }
    }

    fn start(&mut self, program: &'static Program) {
        *self = Self {
            program: Some(program),
            place: Place::Argument,
            ..Self::default()
        };
    }

    /// Whether a word that is no flag is a secret by the words before it.
    pub(super) fn is_secret_place(&mut self, word: &str) -> bool {
        let Some(program) = self.program.filter(|_| !self.is_value) else {
            return false;
        };
        let mut is_secret = false;
        for (place, n_seen) in program.places.iter().zip(&mut self.n_seen) {
            match place.get(usize::from(*n_seen)) {
                Some(expected) if *expected == word => *n_seen += 1,
                _ if word.starts_with('-') => {}
                Some(&"*") => *n_seen += 1,
                Some(_) => {}
                None if usize::from(*n_seen) == place.len() => {
                    *n_seen += 1;
                    is_secret = true;
                }
                None => {}
            }
        }
        is_secret
    }

    /// Whether a bare word makes the next one a secret.
    pub(super) fn is_key(&self, word: &str) -> bool {
        self.program.is_some_and(|program| program.is_keyed)
            && names::meaning(word) != names::Meaning::Harmless
    }
}

fn file_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Whether a word sets a variable for the program behind it.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}
