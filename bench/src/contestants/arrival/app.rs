//! PostHog's app, as far as `producer verify` asks it: it holds the events of one day of one
//! project, as numbers, so that a day of seven million fits into memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::API_KEY;

/// The PostHog project.
const NUMBER: i64 = 1;
/// The names of the three usual streams.
pub(super) const NAMES: [&str; 3] = ["langfuse trace", "langfuse generation", "langfuse score"];

/// An event that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Which of [`NAMES`]
    pub(super) name: usize,
    /// Since 1970
    pub(super) hour: i64,
    /// Its uuid
    pub(super) uuid: u128,
}

impl Held {
    fn prefix(&self, digits: usize) -> String {
        Uuid::from_u128(self.uuid).to_string().chars().take(digits).collect()
    }
}

/// The app. It lives as long as the process.
#[derive(Clone, Debug)]
pub(super) struct App {
    held: Arc<Mutex<Vec<Held>>>,
    address: String,
}

impl App {
    /// Listens on a loopback port.
    pub(super) async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        let app = Self {
            held: Arc::default(),
            address: listener.local_addr()?.to_string(),
        };
        let router = Router::new().fallback(answer).with_state(app.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(app)
    }

    /// Host and port.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What it holds from now on.
    pub(super) fn holds(&self, held: Vec<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}

async fn answer(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/api/projects/" {
        return Json(json!({"next": null, "results": [{"id": NUMBER, "api_token": API_KEY}]})).into_response();
    }
    if parts.uri.path() != format!("/api/projects/{NUMBER}/query/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let body = axum::body::to_bytes(body, 1_000_000).await.unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let held = app.held.lock().unwrap_or_else(PoisonError::into_inner);
    match rows(&held, &asked["query"]) {
        Some(rows) => {
            Json(json!({"results": rows, "hasMore": null, "is_cached": false, "error": null})).into_response()
        }
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// The rows of an answer; none where the question is another.
fn rows(held: &[Held], query: &Value) -> Option<Vec<Value>> {
    let values = &query["values"];
    let bound = |name: &str| values[name].as_str();
    let hour = |name: &str| Some(bound(name)?.parse::<chrono::DateTime<chrono::Utc>>().ok()?.timestamp() / 3_600);
    let hours = hour("since")?..hour("until")?;
    let digits = usize::try_from(values["digits"].as_u64()?).ok()?;
    let names = ["event", "event_1", "event_2", "event_3", "event_4"].map(bound);
    let is_asked_for = NAMES.map(|name| names.contains(&Some(name)));
    let asked = held
        .iter()
        .filter(|event| is_asked_for.get(event.name) == Some(&true) && hours.contains(&event.hour));
    let text = query["query"].as_str()?;
    if text.starts_with("-- arrival_uuids") {
        let cells: BTreeSet<&str> = bound("cells")?.split(',').collect();
        let is_in = |event: &&Held| cells.contains(&*format!("{}{}", event.hour, event.prefix(digits)));
        let row = |event: &Held| json!([Uuid::from_u128(event.uuid), event.hour]);
        return Some(asked.filter(is_in).map(row).take(50_000).collect());
    }
    let mut cells: BTreeMap<(usize, i64, String), (u64, u64)> = BTreeMap::new();
    for event in asked {
        let first = u64::try_from(event.uuid >> 64).unwrap_or_default();
        let cell = cells.entry((event.name, event.hour, event.prefix(digits))).or_default();
        *cell = (cell.0 + 1, cell.1 ^ first.swap_bytes());
    }
    let row = |((name, hour, prefix), (count, xor)): ((usize, i64, String), (u64, u64))| {
        json!([NAMES.get(name), hour, prefix, count, xor.to_string(), count])
    };
    Some(cells.into_iter().map(row).collect())
}
