//! A rule over single events: its log source, its selections and what joins them.
//! It never looks at what a rule says of itself.

use crate::fault::Fault;
use crate::pipeline::run::{Added, RuleFacts};
use crate::reading::compilation::Compilation;
use crate::reading::metadata::read_texts;
use crate::reading::yaml::{Kind, Node};
use crate::search::routing::WantedSource;
use crate::selecting::condition::parse_condition;
use crate::selecting::expression::{Expression, Item};
use crate::selecting::selection::compile_selection;

/// Most parts of a condition once its patterns stand for all that they mean: '1 of them' may be five
/// hundred, and a condition or a list of them may say it as often.
const MAX_CONDITION_PARTS: usize = 10_000;

/// Characters of a written condition that weigh as much as one value.
const WRITTEN_PER_PART: usize = 32;

/// A rule over single events.
#[derive(Clone, Debug)]
pub(crate) struct Detection {
    /// The events it applies to.
    pub(crate) source: WantedSource,
    /// Its selections, in the order written.
    pub(crate) selections: Vec<Expression>,
    /// What joins them.
    pub(crate) condition: Expression,
    /// The names of its selections, for explanations.
    pub(crate) names: Vec<String>,
    /// The condition as written, for explanations.
    pub(crate) written: String,
}

impl Detection {
    /// Compiles the `logsource` and `detection` of a document.
    pub(crate) fn compile(document: &Node, compilation: &mut Compilation) -> Result<Self, Fault> {
        let Some(detection) = document.get("detection") else {
            return Err(Fault::new(
                document.at,
                "the rule has none of 'detection', 'correlation' and 'filter'",
                "add 'detection:' with a selection and a condition",
            ));
        };
        let source = WantedSource::read(document)?;
        let tags = read_texts(document, "tags")?;
        let change = compilation.pipes.begin_rule(RuleFacts {
            at: document.at,
            tags: &tags,
            source: Some(&source),
            members: &[],
        })?;
        let source = change.source.unwrap_or(source);
        let mut compiled = Self::read(source, detection, &["condition"], compilation)?;
        for added in &change.added {
            compilation.pipes.skip(added.n_over);
            compiled.add(added, compilation)?;
        }
        Ok(compiled)
    }

    /// Adds the selection of a pipeline.
    fn add(&mut self, added: &Added, compilation: &mut Compilation) -> Result<(), Fault> {
        let Some(selection) = compile_selection(&added.selection, compilation)? else {
            return Ok(());
        };
        let joined = |part: Expression| match added.negated {
            true => Expression::Not(Box::new(part)),
            false => part,
        };
        let name = format!("_pipeline_{}", self.selections.len());
        self.narrow(&Self {
            source: self.source.clone(),
            selections: vec![selection],
            condition: joined(Expression::Selection(0)),
            written: format!("{}{name}", if added.negated { "not " } else { "" }),
            names: vec![name],
        });
        Ok(())
    }

    /// Compiles selections and their condition; `others` are the keys that are no selections.
    pub(crate) fn read(
        source: WantedSource,
        detection: &Node,
        others: &[&str],
        compilation: &mut Compilation,
    ) -> Result<Self, Fault> {
        let (names, selections) = compile_selections(detection, others, compilation)?;
        let condition = compile_condition(detection, &names)?;
        let gone: Vec<usize> = selections
            .iter()
            .enumerate()
            .filter(|(_, selection)| selection.is_none())
            .map(|(index, _)| index)
            .collect();
        let condition = condition.without(&gone).ok_or_else(|| {
            Fault::new(
                detection.at,
                "pipelines drop everything that this rule asks for",
                "give the step that drops it conditions of its own",
            )
        })?;
        let nothing = || Expression::Any(Vec::new());
        Ok(Self {
            source,
            selections: selections
                .into_iter()
                .map(|selection| selection.unwrap_or_else(nothing))
                .collect(),
            condition,
            names: names.into_iter().map(str::to_owned).collect(),
            written: write_condition(detection),
        })
    }

