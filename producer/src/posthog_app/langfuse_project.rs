//! How PostHog compares the id of a Langfuse project, which stands in each event as a property. PURE.

use chrono::DateTime;
use serde_json::Value;

/// The id as queries name it. PostHog guesses the type of a property by the first value that it sees,
/// and converts the property wherever a query names it: then other ids are none.
const AS_PROPERTY: &str = "properties.langfuse_project_id";

/// The id as it stands in the event, whatever PostHog takes the property for. PostHog reads all
/// properties of an event for it.
pub(crate) const AS_TEXT: &str = "JSONExtractString(properties, 'langfuse_project_id')";

/// A query that reads the id as a text.
pub(crate) fn by_text(hogql: &str) -> String {
    hogql.replace(AS_PROPERTY, AS_TEXT)
}

/// Whether PostHog may take the id for a yes, a no, a number or a date.
pub(crate) fn may_be_guessed(project: &str) -> bool {
    let id = project.trim();
    let is_bool = id.eq_ignore_ascii_case("true") || id.eq_ignore_ascii_case("false");
    let is_digit = |c: u8| c.is_ascii_digit() || b"-/.:+eE".contains(&c);
    let begins = id.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let is_number = begins && id.bytes().take(8).all(is_digit);
    is_bool || is_number || DateTime::parse_from_rfc2822(id).is_ok()
}

/// A text as it stands in JSON, without the quotes: where PostHog reads a property from an event's
/// JSON, it compares it so.
pub(crate) fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    let bare = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    bare.unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_json_has_no_quotes_of_its_own() {
        assert_eq!(in_json(r#"a"b\c{x}'é"#), r#"a\"b\\c{x}'é"#);
    }

    #[test]
    fn an_id_that_looks_like_something_else_may_be_guessed() {
        for id in [
            "true",
            "FALSE",
            "12",
            "1.5",
            "2024-01-01",
            "2024-06-01T12:00:00Z",
            "01/02/2024",
            " true",
            "Tue, 1 Jul 2003 10:52:37 +0200",
        ] {
            assert!(may_be_guessed(id), "{id}");
        }
        for id in [
            "clx1abc",
            "project one",
            "7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "truth",
            "e2e",
        ] {
            assert!(!may_be_guessed(id), "{id}");
        }
    }
}
