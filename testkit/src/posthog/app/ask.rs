//! Which question a request is, and the answer to it.

use hyper::Method;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::super::State;
use super::super::answer::Answer;
use super::super::behavior::Route;
use super::errors::{error, invalid};
use super::{App, PersonalKey, Project, query};

/// Projects on a page, unless fewer or more are asked for.
const PAGE: usize = 100;

/// A request to the app, its body read.
pub(in super::super) struct Question {
    route: Route,
    method: Method,
    authorization: Option<String>,
    is_json: bool,
    host: String,
    parameters: String,
    pub(in super::super) project: Option<i64>,
    body: Vec<u8>,
}

/// Where in the app a path leads to.
pub(in super::super) fn route_of(path: &str) -> Option<Route> {
    match path {
        "/api/projects" => Some(Route::Projects),
        "/api/personal_api_keys/@current" => Some(Route::OwnKey),
        _ if project_of(path).is_some() => Some(Route::Project),
        _ => queried(path).map(|_| Route::Query),
    }
}

fn project_of(path: &str) -> Option<i64> {
    path.trim_end_matches('/').strip_prefix("/api/projects/")?.parse().ok()
}

fn queried(path: &str) -> Option<i64> {
    project_of(path.trim_end_matches('/').strip_suffix("/query")?)
}

impl Question {
    pub(in super::super) fn new(head: &Parts, route: Route, body: &[u8]) -> Self {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            route,
            method: head.method.clone(),
            authorization: header("authorization").map(str::to_owned),
            is_json: super::super::capture::is_json(header("content-type")),
            host: header("host").unwrap_or_default().to_owned(),
            parameters: head.uri.query().unwrap_or_default().to_owned(),
            project: project_of(head.uri.path()).or_else(|| queried(head.uri.path())),
            body: body.to_vec(),
        }
    }

    fn parameter(&self, name: &str, otherwise: usize) -> usize {
        let pairs = self.parameters.split('&').filter_map(|pair| pair.split_once('='));
        let given = pairs
            .filter(|(key, _)| *key == name)
            .find_map(|(_, value)| value.parse().ok());
        given.unwrap_or(otherwise)
    }
}

/// What PostHog's app would answer.
pub(in super::super) fn answer(question: &Question, state: &State) -> Answer {
    try_answer(question, state).unwrap_or_else(|refused| refused)
}

fn try_answer(question: &Question, state: &State) -> Result<Answer, Answer> {
    let mut app = state.app();
    let key = app.authenticate(question.authorization.as_deref())?.clone();
    let wanted = if question.route == Route::Query {
        Method::POST
    } else {
        Method::GET
    };
    if question.method != wanted {
        let detail = format!("Method \"{}\" not allowed.", question.method);
        return Err(error(405, "invalid_request", "method_not_allowed", &detail));
    }
    match question.route {
        Route::Projects => {
            key.may_list()?;
            Ok(Answer::json(&page(&app, question)))
        }
        Route::Project => {
            let number = question.project.unwrap_or_default();
            let project = app.project(&key, number, "project:read")?;
            Ok(Answer::json(&described(number, project)))
        }
        Route::OwnKey => Ok(Answer::json(&own_key(&key))),
        _ => {
            let number = question.project.unwrap_or_default();
            let project = app.project(&key, number, "query:read")?.clone();
            if !question.is_json {
                let detail = "Unsupported media type in request.";
                return Err(error(415, "invalid_request", "unsupported_media_type", detail));
            }
            let body: Value = serde_json::from_slice(&question.body).map_err(|why| {
                error(
                    400,
                    "validation_error",
                    "parse_error",
                    &format!("JSON parse error - {why}"),
                )
            })?;
            if !body.is_object() {
                return Err(invalid("Invalid data. Expected a dictionary."));
            }
            let store = state.store();
            query::run(&mut app, number, &project, &body, |key| store.shown(key))
        }
    }
}

fn page(app: &App, question: &Question) -> Value {
    let limit = question.parameter("limit", PAGE).clamp(1, 1_000);
    let offset = question.parameter("offset", 0);
    let results: Vec<Value> = app
        .projects
        .iter()
        .skip(offset)
        .take(limit)
        .map(|(number, project)| described(*number, project))
        .collect();
    let count = app.projects.len();
    let link = |offset: usize| format!("http://{}/api/projects/?limit={limit}&offset={offset}", question.host);
    let next = (offset + limit < count).then(|| link(offset + limit));
    let previous = (offset > 0).then(|| link(offset.saturating_sub(limit)));
    json!({"count": count, "next": next, "previous": previous, "results": results})
}

fn described(number: i64, project: &Project) -> Value {
    json!({
        "id": number,
        "organization": "0190a1b2-0000-0000-0000-000000000000",
        "api_token": project.api_key,
        "name": format!("Project {number}"),
        "timezone": project.zone,
        "is_demo": false,
    })
}

fn own_key(key: &PersonalKey) -> Value {
    json!({
        "id": "fake",
        "label": "export",
        "scopes": key.scopes,
        "scoped_teams": key.only.clone().unwrap_or_default(),
    })
}
