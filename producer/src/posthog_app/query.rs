//! HogQL queries. What they ask about is bound (`values`), never pasted into the text.

use std::collections::BTreeMap;

use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::client::{App, Question, named};
use super::error::AppError;

/// What is bound to the names in braces.
pub(crate) type Values = BTreeMap<&'static str, Value>;

/// A PostHog project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The app
    pub(crate) app: Url,
    /// The project's number there
    pub(crate) project: i64,
}

impl App {
    /// The rows of a query, computed now: never from PostHog's cache, and never a part of them. The
    /// request says no more than it must: an older PostHog refuses what it does not know.
    pub(crate) async fn query(&self, place: &Place, hogql: &str, values: &Values) -> Result<Vec<Vec<Value>>, AppError> {
        let body = json!({
            "query": {
                "kind": "HogQLQuery",
                "query": hogql,
                "values": values,
                "modifiers": {"convertToProjectTimezone": false},
            },
            "refresh": "force_blocking",
        });
        let answer = self
            .ask(Question {
                method: Method::POST,
                body: Some(body.to_string()),
                project: Some(place.project),
                ..Question::get(&place.app, format!("api/projects/{}/query/", place.project))
            })
            .await?;
        rows(named(&place.app), answer)
    }
}

/// PURE.
fn rows(host: String, mut answer: Value) -> Result<Vec<Vec<Value>>, AppError> {
    let garbled = |host, why: &str| AppError::Garbled {
        host,
        why: why.to_owned(),
    };
    if let Some(detail) = failure(&answer) {
        return Err(AppError::Refused {
            host,
            status: 200,
            detail,
        });
    }
    // A PostHog that is busy may put a question into a queue, although the answer is waited for.
    if answer["query_status"]["complete"] == false {
        return Err(garbled(host, "PostHog has not finished the query yet"));
    }
    if answer["is_cached"] == true {
        return Err(garbled(
            host,
            "it comes from a cache, although a fresh one was asked for",
        ));
    }
    if answer["hasMore"] == true {
        return Err(AppError::Cut(host));
    }
    let Some(Value::Array(results)) = answer.get_mut("results").map(Value::take) else {
        return Err(garbled(host, "it has no `results`"));
    };
    let row = |row: Value| match row {
        Value::Array(cells) => Some(cells),
        _ => None,
    };
    let rows: Option<Vec<Vec<Value>>> = results.into_iter().map(row).collect();
    rows.ok_or_else(|| garbled(host, "a row is no list"))
}

/// Why a query failed that was answered with 200: beside the rows, or in the query's status. PURE.
pub(crate) fn failure(answer: &Value) -> Option<String> {
    let is_said = |value: &Value| !value.is_null() && *value != false && *value != "";
    let status = &answer["query_status"];
    let why = match (&answer["error"], &status["error"]) {
        (error, _) if is_said(error) => error,
        (_, error) if is_said(error) => &status["error_message"],
        _ => return None,
    };
    let why = why.as_str().map_or_else(|| why.to_string(), str::to_owned);
    Some(why.chars().filter(|c| !c.is_control()).take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_and_fresh_answer_counts() {
        let read = |answer: Value| rows("h".to_owned(), answer);
        let good = json!({"results": [["a", 1]], "hasMore": false, "is_cached": false, "error": null});
        assert_eq!(read(good).unwrap(), vec![vec![json!("a"), json!(1)]]);
        let cached = json!({"results": [], "is_cached": true});
        assert!(matches!(read(cached), Err(AppError::Garbled { .. })));
        let cut = json!({"results": [["a"]], "hasMore": true});
        assert_eq!(read(cut), Err(AppError::Cut("h".to_owned())));
        let wrong = json!({"results": null, "error": "no such\nfunction"});
        assert!(read(wrong).unwrap_err().to_string().contains("no suchfunction"));
        for wrong in [
            json!({"results": [], "error": {"code": "x"}}),
            json!({"results": [], "query_status": {"complete": true, "error": true, "error_message": "too slow"}}),
        ] {
            assert!(matches!(read(wrong), Err(AppError::Refused { .. })));
        }
        let begun = json!({"results": [], "query_status": {"complete": false, "error": false}});
        assert!(matches!(read(begun), Err(AppError::Garbled { .. })));
        let done = json!({"results": [], "query_status": {"complete": true, "error": false}});
        assert_eq!(read(done), Ok(Vec::new()));
        for nonsense in [json!({}), json!({"results": 1}), json!({"results": [1]}), json!([])] {
            assert!(matches!(read(nonsense), Err(AppError::Garbled { .. })));
        }
    }
}
