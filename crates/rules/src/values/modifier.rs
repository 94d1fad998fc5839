//! The chain behind a field name: `Field|contains|all` and its kin.
//! It never guesses: a modifier that is unknown, misplaced or meaningless is refused.

use crate::fault::{Fault, Location};
use crate::values::encoding::Encoding;
use crate::values::matcher::Place;
use crate::values::number::Comparison;
use crate::values::time_part::TimePart;

/// What a chain of modifiers asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Modifiers {
    /// What kind of test the values are.
    pub(crate) test: Test,
    /// Which part of the text must match.
    pub(crate) place: Place,
    /// How values are rewritten before they are compared, in this order.
    pub(crate) encodings: Vec<Encoding>,
    /// Whether all values must match.
    pub(crate) all: bool,
    /// Whether upper and lower case are distinct.
    pub(crate) cased: bool,
    /// Whether the outcome is turned round.
    pub(crate) negated: bool,
    /// Whether values hold placeholders.
    pub(crate) expanded: bool,
}

/// What kind of test the values are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Test {
    /// Text with wildcards, numbers, booleans and null, each as written.
    Value,
    /// A regular expression.
    Regex(RegexFlags),
    /// A network.
    Network,
    /// Presence of the field.
    Exists,
    /// A relation to a number, or of a part of a time to one.
    Compare(Comparison, Option<TimePart>),
    /// Another field.
    FieldRef,
}

/// Flags of a regular expression.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RegexFlags {
    /// Upper and lower case are the same.
    pub(crate) ignore_case: bool,
    /// `^` and `$` stand at every line.
    pub(crate) multi_line: bool,
    /// `.` is also a line's end.
    pub(crate) dot_all: bool,
}

/// Longest chain of encodings; `utf16le|base64offset` is the longest that means anything.
const MAX_ENCODINGS: usize = 3;

impl Modifiers {
    /// Splits a key into its field name and what its modifiers ask for; no name means keywords.
    pub(crate) fn parse(key: &str, at: Location) -> Result<(&str, Self), Fault> {
        let mut words = key.split('|');
        let field = words.next().unwrap_or_default();
        let mut modifiers = Self {
            test: Test::Value,
            place: Place::Whole,
            encodings: Vec::new(),
            all: false,
            cased: false,
            negated: false,
            expanded: false,
        };
        let mut column = at.column + field.chars().count() + 1;
        for word in words {
            modifiers.add(word, Location { column, ..at })?;
            column += word.chars().count() + 1;
        }
        modifiers.check(field, at)?;
        Ok((field, modifiers))
    }

    /// Takes the next modifier of the chain.
    fn add(&mut self, word: &str, at: Location) -> Result<(), Fault> {
        match word {
            "contains" => self.set_place(Place::Anywhere, at),
            "startswith" => self.set_place(Place::Start, at),
            "endswith" => self.set_place(Place::End, at),
            "all" => set_flag(&mut self.all, word, at),
            "cased" => set_flag(&mut self.cased, word, at),
            "neq" => set_flag(&mut self.negated, word, at),
            "expand" => set_flag(&mut self.expanded, word, at),
            "minute" | "hour" | "day" | "week" | "month" | "year" => self.set_time_part(word, at),
            "re" => self.set_test(Test::Regex(RegexFlags::default()), at),
            "cidr" => self.set_test(Test::Network, at),
            "exists" => self.set_test(Test::Exists, at),
            "fieldref" => self.set_test(Test::FieldRef, at),
            "i" | "ignorecase" => self.set_regex_flag(word, |flags| &mut flags.ignore_case, at),
            "m" | "multiline" => self.set_regex_flag(word, |flags| &mut flags.multi_line, at),
            "s" | "dotall" => self.set_regex_flag(word, |flags| &mut flags.dot_all, at),
            "lt" | "lte" | "gt" | "gte" => match Comparison::parse(word) {
                Some(relation) => self.set_comparison(relation, at),
                None => Ok(()),
            },
            _ => self.add_encoding(word, at),
        }
    }

    /// Takes a rewriting of values, which must come before what is done with them.
    fn add_encoding(&mut self, word: &str, at: Location) -> Result<(), Fault> {
        let Some(encoding) = Encoding::parse(word) else {
            return Err(unknown(word, at));
        };
        if self.place != Place::Whole || self.test != Test::Value {
            return Err(Fault::new(
                at,
                format!("'{word}' comes too late to rewrite the value"),
                format!("write '{word}' first, as in '{word}|contains'"),
            ));
        }
        if self.encodings.len() >= MAX_ENCODINGS {
            return Err(Fault::new(
                at,
                format!("a value is rewritten more than {MAX_ENCODINGS} times"),
                "keep the encodings that the searched text has",
            ));
        }
        self.encodings.push(encoding);
        Ok(())
    }

