//! Placeholders in values: `%name%` to the configured values.
//! It never leaves one in place: what stands for nothing is refused.

use std::borrow::Cow;

use crate::fault::Fault;
use crate::pipeline::run::{Alternative, Pipes};
use crate::reading::yaml::{Kind, Node};
use crate::values::modifier::{Modifiers, Test};

/// Most values that one line may become; each is a pattern to hold and to try.
const MAX_VALUES: usize = 10_000;

/// The values of a line with every placeholder replaced, in every combination.
pub(crate) fn expand_values<'n>(
    values: &[&'n Node],
    modifiers: &Modifiers,
    pipes: &Pipes,
    line: &Alternative,
) -> Result<Vec<Cow<'n, Node>>, Fault> {
    let mut expanded = Vec::new();
    for value in values {
        let texts = match &value.kind {
            Kind::Scalar { text, .. } if modifiers.expanded => {
                let is_regex = matches!(modifiers.test, Test::Regex(_));
                expand_text(text, is_regex, value, &|name| pipes.fill(name, line))?
            }
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => None,
        };
        match texts {
            None => expanded.push(Cow::Borrowed(*value)),
            Some(texts) => expanded.extend(texts.into_iter().map(|text| {
                let plain = !matches!(modifiers.test, Test::Value | Test::Regex(_));
                let kind = Kind::Scalar { text, plain };
                Cow::Owned(Node { at: value.at, kind })
            })),
        }
        if expanded.len() > MAX_VALUES {
            return Err(Fault::new(
                value.at,
                format!("placeholders make more than {MAX_VALUES} values here"),
                "use fewer placeholders in one value",
            ));
        }
    }
    Ok(expanded)
}

/// Every form of a text, or nothing when it holds no placeholder.
fn expand_text(
    text: &str,
    is_regex: bool,
    node: &Node,
    fill: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Result<Option<Vec<String>>, Fault> {
    let pieces = cut_pieces(text);
    if let [] | [Piece::Text(_)] = pieces.as_slice() {
        return Ok(None);
    }
    let mut forms = vec![String::new()];
    for piece in pieces {
        let values = match piece {
            Piece::Text(text) => vec![text.to_owned()],
            Piece::Name(name) => fill_one(name, is_regex, node, fill)?,
        };
        if forms.len().saturating_mul(values.len()) > MAX_VALUES {
            return Err(Fault::new(
                node.at,
                format!("placeholders make more than {MAX_VALUES} values here"),
                "use fewer placeholders in one value",
            ));
        }
        let joined = |form: &String| -> Vec<String> {
            let join = |value| format!("{form}{value}");
            values.iter().map(join).collect()
        };
        forms = forms.iter().flat_map(joined).collect();
    }
    Ok(Some(forms))
}

/// What a placeholder stands for.
fn fill_one(
    name: &str,
    is_regex: bool,
    node: &Node,
    fill: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Result<Vec<String>, Fault> {
    let values = fill(name).filter(|values| !values.is_empty());
    let values = values.ok_or_else(|| {
        Fault::new(
            node.at,
            format!("nothing is configured for the placeholder '%{name}%'"),
            "configure its values, write them out, or write '\\%' for the sign",
        )
    })?;
    let write = |value: String| if is_regex { as_regex(&value) } else { value };
    Ok(values.into_iter().map(write).collect())
}

/// A part of a value.
#[derive(Debug)]
enum Piece<'t> {
    /// Text as it is.
    Text(&'t str),
    /// The name of a placeholder.
    Name(&'t str),
}

/// Cuts a value at its placeholders, and at the backslash of every `\\%`, which it leaves out.
fn cut_pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut read = 0;
    while let Some(sign) = rest.get(read..).and_then(|tail| tail.find(['\\', '%'])) {
        let Some((before, tail)) = rest.split_at_checked(read + sign) else {
            break;
        };
        if let Some((name, behind)) = read_name(tail) {
            pieces.extend([Piece::Text(before), Piece::Name(name)]);
            (rest, read) = (behind, 0);
        } else if tail.starts_with("\\%") {
            pieces.push(Piece::Text(before));
            (rest, read) = (tail.trim_start_matches('\\'), 1);
        } else {
            let is_escaped = tail.starts_with("\\\\");
            read += sign + 1 + usize::from(is_escaped);
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// The name of the placeholder that a text begins with, and the text behind it.
fn read_name(text: &str) -> Option<(&str, &str)> {
    let allowed = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    let (name, behind) = text.strip_prefix('%')?.split_once('%')?;
    (!name.is_empty() && name.chars().all(allowed)).then_some((name, behind))
}

/// A value as part of a regular expression, with `*` as anything.
fn as_regex(value: &str) -> String {
    match value {
        "*" => ".*".to_owned(),
        _ => regex::escape(value),
    }
}
