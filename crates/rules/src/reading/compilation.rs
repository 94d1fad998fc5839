//! What the files of one set share while they are compiled: field numbers and a budget.
//! It never outlives the compilation; the set keeps the field numbers only.

use crate::fault::{Fault, Location};
use crate::pipeline::run::Pipes;
use crate::reading::options::Options;
use crate::search::view::{FieldTable, Slot};

/// Most regular expressions of one set: the community's 3,757 rules have 217, and each may take
/// milliseconds to compile and a megabyte to hold.
const MAX_REGEXES: usize = 2_000;

/// State of one compilation.
#[derive(Default, Debug)]
pub(crate) struct Compilation {
    /// The field names seen so far.
    pub(crate) fields: FieldTable,
    /// What pipelines make of rules.
    pub(crate) pipes: Pipes,
    /// What of the options is part of every rule's content.
    pub(crate) digest: Vec<u8>,
    /// The file at hand, for regular expressions that are refused later.
    pub(crate) file: String,
    n_regexes: usize,
    /// How many regular expressions fewer than usual it may have.
    fewer_regexes: usize,
}

impl Compilation {
    /// Begins with nothing compiled.
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            pipes: Pipes::new(options),
            digest: options.digest(),
            ..Self::default()
        }
    }

    /// A compilation that goes on where a set's ended, with fewer regular expressions.
    pub(crate) fn over(options: &Options, fields: FieldTable, most_regexes: usize) -> Self {
        Self {
            fields,
            fewer_regexes: MAX_REGEXES.saturating_sub(most_regexes),
            ..Self::new(options)
        }
    }

    /// The number of a field name.
    pub(crate) fn slot(&mut self, name: &str) -> Slot {
        self.fields.slot(name)
    }

    /// Takes one regular expression from the budget.
    pub(crate) fn count_regex(&mut self, at: Location) -> Result<(), Fault> {
        self.n_regexes += 1;
        let most = MAX_REGEXES - self.fewer_regexes;
        if self.n_regexes <= most {
            return Ok(());
        }
        Err(Fault::new(
            at,
            format!("the rules have more than {most} regular expressions together"),
            "use 'contains', 'startswith' and 'endswith', which are faster too",
        ))
    }
}
