//! What lint has to say about the attributes of a document.
//! It never looks at what the document detects.

use crate::lint::Notes;
use crate::reading::yaml::Node;

/// Attributes that people need who read an alert, and why.
const RECOMMENDED: [(&str, &str); 6] = [
    (
        "id",
        "write a new UUID, which tells this rule from all others",
    ),
    ("status", "write experimental, test or stable"),
    ("description", "say what a match means"),
    ("author", "say whom to ask"),
    ("date", "write the day as 2026-11-21"),
    (
        "level",
        "write informational, low, medium, high or critical",
    ),
];

/// Longest title that fits into one line of an alert.
const MAX_TITLE_CHARS: usize = 256;

/// Looks at the attributes of a document.
pub(crate) fn lint_attributes(document: &Node, notes: &mut Notes) {
    let is_filter = document.get("filter").is_some();
    for (key, instead) in RECOMMENDED {
        let is_wanted = !(is_filter && matches!(key, "status" | "level" | "author" | "date"));
        if is_wanted && document.get(key).and_then(Node::text).is_none() {
            notes.advise(document, format!("there is no '{key}'"), instead);
        }
    }
    if let Some(id) = document.get("id")
        && !id.text().is_some_and(is_uuid)
    {
        notes.advise(id, "the id is not a UUID", "write a new UUID of version 4");
    }
    for key in ["date", "modified"] {
        if let Some(date) = document.get(key)
            && !date.text().is_some_and(is_date)
        {
            notes.advise(
                date,
                format!("'{key}' is not a date"),
                "write it as 2026-11-21",
            );
        }
    }
    lint_words(document, notes);
}

/// Looks at title, status and tags.
fn lint_words(document: &Node, notes: &mut Notes) {
    if let Some(title) = document.get("title")
        && title
            .text()
            .is_some_and(|text| text.chars().count() > MAX_TITLE_CHARS)
    {
        notes.warn(
            title,
            format!("the title has more than {MAX_TITLE_CHARS} characters"),
            "move the details into 'description'",
        );
    }
    if let Some(status) = document.get("status")
        && matches!(status.text(), Some("deprecated" | "unsupported"))
    {
        notes.warn(
            status,
            "the rule is loaded although its status says that it should not be",
            "remove the file, or correct the status",
        );
    }
    if let Some(crate::reading::yaml::Kind::List(tags)) =
        document.get("tags").map(|tags| &tags.kind)
    {
        for tag in tags {
            let is_spaced = |text: &str| {
                text.split_once('.')
                    .is_some_and(|(space, _)| !space.is_empty())
            };
            if !tag.text().is_some_and(is_spaced) {
                notes.advise(
                    tag,
                    "a tag has no namespace",
                    "write one such as attack.t1110",
                );
            }
        }
    }
}

/// Whether a text is a UUID.
fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str| part.chars().all(|digit| digit.is_ascii_hexdigit());
    parts.len() == lengths.len()
        && parts
            .iter()
            .zip(lengths)
            .all(|(part, length)| part.len() == length && is_hex(part))
}

/// Whether a text is a day.
fn is_date(text: &str) -> bool {
    crate::values::time_part::TimePart::Day.of(text).is_some() && text.len() == "2026-11-21".len()
}