    /// Makes it hold only where another one holds too.
    pub(crate) fn narrow(&mut self, other: &Self) {
        let offset = self.selections.len();
        let own = std::mem::replace(&mut self.condition, Expression::All(Vec::new()));
        self.condition = Expression::All(vec![own, other.condition.renumbered(offset)]);
        self.selections.extend(other.selections.iter().cloned());
        self.names.extend(other.names.iter().cloned());
        self.written = format!("({}) and ({})", self.written, other.written);
    }

    /// How much it holds: values, parts of its condition, and the condition as written.
    pub(crate) fn size(&self) -> usize {
        let selections = self.selections.iter().map(Expression::size);
        self.condition.size() + selections.sum::<usize>() + self.written.len() / WRITTEN_PER_PART
    }

    /// Hands every line of the selections that its condition asks for to `visit`.
    pub(crate) fn visit_items<'d>(&'d self, visit: &mut dyn FnMut(&'d Item)) {
        let mut asked = Vec::new();
        self.condition.list_selections(&mut asked);
        for selection in asked.iter().filter_map(|index| self.selections.get(*index)) {
            selection.visit_items(visit);
        }
    }

    /// Whether it searches the whole event.
    pub(crate) fn has_keywords(&self) -> bool {
        self.selections.iter().any(Expression::has_keywords)
    }
}

/// Compiles everything under `detection` but the condition.
fn compile_selections<'n>(
    detection: &'n Node,
    others: &[&str],
    compilation: &mut Compilation,
) -> Result<(Vec<&'n str>, Vec<Option<Expression>>), Fault> {
    let Some(entries) = detection.entries() else {
        return Err(Fault::new(
            detection.at,
            "selections and a condition are needed here, by name",
            "write selections by name and a condition",
        ));
    };
    let mut names = Vec::new();
    let mut selections = Vec::new();
    for entry in entries
        .iter()
        .filter(|entry| !others.contains(&entry.key.as_str()))
    {
        if entry.key == "timeframe" {
            return Err(Fault::new(
                entry.at,
                "'timeframe' belongs to the old form of correlation",
                "write a correlation rule with 'timespan'",
            ));
        }
        names.push(entry.key.as_str());
        selections.push(compile_selection(&entry.value, compilation)?);
    }
    Ok((names, selections))
}

/// Compiles the condition; a list of conditions holds when one of them does.
fn compile_condition(detection: &Node, names: &[&str]) -> Result<Expression, Fault> {
    let missing = |at| Fault::new(at, "there is no condition", "add 'condition: selection'");
    let condition = detection
        .get("condition")
        .ok_or_else(|| missing(detection.at))?;
    let mut n_parts = 0;
    let mut parse = |node: &Node| {
        let text = node.text().ok_or_else(|| missing(node.at))?;
        let parsed = parse_condition(text, node.at, names)?;
        n_parts += parsed.size();
        match n_parts <= MAX_CONDITION_PARTS {
            true => Ok(parsed),
            false => Err(refuse_size(node)),
        }
    };
    match &condition.kind {
        Kind::Scalar { .. } | Kind::Map(_) => parse(condition),
        Kind::List(items) if items.is_empty() => Err(missing(condition.at)),
        Kind::List(items) => items
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Expression::Any),
    }
}

/// The refusal of a condition that means too much.
fn refuse_size(condition: &Node) -> Fault {
    Fault::new(
        condition.at,
        format!("the condition stands for more than {MAX_CONDITION_PARTS} selections in all"),
        "name each pattern of selections once",
    )
}

/// The condition as written; a list of conditions as alternatives.
fn write_condition(detection: &Node) -> String {
    let Some(condition) = detection.get("condition") else {
        return String::new();
    };
    match &condition.kind {
        Kind::List(items) => {
            let texts: Vec<String> = items
                .iter()
                .filter_map(Node::text)
                .map(|text| format!("({text})"))
                .collect();
            texts.join(" or ")
        }
        Kind::Scalar { .. } | Kind::Map(_) => condition.text().unwrap_or_default().to_owned(),
    }
}
