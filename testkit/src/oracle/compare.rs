//! One event against what it should be, property by property.

use std::fmt;

use serde_json::{Map, Value};

/// Bytes PostHog adds to an event on its way inside.
const ENVELOPE_BYTES: usize = 220;
/// Most bytes of an event that the exporter may send, as PostHog counts them.
const MOST: usize = 900_000;
/// A shortened event that is smaller than this was shortened needlessly far.
const ENOUGH: usize = 890_000;
/// Characters of a distinct id that PostHog keeps.
const DISTINCT_ID_CHARS: usize = 200;
/// Bytes of text that fit even if every one had to be written as an escape, twice.
const SURELY_FITS: usize = 100_000;
/// The sending program's name and version: whatever it calls itself.
const PROGRAM: [&str; 2] = ["$lib", "$lib_version"];
/// The list of what was shortened.
const TRUNCATED: &str = "langfuse_truncated";

/// One property that is not what it should be.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Where, e.g. `properties.langfuse_tags`.
    pub path: String,
    /// What should be there; `None` when nothing should.
    pub expected: Option<Value>,
    /// What is there; `None` when nothing is.
    pub delivered: Option<Value>,
    /// More, where the two values alone don't tell.
    pub why: Option<String>,
}

impl Difference {
    fn new(path: &str, expected: Option<&Value>, delivered: Option<&Value>) -> Self {
        Self {
            path: path.to_owned(),
            expected: expected.cloned(),
            delivered: delivered.cloned(),
            why: None,
        }
    }

    fn because(path: &str, why: String) -> Self {
        Self {
            path: path.to_owned(),
            expected: None,
            delivered: None,
            why: Some(why),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.why {
            return write!(out, "{}: {why}", self.path);
        }
        write!(
            out,
            "{}: expected {}, delivered {}",
            self.path,
            shown(self.expected.as_ref()),
            shown(self.delivered.as_ref())
        )
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let text = value.to_string();
    if text.chars().count() <= 120 {
        return text;
    }
    format!("{}… ({} bytes)", text.chars().take(120).collect::<String>(), text.len())
}

/// Everything in which a delivered event is not the expected one; empty when it is.
pub fn altered(expected: &Value, delivered: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    check_size(expected, delivered, &mut differences);
    let mut settled = take_shortened(expected, delivered, &mut differences);
    for name in PROGRAM {
        if delivered["properties"]
            .get(name)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            differences.push(Difference::because(&format!("properties.{name}"), "no text".to_owned()));
        }
        settled.push(name);
    }
    walk("", expected, delivered, &settled, &mut differences);
    differences
}

/// Texts may be shortened only in an event that would be too large. There they must be, by no more
/// than needed.
fn check_size(expected: &Value, delivered: &Value, differences: &mut Vec<Difference>) {
    let is_shortened = delivered["properties"].get(TRUNCATED).is_some();
    if !is_shortened && characters(expected) < SURELY_FITS && characters(delivered) < SURELY_FITS {
        return;
    }
    // As it was sent: PostHog cuts the distinct id only after it has counted.
    let mut sent = delivered.clone();
    sent["distinct_id"] = expected["distinct_id"].clone();
    let mut whole = expected.clone();
    for name in PROGRAM {
        whole["properties"][name] = delivered["properties"][name].clone();
    }
    let (whole, size) = (posthog_size(&whole), posthog_size(&sent));
    let mut complain = |why: String| differences.push(Difference::because(TRUNCATED, why));
    if size > MOST {
        complain(format!("{size} bytes are more than {MOST}"));
    }
    // Sizes differ by a few bytes where a number is written differently; hence the margin.
    if is_shortened && whole + 64 <= MOST {
        complain(format!(
            "shortened, although all of its {whole} bytes would have fitted"
        ));
    }
    if is_shortened && size < ENOUGH {
        complain(format!("shortened to {size} bytes, where {MOST} would have fitted"));
    }
}

/// The properties that were properly shortened, to a beginning of the text that should be there,
/// and the list of them.
fn take_shortened<'a>(expected: &Value, delivered: &'a Value, differences: &mut Vec<Difference>) -> Vec<&'a str> {
    let Some(names) = delivered["properties"].get(TRUNCATED) else {
        return Vec::new();
    };
    let path = format!("properties.{TRUNCATED}");
    let mut settled = vec![TRUNCATED];
    let Some(names) = names.as_array().filter(|names| !names.is_empty()) else {
        differences.push(Difference::because(&path, format!("{names} is no list of names")));
        return settled;
    };
    for name in names.iter().map(|name| name.as_str().unwrap_or_default()) {
        let whole = expected["properties"].get(name).and_then(Value::as_str);
        let sent = delivered["properties"].get(name).and_then(Value::as_str);
        match (whole, sent) {
            (Some(whole), Some(sent)) if sent.len() < whole.len() && whole.starts_with(sent) => settled.push(name),
            _ => differences.push(Difference::because(&path, format!("{name:?} is not a shortened text"))),
        }
    }
    settled
}

/// Bytes of all texts in an event.
fn characters(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(characters).sum(),
        Value::Object(members) => members.values().map(characters).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Bytes of an event as PostHog counts them.
fn posthog_size(event: &Value) -> usize {
    let text = event.to_string();
    text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count() + ENVELOPE_BYTES
}

/// Compares two values. The properties in `settled` have been compared before.
fn walk(path: &str, expected: &Value, delivered: &Value, settled: &[&str], differences: &mut Vec<Difference>) {
    match (expected, delivered) {
        (Value::Object(expected), Value::Object(delivered)) => {
            walk_object(path, expected, delivered, settled, differences);
        }
        (Value::Number(_), Value::Number(_)) if same_number(path, expected, delivered) => {}
        (Value::String(expected), Value::String(delivered))
            if path == "distinct_id" && kept(expected) == *delivered => {}
        _ if expected == delivered => {}
        _ => differences.push(Difference::new(path, Some(expected), Some(delivered))),
    }
}

fn walk_object(
    path: &str,
    expected: &Map<String, Value>,
    delivered: &Map<String, Value>,
    settled: &[&str],
    differences: &mut Vec<Difference>,
) {
    let at = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let open = |name: &str| path != "properties" || !settled.contains(&name);
    for (name, value) in expected.iter().filter(|(name, _)| open(name)) {
        match delivered.get(name) {
            Some(other) => walk(&at(name), value, other, settled, differences),
            None => differences.push(Difference::new(&at(name), Some(value), None)),
        }
    }
    for (name, value) in delivered
        .iter()
        .filter(|(name, _)| open(name) && !expected.contains_key(*name))
    {
        differences.push(Difference::new(&at(name), None, Some(value)));
    }
}

/// The distinct id of an event, as PostHog keeps it.
pub(super) fn kept_distinct_id(event: &Value) -> String {
    kept(event["distinct_id"].as_str().unwrap_or_default())
}

fn kept(distinct_id: &str) -> String {
    distinct_id.chars().take(DISTINCT_ID_CHARS).collect()
}

/// Numbers are compared as doubles. A span of time may differ in its last digits, since two
/// programs may divide in another order.
fn same_number(path: &str, expected: &Value, delivered: &Value) -> bool {
    let (Some(expected), Some(delivered)) = (expected.as_f64(), delivered.as_f64()) else {
        return false;
    };
    let is_span = path.ends_with("langfuse_latency") || path.ends_with("langfuse_time_to_first_token");
    let tolerance = if is_span {
        (1e-15 * expected.abs()).max(1e-9)
    } else {
        0.0
    };
    (expected - delivered).abs() <= tolerance
}
