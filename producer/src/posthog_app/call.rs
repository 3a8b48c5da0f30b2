//! What is read and written in a project beside queries.

use reqwest::Method;
use serde_json::Value;

use super::client::{App, Question};
use super::error::AppError;
use super::query::Place;

/// One request about a project.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Behind `api/projects/7/`
    pub(crate) path: &'a str,
    /// What follows the question mark
    pub(crate) query: Option<String>,
    /// Nothing for a GET
    pub(crate) body: Option<&'a Value>,
    /// Whether it may be sent again when nobody knows whether it arrived
    pub(crate) may_repeat: bool,
}

impl App {
    /// Sends it, and waits where PostHog says so.
    pub(crate) async fn call(&self, place: &Place, call: Call<'_>) -> Result<Value, AppError> {
        self.ask(Question {
            method: call.method,
            query: call.query,
            body: call.body.map(Value::to_string),
            project: Some(place.project),
            may_repeat: call.may_repeat,
            ..Question::get(&place.app, format!("api/projects/{}/{}", place.project, call.path))
        })
        .await
    }
}
