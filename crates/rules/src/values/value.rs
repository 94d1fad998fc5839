//! One value of a selection to a matcher: text, number, boolean, null and what modifiers make of it.
//! It never accepts a value that two YAML readers would understand differently.

use crate::fault::Fault;
use crate::reading::compilation::Compilation;
use crate::reading::yaml::{Kind, Node};
use crate::values::encoding::EncodingFault;
use crate::values::matcher::{Matcher, Place};
use crate::values::modifier::{Modifiers, RegexFlags, Test};
use crate::values::network::Network;
use crate::values::number::Number;
use crate::values::pattern::{Pattern, SigmaString};
use crate::values::regular::Regular;

/// What a scalar is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Scalar<'n> {
    /// Nothing.
    Null,
    /// A truth value.
    Flag(bool),
    /// A number and how it was written.
    Number(Number, &'n str),
    /// Text.
    Text(&'n str),
}

/// What a node is, when it is a single value.
pub(crate) fn read_scalar(node: &Node) -> Result<Scalar<'_>, Fault> {
    let (text, plain) = match &node.kind {
        Kind::Scalar { text, plain } => (text.as_str(), *plain),
        Kind::List(_) | Kind::Map(_) => {
            return Err(Fault::new(
                node.at,
                "a single value is needed here, not a list or a map",
                "write a text, a number, true, false or null",
            ));
        }
    };
    if !plain {
        return Ok(Scalar::Text(text));
    }
    if node.is_null() {
        return Ok(Scalar::Null);
    }
    if is_ambiguous(text) {
        return Err(Fault::new(
            node.at,
            format!("YAML readers disagree whether {text} is a word, a boolean or a number"),
            format!("write '{text}' in quotes, or true, false or a decimal number"),
        ));
    }
    Ok(match text {
        "true" | "True" | "TRUE" => Scalar::Flag(true),
        "false" | "False" | "FALSE" => Scalar::Flag(false),
        _ => Number::parse(text).map_or(Scalar::Text(text), |number| Scalar::Number(number, text)),
    })
}

/// Whether YAML 1.1 and 1.2 read an unquoted text differently.
fn is_ambiguous(text: &str) -> bool {
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "yes" | "no" | "on" | "off"
    );
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let prefixed = digits.len() > 1
        && digits.starts_with('0')
        && digits
            .chars()
            .all(|digit| digit.is_ascii_hexdigit() || matches!(digit, 'x' | 'o' | '_'))
        && digits
            .chars()
            .nth(1)
            .is_some_and(|second| second.is_ascii_digit() || "xo".contains(second));
    word || prefixed
}

/// Compiles one value of a field, or of the keywords when `keyword`.
pub(crate) fn compile_value(
    node: &Node,
    modifiers: &Modifiers,
    keyword: bool,
    compilation: &mut Compilation,
) -> Result<Matcher, Fault> {
    let scalar = read_scalar(node)?;
    match modifiers.test {
        Test::Value if keyword => compile_keyword(node, &scalar, modifiers),
        Test::Value => compile_plain(node, &scalar, modifiers),
        Test::Regex(flags) => {
            compilation.count_regex(node.at)?;
            compile_regex(node, &scalar, flags, compilation)
        }
        Test::Network => compile_network(node, &scalar),
        Test::Exists => read_flag(node).map(Matcher::Exists),
        Test::Compare(relation, part) => match scalar {
            Scalar::Number(number, _) => Ok(match part {
                None => Matcher::Compare(relation, number),
                Some(part) => Matcher::Part(part, relation, number),
            }),
            Scalar::Null | Scalar::Flag(_) | Scalar::Text(_) => Err(Fault::new(
                node.at,
                "a comparison takes a number",
                "write a decimal number without quotes",
            )),
        },
        Test::FieldRef => match node.text().filter(|name| !name.is_empty()) {
            Some(name) => {
                let names = compilation.pipes.rename(name, node.at)?;
                let refer =
                    |name: &String| Matcher::FieldRef(compilation.slot(name), modifiers.place);
                Ok(one_of(names.iter().map(refer).collect()))
            }
            None => Err(Fault::new(
                node.at,
                "'fieldref' takes a field name",
                "write a field name",
            )),
        },
    }
}

/// Reads a truth value.
pub(crate) fn read_flag(node: &Node) -> Result<bool, Fault> {
    match read_scalar(node)? {
        Scalar::Flag(flag) => Ok(flag),
        Scalar::Null | Scalar::Number(..) | Scalar::Text(_) => Err(Fault::new(
            node.at,
            "true or false is needed here",
            "write true or false",
        )),
    }
}

