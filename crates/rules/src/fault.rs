//! What is wrong with a rule file: the place, the problem and what to write instead.
//! It never prints; the caller shows [`RuleError`].

/// A place in a rule file, counted from one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Location {
    /// Line, counted from one.
    pub(crate) line: usize,
    /// Column in characters, counted from one.
    pub(crate) column: usize,
}

impl Location {
    /// The first character of a file.
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// A problem inside one file, before the file's name is added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    at: Location,
    problem: String,
    instead: String,
}

impl Fault {
    /// States a problem and its remedy.
    pub(crate) fn new(
        at: Location,
        problem: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        Self {
            at,
            problem: problem.into(),
            instead: instead.into(),
        }
    }

    /// The same problem with the name of its file.
    pub(crate) fn in_file(self, file: &str) -> RuleError {
        RuleError {
            file: file.to_owned(),
            line: self.at.line,
            column: self.at.column,
            problem: self.problem,
            instead: self.instead,
        }
    }
}

/// Why a rule file was refused: the place, the problem and what to write instead.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {problem}; {instead}")]
pub struct RuleError {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Line, counted from one.
    pub line: usize,
    /// Column in characters, counted from one.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub instead: String,
}
