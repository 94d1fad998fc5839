//! The condition of a rule: `selection and not 1 of filter_*` to an expression.
//! It never evaluates; names are resolved to the numbers of selections.

use crate::fault::{Fault, Location};
use crate::selecting::expression::Expression;
use crate::values::pattern::{Pattern, SigmaString};

/// Longest condition: the longest of the community has 700 characters.
const MAX_CONDITION_CHARS: usize = 4096;

/// Deepest parentheses and negations, so that evaluation stays far from the stack's end.
const MAX_NESTING: usize = 32;

/// Parses a condition over selections with these names.
pub(crate) fn parse_condition(
    text: &str,
    at: Location,
    names: &[&str],
) -> Result<Expression, Fault> {
    if text.chars().count() > MAX_CONDITION_CHARS {
        return Err(Fault::new(
            at,
            format!("the condition has more than {MAX_CONDITION_CHARS} characters"),
            "use patterns such as '1 of selection_*'",
        ));
    }
    let tokens = split_tokens(text);
    let mut parser = ConditionParser {
        tokens: &tokens,
        next: 0,
        names,
        at,
        depth: 0,
    };
    let expression = parser.parse_or()?;
    match parser.peek() {
        None => Ok(expression),
        Some(word) => Err(parser.refuse_word(word)),
    }
}

/// The names in a condition, each at its first mention.
pub(crate) fn list_names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, word) in split_tokens(text) {
        let is_name = !matches!(word.as_str(), "and" | "or" | "not" | "(" | ")" | "|");
        if is_name && !names.contains(&word) {
            names.push(word);
        }
    }
    names
}

/// Cuts a text into words and signs, each with its offset in characters.
fn split_tokens(text: &str) -> Vec<(usize, String)> {
    let mut tokens: Vec<(usize, String)> = Vec::new();
    let mut in_word = false;
    for (offset, character) in text.chars().enumerate() {
        let is_word = !character.is_whitespace() && !matches!(character, '(' | ')' | '|');
        match tokens.last_mut() {
            Some((_, word)) if is_word && in_word => word.push(character),
            _ if !character.is_whitespace() => tokens.push((offset, character.into())),
            _ => {}
        }
        in_word = is_word;
    }
    tokens
}

/// Recursive descent: or < and < not < of < parentheses.
struct ConditionParser<'c> {
    tokens: &'c [(usize, String)],
    next: usize,
    names: &'c [&'c str],
    at: Location,
    depth: usize,
}

impl<'c> ConditionParser<'c> {
    /// Alternatives.
    fn parse_or(&mut self) -> Result<Expression, Fault> {
        let mut parts = vec![self.parse_and()?];
        while self.take("or") {
            parts.push(self.parse_and()?);
        }
        Ok(joined(parts, Expression::Any))
    }

    /// Parts that must all hold.
    fn parse_and(&mut self) -> Result<Expression, Fault> {
        let mut parts = vec![self.parse_not()?];
        while self.take("and") {
            parts.push(self.parse_not()?);
        }
        Ok(joined(parts, Expression::All))
    }

    /// A part or its opposite.
    fn parse_not(&mut self) -> Result<Expression, Fault> {
        if !self.take("not") {
            return self.parse_primary();
        }
        self.enter()?;
        let part = self.parse_not()?;
        self.depth -= 1;
        Ok(Expression::Not(Box::new(part)))
    }

    /// Parentheses, a quantifier or a name.
    fn parse_primary(&mut self) -> Result<Expression, Fault> {
        if self.take("(") {
            self.enter()?;
            let inner = self.parse_or()?;
            self.depth -= 1;
            if self.take(")") {
                return Ok(inner);
            }
            return Err(self.refuse("a parenthesis is not closed", "write ')'"));
        }
        let Some(word) = self.peek() else {
            return Err(self.refuse(
                "the condition ends where a selection is needed",
                "write the name of a selection",
            ));
        };
        if self.peek_behind() == Some("of") {
            return self.parse_quantifier(word);
        }
        if let Some(index) = self.names.iter().position(|name| *name == word) {
            self.next += 1;
            return Ok(Expression::Selection(index));
        }
        Err(self.refuse_word(word))
    }

