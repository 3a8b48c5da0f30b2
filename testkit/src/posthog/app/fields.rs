//! The members of a body that PostHog looks at.

use serde_json::{Map, Value};

use super::super::answer::Answer;
use super::errors::{error_at, invalid_at};

/// A text of at most so many characters, or null.
pub(super) fn text(body: &Map<String, Value>, name: &str, most: usize) -> Result<(), Answer> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if text.chars().count() <= most => Ok(()),
        Some(Value::String(_)) => {
            let detail = format!("Ensure this field has no more than {most} characters.");
            Err(error_at(400, "validation_error", "max_length", &detail, name))
        }
        Some(_) => Err(invalid_at(name, "Not a valid string.")),
    }
}

/// True or false.
pub(super) fn boolean(body: &Map<String, Value>, name: &str) -> Result<(), Answer> {
    match body.get(name) {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => Err(invalid_at(name, "Must be a valid boolean.")),
    }
}

/// As PostHog keeps tags: trimmed, in lower case, each once.
pub(super) fn tags(body: &Map<String, Value>) -> Result<Option<Vec<String>>, Answer> {
    let Some(tags) = body.get("tags") else {
        return Ok(None);
    };
    let wrong = || invalid_at("tags", "Expected a list of items.");
    let mut kept = Vec::new();
    for tag in tags.as_array().ok_or_else(wrong)? {
        let tag = tag.as_str().ok_or_else(wrong)?.trim().to_lowercase();
        if !kept.contains(&tag) {
            kept.push(tag);
        }
    }
    Ok(Some(kept))
}

/// Whether what was deleted should be there again.
pub(super) fn brings_back(body: &Map<String, Value>) -> bool {
    body.get("deleted") == Some(&Value::Bool(false))
}
