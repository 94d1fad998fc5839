//! What a rule says of itself: id, title, author, level, tags and our own `hidps` attribute.
//! It never decides what matches.

use crate::fault::{Fault, Location};
use crate::reading::own_attribute::read_own_attribute;
use crate::reading::yaml::{Kind, Node};

/// What a rule says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RuleInfo {
    /// Its id; where the file has none, its name or else its title.
    pub id: String,
    /// Its short name, by which correlations may refer to it.
    pub name: Option<String>,
    /// One line that says what was seen.
    pub title: String,
    /// What it means.
    pub description: Option<String>,
    /// Who wrote it; the community's licence wants it shown with every match.
    pub author: Option<String>,
    /// How bad a match is; medium where the file does not say.
    pub level: Level,
    /// How mature the rule is.
    pub status: Option<Status>,
    /// MITRE ATT&CK and other tags.
    pub tags: Vec<String>,
    /// Harmless causes of a match.
    pub falsepositives: Vec<String>,
    /// Where to read more.
    pub references: Vec<String>,
    /// The kind of alert a match becomes.
    pub alert_type: Option<String>,
    /// What to do now.
    pub advice: Option<String>,
    /// Whether an alert may quote the matched values; true unless the rule says otherwise.
    pub evidence: bool,
    /// Fields whose values tell one alert of this rule from another.
    pub group_by: Vec<String>,
    /// Whether its matches are only counted, while it is tried out.
    pub shadow: bool,
    /// How much a match says against a host, 0 to 100; by its level where the file does not say.
    pub risk: u8,
    /// The id of the rule that must match with the same group key before this one is raised again.
    pub rearm: Option<String>,
    /// Name of the file it came from.
    pub file: String,
}

impl RuleInfo {
    /// Whether this is its id or its name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.id == name || self.name.as_deref() == Some(name)
    }
}

/// How bad a match is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Worth knowing, never an alert by itself.
    Informational,
    /// Notable; rarely an incident.
    Low,
    /// Should be looked at.
    Medium,
    /// Needs a prompt look.
    High,
    /// Most likely an incident.
    Critical,
}

impl Level {
    /// Every level, the mildest first.
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];

    /// Sigma's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// How much a match of this level says against a host, where its rule does not say.
    #[must_use]
    pub const fn risk(self) -> u8 {
        match self {
            Self::Informational => 5,
            Self::Low => 20,
            Self::Medium => 50,
            Self::High => 70,
            Self::Critical => 90,
        }
    }
}

/// How mature a rule is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Status {
    /// Proven in production.
    Stable,
    /// Tried out, nearly ready.
    Test,
    /// New.
    Experimental,
    /// Replaced by another rule.
    Deprecated,
    /// Cannot be used as it is.
    Unsupported,
}

impl Status {
    /// Sigma's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Test => "test",
            Self::Experimental => "experimental",
            Self::Deprecated => "deprecated",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Reads what a document says of itself.
pub(crate) fn read_metadata(document: &Node, file: &str) -> Result<RuleInfo, Fault> {
    let Some(title) = read_text(document, "title")? else {
        return Err(Fault::new(
            document.at,
            "the rule has no title",
            "add 'title: …'",
        ));
    };
    let name = read_text(document, "name")?;
    let id = read_text(document, "id")?;
    let id = id.or_else(|| name.clone()).unwrap_or_else(|| title.clone());
    let mut info = RuleInfo {
        id,
        name,
        title,
        description: read_text(document, "description")?,
        author: read_text(document, "author")?,
        level: read_level(document)?,
        status: read_status(document)?,
        tags: read_texts(document, "tags")?,
        falsepositives: read_texts(document, "falsepositives")?,
        references: read_texts(document, "references")?,
        alert_type: None,
        advice: None,
        evidence: true,
        group_by: Vec::new(),
        shadow: false,
        risk: 0,
        rearm: None,
        file: file.to_owned(),
    };
    info.risk = info.level.risk();
    if let Some(own) = document.get("hidps") {
        read_own_attribute(own, &mut info)?;
    }
    Ok(info)
}

/// Reads `level`.
fn read_level(document: &Node) -> Result<Level, Fault> {
    let known = Level::ALL.map(|level| (level.as_str(), level));
    Ok(read_choice(document, "level", &known)?.unwrap_or(Level::Medium))
}

/// Reads `status`.
fn read_status(document: &Node) -> Result<Option<Status>, Fault> {
    let states = [
        Status::Stable,
        Status::Test,
        Status::Experimental,
        Status::Deprecated,
        Status::Unsupported,
    ];
    read_choice(
        document,
        "status",
        &states.map(|status| (status.as_str(), status)),
    )
}

/// Reads one of several words.
fn read_choice<T: Copy>(
    document: &Node,
    key: &str,
    known: &[(&str, T)],
) -> Result<Option<T>, Fault> {
    let Some(text) = read_text(document, key)? else {
        return Ok(None);
    };
    if let Some((_, choice)) = known.iter().find(|(name, _)| *name == text) {
        return Ok(Some(*choice));
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let at = document.get(key).map_or(document.at, |node| node.at);
    Err(Fault::new(
        at,
        format!("'{text}' is not a {key}"),
        format!("write one of {}", names.join(", ")),
    ))
}

/// Reads a text, if the key is there.
pub(crate) fn read_text(map: &Node, key: &str) -> Result<Option<String>, Fault> {
    let Some(node) = map.get(key) else {
        return Ok(None);
    };
    match &node.kind {
        Kind::Scalar { .. } => {
            let text = node.text().map(str::trim);
            text.map(|text| storable(text, key, node.at)).transpose()
        }
        Kind::List(_) | Kind::Map(_) => Err(Fault::new(
            node.at,
            format!("'{key}' is not a text"),
            "write a single text",
        )),
    }
}

/// A text as it is, unless whoever stores what a match says of its rule cannot hold it.
fn storable(text: &str, key: &str, at: Location) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new(
            at,
            format!("'{key}' has the character U+0000, which databases cannot hold"),
            "remove it",
        ));
    }
    Ok(text.to_owned())
}

/// Reads a list of texts; one text alone is a list of one.
pub(crate) fn read_texts(map: &Node, key: &str) -> Result<Vec<String>, Fault> {
    let node = map.get(key);
    node.map_or_else(|| Ok(Vec::new()), |node| read_text_list(node, key))
}

/// Reads the value of `key` as a list of texts; one text alone is a list of one.
pub(crate) fn read_text_list(node: &Node, key: &str) -> Result<Vec<String>, Fault> {
    let wrong = |at| {
        Fault::new(
            at,
            format!("'{key}' is not a list of texts"),
            "write '- text'",
        )
    };
    match &node.kind {
        Kind::Scalar { .. } => {
            let text = node.text().map(|text| storable(text, key, node.at));
            Ok(text.transpose()?.into_iter().collect())
        }
        Kind::List(items) => items
            .iter()
            .map(|item| {
                let text = item.text().ok_or_else(|| wrong(item.at))?;
                storable(text, key, item.at)
            })
            .collect(),
        Kind::Map(_) => Err(wrong(node.at)),
    }
}