    /// `1 of`, `any of` or `all of`, and what follows.
    fn parse_quantifier(&mut self, word: &str) -> Result<Expression, Fault> {
        let join: fn(Vec<Expression>) -> Expression = match word {
            "1" | "any" => Expression::Any,
            "all" => Expression::All,
            _ => {
                return Err(self.refuse(
                    &format!("'{word} of' is not a quantifier"),
                    "write '1 of', 'any of' or 'all of'",
                ));
            }
        };
        self.next += 2;
        let Some(pattern) = self.peek() else {
            return Err(self.refuse(
                "nothing follows 'of'",
                "write 'them' or a pattern such as 'selection_*'",
            ));
        };
        let parts = self.list_selections(pattern);
        if parts.is_empty() {
            return Err(self.refuse(
                &format!("no selection is meant by '{pattern}'"),
                "correct the pattern or add a selection",
            ));
        }
        self.next += 1;
        Ok(join(parts))
    }

    /// The selections a pattern means; names that begin with `_` are left out unless the pattern
    /// begins so too, because a pattern is `them` with a restriction.
    fn list_selections(&self, pattern: &str) -> Vec<Expression> {
        let glob = Pattern::compile(&SigmaString::with_runs(pattern));
        let is_hidden = |name: &str| name.starts_with('_') && !pattern.starts_with('_');
        let is_meant = |name: &str| !is_hidden(name) && (pattern == "them" || glob.matches(name));
        let named = self
            .names
            .iter()
            .enumerate()
            .filter(|(_, name)| is_meant(name));
        named
            .map(|(index, _)| Expression::Selection(index))
            .collect()
    }

    /// The next word.
    fn peek(&self) -> Option<&'c str> {
        self.tokens.get(self.next).map(|(_, word)| word.as_str())
    }

    /// The word behind the next.
    fn peek_behind(&self) -> Option<&'c str> {
        self.tokens
            .get(self.next + 1)
            .map(|(_, word)| word.as_str())
    }

    /// Takes the next word if it is this one.
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        self.next += usize::from(is_next);
        is_next
    }

    /// Goes one level deeper.
    fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth <= MAX_NESTING {
            return Ok(());
        }
        Err(self.refuse(
            &format!("the condition is nested deeper than {MAX_NESTING} levels"),
            "remove parentheses and double negations",
        ))
    }

    /// The refusal of a word that cannot stand here.
    fn refuse_word(&self, word: &str) -> Fault {
        let lower = word.to_ascii_lowercase();
        if word == "|" {
            return self.refuse_aggregation();
        }
        if lower != word && matches!(lower.as_str(), "and" | "or" | "not" | "of") {
            return self.refuse(
                &format!("'{word}' is in capitals"),
                &format!("write '{lower}'"),
            );
        }
        if self.names.contains(&word) || matches!(word, ")" | "(" | "and" | "or" | "not" | "of") {
            return self.refuse(
                &format!("'{word}' is not expected here"),
                "join selections with 'and' or 'or' and balance the parentheses",
            );
        }
        self.refuse(
            &format!("there is no selection '{word}'"),
            "write one of the selections under 'detection'",
        )
    }

    /// The refusal of an aggregation, with the correlation type that has taken its place.
    fn refuse_aggregation(&self) -> Fault {
        let behind = self.tokens.get(self.next + 1..).unwrap_or_default();
        let words: Vec<&str> = behind.iter().map(|(_, word)| word.as_str()).collect();
        let kind = match words.as_slice() {
            ["count", "(", ")", ..] => "event_count",
            ["count", "(", ..] => "value_count",
            ["sum", ..] => "value_sum",
            ["avg", ..] => "value_avg",
            ["near", ..] => "temporal",
            _ => "event_count, value_count or temporal",
        };
        self.refuse(
            "aggregations behind '|' are the old form of correlation",
            &format!("write a second document: a correlation of type {kind} that names this rule"),
        )
    }

    /// A refusal at the next word.
    fn refuse(&self, problem: &str, instead: &str) -> Fault {
        let offset = match self.tokens.get(self.next).or(self.tokens.last()) {
            Some((offset, _)) => *offset,
            None => 0,
        };
        Fault::new(
            Location {
                column: self.at.column + offset,
                ..self.at
            },
            problem,
            instead,
        )
    }
}

/// One part as it is, several joined.
fn joined(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}
