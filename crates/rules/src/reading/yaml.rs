//! YAML text to a tree of located nodes, within limits that hostile text cannot pass.
//! It never resolves types beyond plain or quoted; readers decide what a scalar means.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use crate::fault::{Fault, Location};

/// Largest file: the longest community rule is 30 kB, a multi-document file holds a few.
pub(crate) const MAX_FILE_BYTES: usize = 256 * 1024;

/// Deepest nesting: Sigma needs 5 levels; recursion over the tree stays far from the stack's end.
pub(crate) const MAX_DEPTH: usize = 16;

/// Most nodes of one file, copies made by aliases included: ten times the largest community rule.
pub(crate) const MAX_NODES: usize = 20_000;

/// Most keys of one map, so that the search for a duplicate stays cheap.
const MAX_KEYS: usize = 500;

/// One value of a document and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where its first character is.
    pub(crate) at: Location,
    /// What it is.
    pub(crate) kind: Kind,
}

/// The three shapes of YAML.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A single value.
    Scalar {
        /// Its text after unquoting.
        text: String,
        /// Whether it was written without quotes, so that `5` may be a number.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written, keys unique.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where the key stands.
    pub(crate) at: Location,
    /// The key.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: Node,
}

impl Node {
    /// The value under `key`, when this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The entries, when this is a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }

