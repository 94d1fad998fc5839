//! Where settings come from: the environment first, then one TOML file, then the default.
//! It never checks what a value means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::config::settings::{SETTINGS, Setting};

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting.
    pub name: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.problem)
    }
}

/// The raw values, by name.
#[derive(Debug, Default)]
pub struct Source {
    environment: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    faults: Vec<Fault>,
}

impl Source {
    /// The environment given, and the file if one is named.
    ///
    /// # Errors
    /// A fault when the file cannot be read or is not a flat TOML table.
    pub fn new(
        environment: impl IntoIterator<Item = (String, String)>,
        file: Option<&Path>,
    ) -> Result<Self, Fault> {
        let mut source = Self {
            environment: environment.into_iter().collect(),
            ..Self::default()
        };
        if let Some(path) = file {
            source.read_file(path)?;
        }
        Ok(source)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), Fault> {
        let fault = |problem: String| Fault {
            name: path.display().to_string(),
            problem,
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| fault(format!("cannot be read: {error}")))?;
        let table: toml::Table =
            toml::from_str(&text).map_err(|error| fault(format!("is not TOML: {error}")))?;
        for (key, value) in table {
            let known = SETTINGS.iter().find(|setting| setting.file_key() == key);
            let (Some(setting), Some(text)) = (known, scalar(&value)) else {
                let problem = format!("has the key {key:?}, which is not a setting with one value");
                self.faults.push(fault(problem));
                continue;
            };
            self.file.insert(setting.name.to_owned(), text);
        }
        Ok(())
    }

    /// Names that look like ours but are no setting: a typing error must not pass in silence.
    #[must_use]
    pub fn unknown(&self) -> Vec<Fault> {
        let known = |name: &str| {
            let plain = name.strip_suffix("_FILE").unwrap_or(name);
            name == CONFIG_FILE
                || SETTINGS
                    .iter()
                    .any(|s| s.name == name || s.secret && s.name == plain)
        };
        let ours = self
            .environment
            .keys()
            .filter(|name| name.starts_with("HIDPS_"));
        let unknown = ours.filter(|name| !known(name)).map(|name| Fault {
            name: name.clone(),
            problem: "is not a setting; `hidpsd config list` names them all".into(),
        });
        self.faults.iter().cloned().chain(unknown).collect()
    }

    /// The value of a setting, or none when it is unset and has no default.
    ///
    /// # Errors
    /// A fault when a `<NAME>_FILE` cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<String>, Fault> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let setting = setting.expect("only listed settings are asked for");
        let set = |name: &str| self.environment.get(name).filter(|value| !value.is_empty());
        if let Some(value) = set(setting.name).or_else(|| set(setting.alias?)) {
            return Ok(Some(value.clone()));
        }
        if let Some(path) = set(&format!("{name}_FILE")).filter(|_| setting.secret) {
            return read_secret(setting, path).map(Some);
        }
        Ok(self
            .file
            .get(name)
            .cloned()
            .or_else(|| setting.default.map(str::to_owned)))
    }

    /// Each setting with its effective value, secrets masked.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        let show = |setting: &'static Setting| {
            let value = match self.get(setting.name) {
                Ok(Some(_)) if setting.secret => "********".to_owned(),
                Ok(Some(value)) => value,
                Ok(None) => "(not set)".to_owned(),
                Err(fault) => format!("({})", fault.problem),
            };
            (setting.name, value)
        };
        SETTINGS.iter().map(show).collect()
    }
}

/// The variable that names the TOML file.
pub(super) const CONFIG_FILE: &str = "HIDPS_CONFIG";

fn read_secret(setting: &Setting, path: &str) -> Result<String, Fault> {
    let text = std::fs::read_to_string(path).map_err(|error| Fault {
        name: format!("{}_FILE", setting.name),
        problem: format!("names {path}, which cannot be read: {error}"),
    })?;
    Ok(text.trim_end().to_owned())
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => None,
    }
}
