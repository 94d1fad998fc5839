//! What a host should be: the desired document as it travels, and the value it stands for.
//! Whole values only: there is no "add" and no "remove", and an absent entry means absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::collection::{Collection, CollectionEntry, RefusedSetting};
use crate::firewall::{FirewallPolicy, FirewallRuleEntry, FirewallSettingsEntry, RefusedRule};
use crate::limits::{MAX_PATH_BYTES, MAX_WATCHED_PATHS};
use crate::text::printable;

/// The desired state of one agent as the database composes it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredDocument {
    /// The firewall: on, off, or null for unmanaged.
    pub firewall_enabled: Option<bool>,
    /// The paths to watch, as people wrote them.
    #[serde(default, deserialize_with = "crate::bounded::entries")]
    pub monitored_files: Vec<String>,
    /// Those of them that are watched with everything below.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::entries"
    )]
    pub monitored_recursively: Vec<String>,
    /// What the firewall lets through while it is on; the first rule that matches decides.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::bounded::entries"
    )]
    pub firewall_rules: Vec<FirewallRuleEntry>,
    /// What becomes of packets no rule decides; none means the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall_settings: Option<FirewallSettingsEntry>,
    /// How often the host looks at itself and how much it sends; none means as it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<Box<CollectionEntry>>,
    /// The public key, in base64, that is not to be the agent's any more; an agent that has it takes
    /// another one, and every other agent is as desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_key: Option<String>,
}

impl DesiredDocument {
    /// How many things it desires: each monitored path, each firewall rule, the firewall's settings,
    /// those of collection, and the firewall unless it is unmanaged. A retired key is none of them,
    /// for nothing is taken away when it is not named any more.
    #[must_use]
    pub fn entries(&self) -> u32 {
        let count = self.monitored_files.len()
            + self.firewall_rules.len()
            + usize::from(self.firewall_settings.is_some())
            + usize::from(self.collection.is_some())
            + usize::from(self.firewall_enabled.is_some());
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// The paths to watch, each with how deep.
pub type WatchSet = BTreeMap<WatchPath, WatchDepth>;

/// How much of a watched directory is watched; of a file it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum WatchDepth {
    /// The directory and what is in it.
    #[default]
    Entries,
    /// The directory and everything below.
    Everything,
}

/// The desired state of one agent as a valid value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Desired {
    /// What the firewall should be.
    pub firewall: FirewallIntent,
    /// What it lets through while it is on.
    pub policy: FirewallPolicy,
    /// The paths to watch, each with how deep.
    pub watched: WatchSet,
    /// How often the host looks at itself, and how much it sends.
    pub collection: Collection,
}

impl Desired {
    /// Reads a document; what cannot be done is set apart, each with its reason.
    #[must_use]
    pub fn from_document(document: &DesiredDocument) -> (Self, Refused) {
        let (policy, rules) = FirewallPolicy::from_entries(
            &document.firewall_rules,
            document.firewall_settings.as_ref(),
        );
        let (collection, settings) = Collection::from_entry(document.collection.as_deref());
        let mut desired = Self {
            firewall: document.firewall_enabled.into(),
            policy,
            collection,
            ..Self::default()
        };
        let recursive: BTreeSet<_> = document.monitored_recursively.iter().collect();
        let mut refused = Vec::new();
        for path in &document.monitored_files {
            let depth = if recursive.contains(path) {
                WatchDepth::Everything
            } else {
                WatchDepth::Entries
            };
            let parsed = WatchPath::parse(path);
            match parsed {
                Ok(_) if desired.watched.len() >= MAX_WATCHED_PATHS => {
                    refused.push(RefusedPath::new(path, PathError::TooMany));
                }
                Ok(path) => {
                    // Two rows may name one directory, with a slash at its end and without.
                    let known = desired.watched.entry(path).or_default();
                    *known = depth.max(*known);
                }
                Err(error) => refused.push(RefusedPath::new(path, error)),
            }
        }
        let paths = refused;
        let refused = Refused {
            paths,
            rules,
            collection: settings,
        };
        (desired, refused)
    }
}

/// What of a document cannot be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// Paths that cannot be watched.
    pub paths: Vec<RefusedPath>,
    /// Rules that cannot be enforced.
    pub rules: Vec<RefusedRule>,
    /// Settings of collection that are out of their bounds.
    pub collection: Vec<RefusedSetting>,
}

/// What the firewall of a host should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FirewallIntent {
    /// Nobody has decided: the agent leaves the host's firewall alone.
    #[default]
    Unmanaged,
    /// It lets through what its policy says and nothing else.
    On,
    /// The agent filters nothing.
    Off,
}

impl From<Option<bool>> for FirewallIntent {
    fn from(column: Option<bool>) -> Self {
        match column {
            None => Self::Unmanaged,
            Some(true) => Self::On,
            Some(false) => Self::Off,
        }
    }
}

/// An absolute path without `.`, `..` or empty components, safe to watch as it stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatchPath(String);

impl WatchPath {
    /// Checks a path.
    ///
    /// # Errors
    /// Says which rule the path breaks; nothing is repaired silently.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if path.contains('\0') {
            return Err(PathError::Nul);
        }
        let Some(rest) = path.strip_prefix('/') else {
            return Err(PathError::NotAbsolute);
        };
        if rest.is_empty() {
            return Err(PathError::Root);
        }
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if rest
            .strip_suffix('/')
            .unwrap_or(rest)
            .split('/')
            .all(is_plain)
        {
            Ok(Self(path.trim_end_matches('/').to_owned()))
        } else {
            Err(PathError::NotNormal)
        }
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WatchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a path cannot be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("is not absolute; it must begin with /")]
    NotAbsolute,
    /// It is `/` itself.
    #[error("is the root directory; name a file or directory below it")]
    Root,
    /// It has a `.`, `..` or empty component.
    #[error("has a component that is empty, . or ..; write the path without them")]
    NotNormal,
    /// It contains a NUL byte.
    #[error("contains a NUL byte")]
    Nul,
    /// It is longer than [`MAX_PATH_BYTES`].
    #[error("is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// The agent already watches [`MAX_WATCHED_PATHS`] paths.
    #[error("is beyond the first {MAX_WATCHED_PATHS} paths of this agent")]
    TooMany,
}

/// A path of a document that cannot be watched, cut to a printable length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedPath {
    /// The path, its control characters replaced, at most 128 characters.
    pub path: String,
    /// What is wrong with it.
    pub error: PathError,
}

impl RefusedPath {
    fn new(path: &str, error: PathError) -> Self {
        let path = printable(path, 128);
        Self { path, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_recursive_if_any_row_of_it_is() {
        let document = DesiredDocument {
            monitored_files: vec!["/a/".to_owned(), "/a".to_owned(), "/b".to_owned()],
            // What is not among the paths is not watched for being here.
            monitored_recursively: vec!["/a/".to_owned(), "/c".to_owned()],
            ..DesiredDocument::default()
        };

        let (desired, _) = Desired::from_document(&document);

        let depths: Vec<_> = desired
            .watched
            .iter()
            .map(|(path, depth)| (path.as_str(), *depth))
            .collect();
        let expected = [("/a", WatchDepth::Everything), ("/b", WatchDepth::Entries)];
        assert_eq!(depths, expected);
    }
}