    /// The text, when this is a single value that is not null.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } if !self.is_null() => Some(text),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Whether this is YAML's null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(
            &self.kind,
            Kind::Scalar { text, plain: true }
                if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
        )
    }

    /// How many nodes a copy of this one makes.
    fn size(&self) -> usize {
        match &self.kind {
            Kind::Scalar { .. } => 1,
            Kind::List(items) => items.iter().fold(1, |sum, item| sum + item.size()),
            Kind::Map(entries) => entries
                .iter()
                .fold(1, |sum, entry| sum + entry.value.size()),
        }
    }

    /// How many collections lie inside one another here.
    fn depth(&self) -> usize {
        let deepest = match &self.kind {
            Kind::Scalar { .. } => return 0,
            Kind::List(items) => items.iter().map(Self::depth).max(),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max(),
        };
        1 + deepest.unwrap_or(0)
    }

    /// Appends a spelling that is equal for documents that differ only in layout and comments.
    pub(crate) fn write_canonical(&self, out: &mut String) {
        match &self.kind {
            Kind::Scalar { text, plain } => {
                out.push(if *plain { 'p' } else { 'q' });
                write_counted(text, out);
            }
            Kind::List(items) => {
                out.push('[');
                items.iter().for_each(|item| item.write_canonical(out));
                out.push(']');
            }
            Kind::Map(entries) => {
                out.push('{');
                for entry in entries {
                    write_counted(&entry.key, out);
                    entry.value.write_canonical(out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends a text behind its length, so that no two sequences of texts look alike.
fn write_counted(text: &str, out: &mut String) {
    out.push_str(&text.len().to_string());
    out.push(':');
    out.push_str(text);
}

/// The documents of a text, empty ones left out.
pub(crate) fn parse_documents(text: &str) -> Result<Vec<Node>, Fault> {
    if text.len() > MAX_FILE_BYTES {
        return Err(Fault::new(
            Location::START,
            format!(
                "the file has {} bytes, more than {MAX_FILE_BYTES}",
                text.len()
            ),
            "split it into several files",
        ));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            Fault::new(
                locate(error.marker()),
                format!("this is not YAML: {}", error.info()),
                "correct the indentation, quotes or brackets at this place",
            )
        })?;
        builder.on_event(event, span)?;
    }
    Ok(builder.documents)
}

/// A collection whose end has not been read yet.
struct Open {
    anchor: usize,
    node: Node,
    key: Option<(Location, String)>,
}

/// Builds documents from the parser's events.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    n_nodes: usize,
}

impl Builder {
    /// Takes one event of the parser.
    fn on_event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = locate(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = is_plain(at, style, tag.as_deref())?;
                let node = Node {
                    at,
                    kind: Kind::Scalar {
                        text: text.into_owned(),
                        plain,
                    },
                };
                self.close(node, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(at, anchor, Kind::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(at, anchor, Kind::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => self.copy(at, anchor),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    /// Begins a collection.
    fn open(&mut self, at: Location, anchor: usize, kind: Kind) -> Result<(), Fault> {
        self.check_depth(at, 1)?;
        self.open.push(Open {
            anchor,
            node: Node { at, kind },
            key: None,
        });
        Ok(())
    }

    /// Refuses `more` levels below the current one when that is too deep.
    fn check_depth(&self, at: Location, more: usize) -> Result<(), Fault> {
        if self.open.len() + more <= MAX_DEPTH {
            return Ok(());
        }
        Err(Fault::new(
            at,
            format!("values are nested deeper than {MAX_DEPTH} levels"),
            "flatten them",
        ))
    }

    /// Puts a copy of an anchored value where its alias stands.
    fn copy(&mut self, at: Location, anchor: usize) -> Result<(), Fault> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Fault::new(
                at,
                "an alias inside the very value it names has no end",
                "write the value out",
            ));
        };
        let (size, depth) = (node.size(), node.depth());
        self.n_nodes += size;
        self.check_size(at)?;
        self.check_depth(at, depth)?;
        let kind = self.anchors.get(&anchor).map(|node| node.kind.clone());
        kind.map_or(Ok(()), |kind| self.close(Node { at, kind }, 0))
    }

    /// Puts a complete value into the collection or document it belongs to.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.n_nodes += 1;
        self.check_size(node.at)?;
        if anchor != 0 {
            self.n_nodes += node.size();
            self.check_size(node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(parent) => parent.put(node),
            None => {
                if !node.is_null() {
                    self.documents.push(node);
                }
                Ok(())
            }
        }
    }

    /// Refuses more nodes than any rule file needs.
    fn check_size(&self, at: Location) -> Result<(), Fault> {
        if self.n_nodes <= MAX_NODES {
            return Ok(());
        }
        Err(Fault::new(
            at,
            format!("the file holds more than {MAX_NODES} values, aliases counted"),
            "split it into several files and write aliases out",
        ))
    }
}

impl Open {
    /// Adds a child: a list's next item, a map's key, or the value of the key before it.
    fn put(&mut self, child: Node) -> Result<(), Fault> {
        match (&mut self.node.kind, self.key.take()) {
            (Kind::List(items), _) => items.push(child),
            (Kind::Map(entries), Some((at, key))) => {
                entries.push(Entry {
                    at,
                    key,
                    value: child,
                });
            }
            (Kind::Map(entries), None) => {
                let key = key_text(&child)?;
                if entries.iter().any(|entry| entry.key == key) {
                    return Err(Fault::new(
                        child.at,
                        format!("the key '{key}' is written twice in one map"),
                        "use a list of values, or a second selection",
                    ));
                }
                if entries.len() >= MAX_KEYS {
                    return Err(Fault::new(
                        child.at,
                        format!("a map has more than {MAX_KEYS} keys"),
                        "split it into several rules",
                    ));
                }
                self.key = Some((child.at, key));
            }
            (Kind::Scalar { .. }, _) => {}
        }
        Ok(())
    }
}

/// The text of a mapping's key.
fn key_text(node: &Node) -> Result<String, Fault> {
    match &node.kind {
        Kind::Scalar { text, .. } => Ok(text.clone()),
        Kind::List(_) | Kind::Map(_) => Err(Fault::new(
            node.at,
            "a key is a list or a map",
            "write a single name as the key",
        )),
    }
}

/// Whether a scalar may be read as a number, boolean or null.
fn is_plain(at: Location, style: ScalarStyle, tag: Option<&Tag>) -> Result<bool, Fault> {
    match tag {
        None => Ok(style == ScalarStyle::Plain),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(false),
        Some(_) => Err(Fault::new(
            at,
            "YAML tags other than '!!str' are not read",
            "remove the tag",
        )),
    }
}

/// The parser's position, counted from one.
fn locate(marker: &Marker) -> Location {
    Location {
        line: marker.line(),
        column: marker.col() + 1,
    }
}
