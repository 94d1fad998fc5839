//! Every small change of a frame: a value replaced, left out, repeated, or something put beside it.
//! It does not know what a frame means.

use serde_json::{Value, json};

/// Lengths that lists are stretched to: each just beyond a bound that some list has.
const LENGTHS: [usize; 6] = [17, 33, 65, 101, 201, 257];

/// What any value is replaced by, beside the words of the protocol.
fn strangers() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(65_536),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(""),
        json!("word"),
        json!("7d444840-9dc0-11d1-b245-5ffdce74fad2"),
        json!([]),
        json!({}),
    ]
}

/// Every frame that differs from this one in one place; `words` are tried wherever a text stands.
pub(crate) fn mutants(frame: &Value, words: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for place in places(frame) {
        let found = frame.pointer(&place).expect("it is there");
        let mut replacements = strangers();
        match found {
            Value::String(_) => replacements.extend(words.iter().map(|word| json!(word))),
            Value::Array(items) => replacements.extend(stretched(items)),
            Value::Object(fields) => {
                let mut more = fields.clone();
                more.insert("surplus".to_owned(), json!(1));
                replacements.push(Value::Object(more));
                for name in fields.keys() {
                    let mut less = fields.clone();
                    less.remove(name);
                    replacements.push(Value::Object(less));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        for replacement in replacements {
            let mut mutant = frame.clone();
            *mutant.pointer_mut(&place).expect("it is there") = replacement;
            all.push(mutant);
        }
    }
    all
}

fn stretched(items: &[Value]) -> Vec<Value> {
    let Some(first) = items.first() else {
        return Vec::new();
    };
    let list = |length: &usize| Value::Array(vec![first.clone(); *length]);
    LENGTHS.iter().map(list).collect()
}

/// The paths of all values in a frame, the frame itself included.
fn places(value: &Value) -> Vec<String> {
    let mut places = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, one)| (name.clone(), one))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(number, one)| (number.to_string(), one))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, child) in children {
        let below = self::places(child).into_iter();
        places.extend(below.map(|place| format!("/{name}{place}")));
    }
    places
}
