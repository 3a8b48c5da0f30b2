//! What tells whether a tile is as we left it. PURE.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Of an insight: what was written, or what PostHog shows of it.
pub(crate) fn insight(name: &Value, description: &Value, query: &Value) -> String {
    of(&json!([name, description, said(query)]))
}

/// A query without what PostHog adds to it: it numbers the version of each node's form when it reads
/// or migrates an insight, and writes out members that are not set.
pub(crate) fn said(query: &Value) -> Value {
    match query {
        Value::Object(members) => {
            let is_said =
                |(name, member): &(&String, &Value)| !member.is_null() && (*name != "version" || !member.is_number());
            let members = members.iter().filter(is_said);
            Value::Object(members.map(|(name, member)| (name.clone(), said(member))).collect())
        }
        Value::Array(all) => all.iter().map(said).collect(),
        other => other.clone(),
    }
}

/// Of a text tile.
pub(crate) fn text(body: &str) -> String {
    of(&json!([body]))
}

/// Of a dashboard.
pub(crate) fn dashboard(name: &Value, description: &Value) -> String {
    of(&json!([name, description]))
}

/// The fields of an object are sorted, so their order in an answer does not matter.
fn of(value: &Value) -> String {
    hex::encode(&Sha256::digest(value.to_string().as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_order_nor_versions_matter_and_everything_else_does() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (name, said) = (json!("n"), json!("d"));
        let one = insight(&name, &said, &read(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#));
        assert_eq!(
            one,
            insight(&name, &said, &read(r#"{"b": {"d": null, "c": [1, 2]}, "a": 1}"#))
        );
        let migrated = r#"{"a": 1, "version": 2, "b": {"c": [1, 2], "version": 1}, "e": null}"#;
        assert_eq!(one, insight(&name, &said, &read(migrated)));
        for other in [
            r#"{"a": 1, "b": {"c": [2, 1], "d": null}}"#,
            r#"{"a": 1, "b": {"c": [1, 2], "d": 0}}"#,
            r#"{"a": 1, "b": {"c": [1, 2], "version": "2"}}"#,
        ] {
            assert_ne!(one, insight(&name, &said, &read(other)));
        }
        assert_ne!(
            one,
            insight(&said, &name, &read(r#"{"a": 1, "b": {"c": [1, 2], "d": null}}"#))
        );
    }
}
