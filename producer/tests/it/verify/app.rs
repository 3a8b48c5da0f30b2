//! A PostHog app of the test's own: it holds what the test says, and answers the queries of
//! `verify` from that, in all the ways that PostHog has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

/// The personal API key that it knows.
pub(super) const PERSONAL_KEY: &str = "phx_only_for_the_app";
/// The PostHog project whose project API key is the test's.
pub(super) const NUMBER: i64 = 4_711;

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) uuid: Uuid,
    pub(super) time: DateTime<Utc>,
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Well,
    NoFunctions,
    NoProjects,
    Status(u16),
    Scope(&'static str),
    Busy(u64),
    TooHeavyAbove {
        hours: i64,
        events: usize,
    },
    Cached,
    Broken,
    /// No more uuids than that, and no word of it
    Cut(usize),
    MayWrite,
    Echo,
    Slow(Duration),
}

#[derive(Debug)]
struct Inner {
    events: Vec<Event>,
    way: Way,
    failures: usize,
    queries: Vec<Value>,
    paths: Vec<String>,
    project: String,
    key: String,
}

#[derive(Clone, Debug)]
pub(super) struct App {
    inner: Arc<Mutex<Inner>>,
    pub(super) host: String,
}

impl App {
    pub(super) async fn start(project: &str, key: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let inner = Inner {
            events: Vec::new(),
            way: Way::Well,
            failures: usize::MAX,
            queries: Vec::new(),
            paths: Vec::new(),
            project: project.to_owned(),
            key: key.to_owned(),
        };
        let app = Self {
            inner: Arc::new(Mutex::new(inner)),
            host,
        };
        let router = Router::new().fallback(answer).with_state(app.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        app
    }

    /// What it holds from now on.
    pub(super) fn holds(&self, events: Vec<Event>) {
        self.inner.lock().unwrap().events = events;
    }

    /// Fails in this way, so often.
    pub(super) fn fails(&self, way: Way, times: usize) {
        let mut inner = self.inner.lock().unwrap();
        (inner.way, inner.failures) = (way, times);
    }

    pub(super) fn queries(&self) -> Vec<Value> {
        self.inner.lock().unwrap().queries.clone()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.inner.lock().unwrap().paths.clone()
    }
}

fn error(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({"type": "x", "code": code, "detail": detail, "attr": null});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn answer(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1_000_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let bearer = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let way = app.inner.lock().unwrap().way;
    if let Way::Slow(wait) = way {
        tokio::time::sleep(wait).await;
    }
    let mut inner = app.inner.lock().unwrap();
    let path = parts.uri.path().to_owned();
    inner.paths.push(path.clone());
    if bearer != Some(&format!("Bearer {PERSONAL_KEY}")) {
        return error(
            401,
            "authentication_failed",
            "Personal API key found in request Authorization header is invalid.",
        );
    }
    if path == "/api/personal_api_keys/@current/" {
        let scopes = match inner.way {
            Way::MayWrite => json!(["*"]),
            _ => json!(["query:read", "project:read"]),
        };
        return Json(json!({"scopes": scopes})).into_response();
    }
    if inner.failures > 0 {
        inner.failures -= 1;
        match inner.way {
            Way::Status(status) => return error(status, "not_found", "Project not found."),
            Way::Scope(scope) => {
                return error(
                    403,
                    "permission_denied",
                    &format!("API key missing required scope '{scope}'"),
                );
            }
            Way::Busy(wait) => {
                let busy = error(429, "throttled", "Request was throttled.");
                return ([(header::RETRY_AFTER, wait.to_string())], busy).into_response();
            }
            Way::Broken => return (StatusCode::OK, "{\"results\": [[").into_response(),
            Way::Echo => {
                return error(400, "x", &format!("what is {}?", bearer.unwrap_or_default()));
            }
            _ => {}
        }
    }
    if path == "/api/projects/" {
        if inner.way == Way::NoProjects {
            return error(
                403,
                "permission_denied",
                "API keys with scoped projects are only supported on project-based endpoints.",
            );
        }
        // Pages: the right one is on the second.
        let is_first = parts.uri.query() == Some("limit=100&offset=0");
        let (id, key) = if is_first {
            (1, "phc_other")
        } else {
            (NUMBER, inner.key.as_str())
        };
        let next = is_first.then_some("https://evil.example/api/projects/?offset=100");
        return Json(json!({"next": next, "results": [{"id": id, "api_token": key}]})).into_response();
    }
    if path == format!("/api/projects/{NUMBER}/") {
        return Json(json!({"id": NUMBER, "api_token": inner.key})).into_response();
    }
    if path == "/api/projects/1/" {
        return Json(json!({"id": 1, "api_token": "phc_other"})).into_response();
    }
    if path == format!("/api/projects/{NUMBER}/query/") {
        inner.queries.push(body.clone());
        return query(&inner, &body);
    }
    error(404, "not_found", "Project not found.")
}

fn query(inner: &Inner, body: &Value) -> Response {
    assert_eq!(body["refresh"], "force_blocking");
    assert_eq!(body["query"]["modifiers"]["convertToProjectTimezone"], false);
    let (hogql, values) = (body["query"]["query"].as_str().unwrap(), &body["query"]["values"]);
    let moment = |name: &str| values[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let (since, until) = (moment("since"), moment("until"));
    let names: BTreeSet<&str> = ["event", "event_1", "event_2", "event_3", "event_4"]
        .iter()
        .filter_map(|name| values[*name].as_str())
        .collect();
    if let Way::TooHeavyAbove { hours, events } = inner.way
        && ((until - since).num_hours() > hours || names.len() > events)
    {
        return error(if events == 1 { 504 } else { 512 }, "x", "too long");
    }
    let in_json = Value::from(inner.project.as_str()).to_string();
    let is_ours = values["project"].as_str() == Some(in_json.trim_matches('"'));
    let held = inner
        .events
        .iter()
        .filter(|event| is_ours && names.contains(event.name.as_str()) && (since..until).contains(&event.time));
    let digits = usize::try_from(values["digits"].as_u64().unwrap()).unwrap();
    let hour = |event: &Event| event.time.timestamp().div_euclid(3_600);
    let results = if hogql.starts_with("-- arrival_uuids") {
        let cells: BTreeSet<&str> = values["cells"].as_str().unwrap().split(',').collect();
        let mut rows: BTreeSet<(String, i64)> = held
            .map(|event| (event.uuid.to_string(), hour(event)))
            .filter(|(uuid, hour)| cells.contains(&*format!("{hour}{}", &uuid[..digits])))
            .collect();
        // As PostHog does it: no word of it.
        if let Way::Cut(most) = inner.way {
            rows = rows.into_iter().take(most).collect();
        }
        rows.into_iter()
            .map(|(uuid, hour)| json!([uuid, hour]))
            .collect::<Vec<_>>()
    } else {
        if inner.way == Way::NoFunctions && hogql.contains("groupBitXor(") {
            return error(400, "hogql", "Unsupported function call 'groupBitXor(...)'");
        }
        let mut cells: BTreeMap<(String, i64, String), BTreeMap<Uuid, u64>> = BTreeMap::new();
        for event in held {
            let prefix = event.uuid.to_string()[..digits].to_owned();
            *cells
                .entry((event.name.clone(), hour(event), prefix))
                .or_default()
                .entry(event.uuid)
                .or_default() += 1;
        }
        let row = |((name, hour, prefix), uuids): (&(String, i64, String), &BTreeMap<Uuid, u64>)| {
            let xor = uuids.keys().fold(0, |xor, uuid| {
                xor ^ u64::from_le_bytes(uuid.as_bytes()[..8].try_into().unwrap())
            });
            let folded = if hogql.contains("groupBitXor(") {
                xor.to_string()
            } else {
                String::new()
            };
            json!([name, hour, prefix, uuids.len(), folded, uuids.values().sum::<u64>()])
        };
        cells.iter().map(row).collect()
    };
    Json(json!({"results": results, "hasMore": false, "is_cached": inner.way == Way::Cached, "error": null}))
        .into_response()
}
