//! Every query holds against the closed schema beside it: a field with a slip in its name is found
//! here, and not by the one who looks at an empty tile.

use serde_json::{Value, json};

use super::definition::Definition;
use super::render::{About, Content, render};

const SCHEMA: &str = include_str!("query.schema.json");

/// What is wrong with a value, and where. Knows as much of JSON Schema as the file uses.
fn findings(schema: &Value, all: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return findings(&all["$defs"][name], all, value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let of_each: Vec<Vec<String>> = choices.iter().map(|one| findings(one, all, value, at)).collect();
        let fewest = of_each.into_iter().min_by_key(Vec::len);
        return fewest.unwrap_or_else(|| vec![format!("{at}: no choice")]);
    }
    if let Some(words) = schema["enum"].as_array() {
        return if words.contains(value) {
            Vec::new()
        } else {
            vec![format!("{at}: {value}")]
        };
    }
    match (schema["type"].as_str(), value) {
        (Some("string"), Value::String(_)) | (Some("boolean"), Value::Bool(_)) => Vec::new(),
        (Some("integer"), Value::Number(number)) if number.is_u64() => Vec::new(),
        (Some("array"), Value::Array(values)) => {
            let of_each = values
                .iter()
                .map(|value| findings(&schema["items"], all, value, &format!("{at}[]")));
            of_each.flatten().collect()
        }
        (Some("object"), Value::Object(fields)) => {
            assert_eq!(schema["additionalProperties"], false, "{at} is open");
            let missing = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let missing = missing
                .filter(|name| !fields.contains_key(*name))
                .map(|name| format!("{at}.{name} is missing"));
            let of_each = fields
                .iter()
                .flat_map(|(name, value)| match schema["properties"].get(name) {
                    Some(schema) => findings(schema, all, value, &format!("{at}.{name}")),
                    None => vec![format!("{at}.{name} is unknown")],
                });
            missing.chain(of_each).collect()
        }
        (wanted, _) => vec![format!("{at} is no {wanted:?}")],
    }
}

fn forms() -> Vec<(String, Value)> {
    forms_of("p")
}

fn forms_of(project: &str) -> Vec<(String, Value)> {
    let about = About {
        project,
        conversion: Some("paid"),
    };
    let wanted = render(&Definition::ai_metrics().unwrap(), &about, None);
    let of_tile = wanted.tiles.into_iter().flat_map(|tile| match tile.content {
        Content::Insight { forms, .. } => forms.into_iter().map(|form| (tile.key.clone(), form)).collect(),
        Content::Text(_) => Vec::new(),
    });
    of_tile.collect()
}

#[test]
fn every_query_holds_against_the_closed_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let (forms, odd) = (forms(), forms_of("true"));
    assert!(forms.len() > 30, "{}", forms.len());
    for (key, form) in forms.into_iter().chain(odd) {
        assert_eq!(findings(&schema, &schema, &form, &key), Vec::<String>::new());
    }
}

#[test]
fn every_slip_is_found() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let form = |key: &str| forms().into_iter().find(|(known, _)| known == key).unwrap().1;
    for (key, pointer, value) in [
        ("traces", "/source/trendsFilter/decimals", json!(2)),
        ("traces", "/source/series/0/math", json!("sum")),
        ("traces", "/source/trendsFilter/decimalPlaces", json!("2")),
        ("cost_total", "/display", json!("BigNumber")),
        ("cost_total", "/source/values", json!({})),
        (
            "retention_llm",
            "/source/retentionFilter/targetEntity/properties/0/operator",
            json!("is"),
        ),
        ("conversion_funnel", "/source/funnelsFilter/funnelWindow", json!(1)),
    ] {
        let mut slipped = form(key);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        slipped.pointer_mut(parent).unwrap()[name] = value;
        assert!(!findings(&schema, &schema, &slipped, key).is_empty(), "{key}{pointer}");
    }
    let mut lacking = form("traces");
    lacking["source"].as_object_mut().unwrap().remove("properties");
    assert_eq!(
        findings(&schema, &schema, &lacking, "traces"),
        ["traces.source.properties is missing"]
    );
}
