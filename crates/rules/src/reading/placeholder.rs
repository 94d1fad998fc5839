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
    let mut forms = vec![String::new()];
    let mut rest = text;
    let mut is_changed = false;
    while let Some((before, name, behind)) = split_placeholder(rest) {
        let values = fill(name).filter(|values| !values.is_empty());
        let values = values.ok_or_else(|| {
            Fault::new(
                node.at,
                format!("nothing is configured for the placeholder '%{name}%'"),
                "configure its values, or write them out",
            )
        })?;
        if forms.len().saturating_mul(values.len()) > MAX_VALUES {
            return Err(Fault::new(
                node.at,
                format!("placeholders make more than {MAX_VALUES} values here"),
                "use fewer placeholders in one value",
            ));
        }
        let values: Vec<String> = values
            .into_iter()
            .map(|value| if is_regex { as_regex(&value) } else { value })
            .collect();
        let joined = |form: &String| -> Vec<String> {
            let join = |value| format!("{form}{before}{value}");
            values.iter().map(join).collect()
        };
        forms = forms.iter().flat_map(joined).collect();
        rest = behind;
        is_changed = true;
    }
    forms.iter_mut().for_each(|form| form.push_str(rest));
    Ok(is_changed.then_some(forms))
}

/// The text before the first placeholder, its name, and the text behind it.
fn split_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let is_name = |name: &str| {
        let allowed = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
        !name.is_empty() && name.chars().all(allowed)
    };
    text.match_indices('%').find_map(|(start, _)| {
        let (before, rest) = text.split_at_checked(start)?;
        let (name, behind) = rest.strip_prefix('%')?.split_once('%')?;
        is_name(name).then_some((before, name, behind))
    })
}

/// A value as part of a regular expression, with `*` as anything.
fn as_regex(value: &str) -> String {
    match value {
        "*" => ".*".to_owned(),
        _ => regex::escape(value),
    }
}
