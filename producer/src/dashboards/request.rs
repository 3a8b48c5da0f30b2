//! The requests that make, change and delete. PURE.

use reqwest::Method;
use serde_json::{Value, json};

use super::render::Wanted;

/// One request, below the project's own path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below `api/projects/7/`
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Request {
    /// Its method as a word.
    pub(crate) fn word(&self) -> &str {
        self.method.as_str()
    }

    fn post(path: &str, body: Value) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            body,
        }
    }

    fn patch(path: String, body: Value) -> Self {
        Self {
            method: Method::PATCH,
            path,
            body,
        }
    }

    /// Makes the dashboard.
    pub(crate) fn make_dashboard(wanted: &Wanted) -> Self {
        let Wanted {
            name,
            description,
            tags,
            filters,
            ..
        } = wanted;
        let body = json!({"name": name, "description": description, "pinned": false, "tags": tags, "filters": filters});
        Self::post("dashboards/", body)
    }

    /// Writes the dashboard's own texts anew.
    pub(crate) fn change_dashboard(id: &Value, wanted: &Wanted) -> Self {
        let body = json!({"name": wanted.name, "description": wanted.description});
        Self::patch(format!("dashboards/{}/", number(id)), body)
    }

    /// Writes the dashboard's date range anew.
    pub(crate) fn change_filters(id: i64, wanted: &Wanted) -> Self {
        Self::patch(format!("dashboards/{id}/"), json!({"filters": wanted.filters}))
    }

    /// Tries a query. It changes nothing.
    pub(crate) fn try_query(query: &Value) -> Self {
        Self::post("query/", json!({"query": query, "refresh": "blocking"}))
    }

    /// Makes an insight with its tile.
    pub(crate) fn make_insight(dashboard: &Value, name: &str, description: &str, query: &Value) -> Self {
        let body = json!({
            "name": name, "description": description, "saved": true, "query": query, "dashboards": [dashboard],
        });
        Self::post("insights/", body)
    }

    /// Writes an insight anew.
    pub(crate) fn change_insight(id: i64, name: &str, description: &str, query: &Value) -> Self {
        let body = json!({"name": name, "description": description, "query": query});
        Self::patch(format!("insights/{id}/"), body)
    }

    /// Puts an insight on these dashboards, and no others.
    pub(crate) fn put_on(id: i64, dashboards: &[Value]) -> Self {
        Self::patch(format!("insights/{id}/"), json!({"dashboards": dashboards}))
    }

    /// Writes these members, too.
    pub(crate) fn add(&mut self, more: Value) {
        if let (Value::Object(body), Value::Object(more)) = (&mut self.body, more) {
            body.extend(more);
        }
    }

    /// Puts tiles in their places, makes and changes text tiles.
    pub(crate) fn tiles(dashboard: &Value, tiles: &[Value]) -> Self {
        Self::patch(format!("dashboards/{}/", number(dashboard)), json!({"tiles": tiles}))
    }

    /// Deletes an insight, and its tile with it. PostHog keeps it, and can undo that.
    pub(crate) fn delete_insight(id: i64) -> Self {
        Self::patch(format!("insights/{id}/"), json!({"deleted": true}))
    }

    /// Deletes the dashboard. PostHog keeps it, and can undo that.
    pub(crate) fn delete_dashboard(id: i64) -> Self {
        Self::patch(format!("dashboards/{id}/"), json!({"deleted": true}))
    }

    /// The part of an answer that the requests after it need, where it is not sent.
    pub(crate) fn stand_in(&self) -> Value {
        let dashboard = "{id of the dashboard}";
        if let (&Method::PATCH, Some(put_on)) = (&self.method, self.body["dashboards"].as_array()) {
            let id = format!("{{id of the tile of {}}}", self.path.trim_end_matches('/'));
            return json!({"dashboard_tiles": [{"id": id, "dashboard_id": put_on.last()}]});
        }
        if self.method != Method::POST {
            return Value::Null;
        }
        match self.path.as_str() {
            "dashboards/" => json!({"id": dashboard}),
            "insights/" => {
                let name = self.body["name"].as_str().unwrap_or_default();
                json!({"dashboard_tiles": [{"id": format!("{{id of the tile {name}}}"), "dashboard_id": self.body["dashboards"][0]}]})
            }
            _ => Value::Null,
        }
    }

    /// Whether it may be sent again when nobody knows whether it arrived: not where it makes something,
    /// be it a text of a dashboard that is changed.
    pub(crate) fn may_repeat(&self) -> bool {
        let is_new = |tile: &Value| tile["text"].is_object() && tile["text"]["id"].is_null();
        let makes_texts = self.body["tiles"]
            .as_array()
            .is_some_and(|tiles| tiles.iter().any(is_new));
        self.path == "query/" || self.method != Method::POST && !makes_texts
    }
}

/// A number, or the words that stand for one that is not known yet.
fn number(id: &Value) -> String {
    match id {
        Value::String(words) => words.clone(),
        number => number.to_string(),
    }
}
