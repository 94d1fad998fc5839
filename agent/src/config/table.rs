//! Typed reading of a settings table that remembers every fault instead of stopping at one.
//! It knows no setting by name.

use std::path::PathBuf;

use toml::{Table, Value};

/// Reads a variable of the environment.
type ReadVariable<'e> = Box<dyn Fn(&str) -> Option<String> + 'e>;

/// A table of which every known key is taken out; what is left is unknown.
pub(super) struct SettingsTable<'e> {
    left: Table,
    env: ReadVariable<'e>,
    faults: Vec<String>,
    known: Vec<&'static str>,
}

impl<'e> SettingsTable<'e> {
    /// Reads the text; a fault of syntax hides all others.
    pub(super) fn parse(
        text: &str,
        env: impl Fn(&str) -> Option<String> + 'e,
    ) -> Result<Self, String> {
        let table = text.parse::<Table>().map_err(|error| {
            let message = error.message();
            let line = error.span().map_or(1, |span| {
                text.bytes()
                    .take(span.start)
                    .filter(|b| *b == b'\n')
                    .count()
                    + 1
            });
            format!("line {line} is not TOML: {message}")
        })?;
        Ok(Self::new(table, Box::new(env)))
    }

    fn new(left: Table, env: ReadVariable<'e>) -> Self {
        Self {
            left,
            env,
            faults: Vec::new(),
            known: Vec::new(),
        }
    }

    /// Remembers a fault.
    pub(super) fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// A text; the variable, unless its name is empty, goes before the file.
    pub(super) fn text(&mut self, key: &'static str, variable: &str) -> Option<String> {
        let from_env = (!variable.is_empty())
            .then(|| (self.env)(variable))
            .flatten()
            .filter(|text| !text.is_empty());
        let from_file = self.take(key, "a text in quotes", |value| value.try_into().ok());
        from_env.or(from_file)
    }

    /// A text without which nothing works.
    pub(super) fn required(&mut self, key: &'static str, variable: &str) -> Option<String> {
        let had_faults = self.faults.len();
        let text = self.text(key, variable);
        if text.is_none() && self.faults.len() == had_faults {
            self.fault(format!(
                "{key} is missing; set it in the file or in the variable {variable}"
            ));
        }
        text
    }

    /// A variable that is no setting of ours.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|text| !text.is_empty())
    }

    /// A secret, which only the environment may carry.
    pub(super) fn secret(&self, variable: &str) -> Option<String> {
        (self.env)(variable).filter(|text| !text.trim().is_empty())
    }

    /// A path.
    pub(super) fn path(&mut self, key: &'static str, variable: &str) -> Option<PathBuf> {
        self.text(key, variable).map(PathBuf::from)
    }

    /// A truth value.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, "true or false", |value| value.as_bool())
    }

    /// A whole number within a range.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<u64> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(key, &wanted, |value| {
            let number = value.as_integer().filter(|number| range.contains(number))?;
            u64::try_from(number).ok()
        })
    }

    /// One of several words; the first is the default.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        let names: Vec<_> = words
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let chosen = self.take(key, &names.join(" or "), |value| {
            let text = value.as_str()?;
            words
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, chosen)| *chosen)
        });
        let (_, default) = words.first().expect("a choice has at least one word");
        chosen.unwrap_or(*default)
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.take(key, "a list of texts in quotes", |value| {
            value.try_into().ok()
        })
    }

    /// The tables of an array of tables; none when the key is absent.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<SettingsTable<'static>> {
        let wanted = format!("sections that begin with [[{key}]]");
        let tables: Option<Vec<Table>> = self.take(key, &wanted, |value| value.try_into().ok());
        let no_env = |table| SettingsTable::new(table, Box::new(|_: &str| None));
        tables.unwrap_or_default().into_iter().map(no_env).collect()
    }

    /// All faults, keys nobody asked for included.
    pub(super) fn into_faults(mut self) -> Vec<String> {
        for key in self.left.keys() {
            self.faults.push(format!(
                "{key} is not a setting; the settings here are {}",
                self.known.join(", ")
            ));
        }
        self.faults
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.left.remove(key)?;
        let shown = show(&value);
        let read = read(value);
        if read.is_none() {
            self.fault(format!("{key} is {shown}; it must be {wanted}"));
        }
        read
    }
}

fn show(value: &Value) -> String {
    let plain = value
        .as_str()
        .map(|text| format!("{text:?}"))
        .or_else(|| value.as_integer().map(|number| number.to_string()))
        .or_else(|| value.as_bool().map(|truth| truth.to_string()));
    // A long value is recognized by its beginning.
    plain.map_or_else(
        || format!("of the type {}", value.type_str()),
        |plain| plain.chars().take(60).collect(),
    )
}