/// Compiles a value without a modifier that says what it is.
fn compile_plain(
    node: &Node,
    scalar: &Scalar<'_>,
    modifiers: &Modifiers,
) -> Result<Matcher, Fault> {
    let text = match scalar {
        Scalar::Text(text) => *text,
        Scalar::Null | Scalar::Flag(_) | Scalar::Number(..)
            if modifiers.place != Place::Whole
                || modifiers.cased
                || !modifiers.encodings.is_empty() =>
        {
            return Err(Fault::new(
                node.at,
                "a text modifier stands before a value that is not text",
                "write the value in quotes",
            ));
        }
        Scalar::Null => return Ok(Matcher::Null),
        Scalar::Flag(flag) => return Ok(Matcher::Flag(*flag)),
        Scalar::Number(number, written) => {
            return Ok(Matcher::Number(*number, (*written).to_owned()));
        }
    };
    if text.is_empty() && modifiers.place != Place::Whole {
        return Err(Fault::new(
            node.at,
            "an empty text is part of every text",
            "write what to look for, or 'exists: true'",
        ));
    }
    compile_spellings(node, SigmaString::parse(text), modifiers.place, modifiers)
}

/// Compiles a keyword, which may stand anywhere in a text.
fn compile_keyword(
    node: &Node,
    scalar: &Scalar<'_>,
    modifiers: &Modifiers,
) -> Result<Matcher, Fault> {
    let string = match scalar {
        Scalar::Text(text) => SigmaString::parse(text),
        Scalar::Number(_, written) => SigmaString::literal(written),
        Scalar::Null | Scalar::Flag(_) => {
            return Err(Fault::new(
                node.at,
                "a keyword is a text",
                "write it in quotes",
            ));
        }
    };
    if string.is_empty() {
        return Err(Fault::new(
            node.at,
            "an empty keyword is part of every text",
            "write what to look for",
        ));
    }
    compile_spellings(node, string, Place::Anywhere, modifiers)
}

/// Compiles every spelling of a value.
fn compile_spellings(
    node: &Node,
    string: SigmaString,
    place: Place,
    modifiers: &Modifiers,
) -> Result<Matcher, Fault> {
    let mut spellings = vec![string];
    for (number, encoding) in modifiers.encodings.iter().enumerate() {
        let before = modifiers.encodings.get(..number).unwrap_or_default();
        let mut encoded = Vec::new();
        for spelling in spellings {
            let more = encoding
                .apply(spelling, before)
                .map_err(|fault| refuse_encoding(node, fault))?;
            encoded.extend(more);
        }
        spellings = encoded;
    }
    let matchers = spellings
        .into_iter()
        .map(|spelling| compile_text(spelling, place, modifiers.cased))
        .collect();
    Ok(one_of(matchers))
}

/// One matcher as it is, several as alternatives.
fn one_of(mut matchers: Vec<Matcher>) -> Matcher {
    match matchers.pop() {
        Some(only) if matchers.is_empty() => only,
        last => {
            matchers.extend(last);
            Matcher::AnyOf(matchers)
        }
    }
}

/// The refusal of a value that has no encoded form.
fn refuse_encoding(node: &Node, fault: EncodingFault) -> Fault {
    let (problem, instead) = match fault {
        EncodingFault::Wildcards => (
            "a value with wildcards has no encoded form",
            "write '\\*' and '\\?' for the characters",
        ),
        EncodingFault::NotAscii => (
            "only ASCII has a wide form that is text",
            "write the value in ASCII",
        ),
        EncodingFault::Dashes => (
            "'windash' spells out at most three dashes",
            "split the value into several",
        ),
    };
    Fault::new(node.at, problem, instead)
}

/// Puts a string at its place and folds it unless case matters.
fn compile_text(string: SigmaString, place: Place, cased: bool) -> Matcher {
    let string = match place {
        Place::Whole => string,
        Place::Start => string.before_anything(),
        Place::End => string.after_anything(),
        Place::Anywhere => string.after_anything().before_anything(),
    };
    if cased {
        Matcher::CasedText(Pattern::compile(&string))
    } else {
        Matcher::Text(Pattern::compile(&string.folded()))
    }
}

/// Compiles a regular expression that runs in linear time.
fn compile_regex(
    node: &Node,
    scalar: &Scalar<'_>,
    flags: RegexFlags,
    compilation: &Compilation,
) -> Result<Matcher, Fault> {
    let source = match scalar {
        Scalar::Text(text) | Scalar::Number(_, text) => *text,
        Scalar::Null | Scalar::Flag(_) => "",
    };
    if source.is_empty() {
        return Err(Fault::new(
            node.at,
            "'re' takes a regular expression",
            "write it in single quotes",
        ));
    }
    Regular::compile(source, flags, &compilation.file, node.at).map(Matcher::Regex)
}

/// Compiles a network.
fn compile_network(node: &Node, scalar: &Scalar<'_>) -> Result<Matcher, Fault> {
    let network = match scalar {
        Scalar::Text(text) => Network::parse(text),
        Scalar::Null | Scalar::Flag(_) | Scalar::Number(..) => None,
    };
    network.map(Matcher::Network).ok_or_else(|| {
        Fault::new(
            node.at,
            "this is not a network",
            "write it as 192.0.2.0/24 or 2001:db8::/32",
        )
    })
}