    /// Sets which part of the text must match.
    fn set_place(&mut self, place: Place, at: Location) -> Result<(), Fault> {
        if self.place != Place::Whole {
            return Err(Fault::new(
                at,
                "a value has two of 'contains', 'startswith' and 'endswith'",
                "keep one of them",
            ));
        }
        self.place = place;
        Ok(())
    }

    /// Sets what kind of test the values are.
    fn set_test(&mut self, test: Test, at: Location) -> Result<(), Fault> {
        if self.test != Test::Value {
            return Err(Fault::new(
                at,
                "a value has two modifiers that say what it is",
                "keep one of 're', 'cidr', 'exists', 'fieldref', 'lt', 'lte', 'gt' and 'gte'",
            ));
        }
        self.test = test;
        Ok(())
    }

    /// Takes a part of a time, which is compared for equality unless another relation follows.
    fn set_time_part(&mut self, word: &str, at: Location) -> Result<(), Fault> {
        match TimePart::parse(word) {
            Some(part) => self.set_test(Test::Compare(Comparison::Eq, Some(part)), at),
            None => Err(unknown(word, at)),
        }
    }

    /// Takes a relation, of the part of a time before it or of the field itself.
    fn set_comparison(&mut self, relation: Comparison, at: Location) -> Result<(), Fault> {
        if let Test::Compare(Comparison::Eq, Some(part)) = self.test {
            self.test = Test::Compare(relation, Some(part));
            return Ok(());
        }
        self.set_test(Test::Compare(relation, None), at)
    }

    /// Sets a flag of the regular expression before it.
    fn set_regex_flag(
        &mut self,
        word: &str,
        flag: fn(&mut RegexFlags) -> &mut bool,
        at: Location,
    ) -> Result<(), Fault> {
        if let Test::Regex(flags) = &mut self.test {
            return set_flag(flag(flags), word, at);
        }
        Err(Fault::new(
            at,
            format!("'{word}' is a flag of regular expressions and no 're' is before it"),
            format!("write 're|{word}'"),
        ))
    }

    /// Refuses chains whose parts contradict each other.
    fn check(&self, field: &str, at: Location) -> Result<(), Fault> {
        let refuse = |problem: &str, instead: &str| Err(Fault::new(at, problem, instead));
        if !self.encodings.is_empty() && self.test != Test::Value {
            return refuse(
                "an encoding does not go with this kind of value",
                "encode plain text, perhaps with 'contains'",
            );
        }
        let placeable = matches!(self.test, Test::Value | Test::FieldRef);
        if self.place != Place::Whole && !placeable {
            return refuse(
                "'contains', 'startswith' and 'endswith' do not go with this kind of value",
                "remove the one that is not needed; 're' finds a match anywhere by itself",
            );
        }
        if self.cased && self.test != Test::Value {
            return refuse(
                "'cased' is for plain text values",
                "remove it; a regular expression is cased unless 're|i' is written",
            );
        }
        let keyword_test = matches!(self.test, Test::Value | Test::Regex(_));
        let keyword_place = matches!(self.place, Place::Whole | Place::Anywhere);
        if field.is_empty() && !(keyword_test && keyword_place && !self.negated) {
            return refuse(
                "a keyword takes no modifiers but 'all', 'contains', 'cased' and 're'",
                "write a field name before the first '|'",
            );
        }
        if self.all && matches!(self.test, Test::Exists) {
            return refuse("'all' means nothing with 'exists'", "remove 'all'");
        }
        Ok(())
    }
}

/// Sets a flag that may be written once.
fn set_flag(flag: &mut bool, word: &str, at: Location) -> Result<(), Fault> {
    if *flag {
        return Err(Fault::new(
            at,
            format!("'{word}' is written twice"),
            "write it once",
        ));
    }
    *flag = true;
    Ok(())
}

/// The refusal of a modifier that cannot be used.
fn unknown(word: &str, at: Location) -> Fault {
    Fault::new(
        at,
        format!("there is no modifier '{word}'"),
        "use contains, startswith, endswith, all, cased, neq, re, cidr, exists, fieldref, lt, \
         lte, gt, gte, minute, hour, day, week, month, year, expand, base64, base64offset, wide, \
         utf16le, utf16be, utf16 or windash",
    )
}
