//! Which question a request is, and the answer to it.

use hyper::Method;
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};

use super::super::State;
use super::super::answer::Answer;
use super::super::behavior::Route;
use super::errors::{error, invalid};
use super::paths::Path;
use super::{PersonalKey, Project, Switches, dashboards, insights, query};

/// How many stand on a page of a list, unless fewer or more are asked for.
const PAGE: usize = 100;

/// A request to the app, its body read.
pub(in super::super) struct Question {
    path: Path,
    method: Method,
    authorization: Option<String>,
    is_json: bool,
    host: String,
    at: String,
    parameters: String,
    body: Vec<u8>,
}

/// Where in the app a path leads to.
pub(in super::super) fn route_of(path: &str) -> Option<Route> {
    Path::of(path).map(Path::route)
}

impl Question {
    /// `None` when the path does not lead into the app.
    pub(in super::super) fn new(head: &Parts, body: &[u8]) -> Option<Self> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        Some(Self {
            path: Path::of(head.uri.path())?,
            method: head.method.clone(),
            authorization: header("authorization").map(str::to_owned),
            is_json: super::super::capture::is_json(header("content-type")),
            host: header("host").unwrap_or_default().to_owned(),
            at: head.uri.path().to_owned(),
            parameters: head.uri.query().unwrap_or_default().to_owned(),
            body: body.to_vec(),
        })
    }

    /// The project that it is about.
    pub(in super::super) fn project(&self) -> Option<i64> {
        self.path.project()
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.parameters.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn number(&self, name: &str, otherwise: usize) -> usize {
        let given = self.parameter(name).and_then(|value| value.parse().ok());
        given.unwrap_or(otherwise)
    }

    /// One page of a list.
    fn page(&self, all: &[Value], switches: &Switches) -> Answer {
        let limit = self.number("limit", PAGE).clamp(1, switches.page_cap);
        let offset = self.number("offset", 0);
        let results: Vec<&Value> = all.iter().skip(offset).take(limit).collect();
        let count = all.len();
        let host = switches.links_to.as_deref().unwrap_or(&self.host);
        let link = |offset: usize| format!("http://{host}{}?limit={limit}&offset={offset}", self.at);
        let next = (offset + limit < count).then(|| link(offset + limit));
        let previous = (offset > 0).then(|| link(offset.saturating_sub(limit)));
        Answer::json(&json!({"count": count, "next": next, "previous": previous, "results": results}))
    }

    fn json(&self) -> Result<Map<String, Value>, Answer> {
        if !self.is_json {
            let detail = "Unsupported media type in request.";
            return Err(error(415, "invalid_request", "unsupported_media_type", detail));
        }
        let body = serde_json::from_slice(&self.body).map_err(|why| {
            let detail = format!("JSON parse error - {why}");
            error(400, "validation_error", "parse_error", &detail)
        })?;
        match body {
            Value::Object(body) => Ok(body),
            _ => Err(invalid("Invalid data. Expected a dictionary.")),
        }
    }
}

/// What PostHog's app would answer.
pub(in super::super) fn answer(question: &Question, state: &State) -> Answer {
    try_answer(question, state).unwrap_or_else(|refused| refused)
}

fn try_answer(question: &Question, state: &State) -> Result<Answer, Answer> {
    let mut app = state.app();
    let app = &mut *app;
    let (path, method) = (question.path, question.method.as_str());
    let key = app.authenticate(question.authorization.as_deref())?.clone();
    if !path.methods().contains(&method) {
        let detail = format!("Method \"{method}\" not allowed.");
        return Err(error(405, "invalid_request", "method_not_allowed", &detail));
    }
    let is_reading = method == "GET";
    let project = path
        .project()
        .map(|number| app.project(&key, number, path.scope(is_reading)));
    let project = project.transpose()?.cloned().unwrap_or_default();
    let body = if is_reading { Map::new() } else { question.json()? };
    match (path, is_reading) {
        (Path::Projects, _) => {
            key.may_list()?;
            let all: Vec<Value> = app.projects.iter().map(|(id, it)| described(*id, it)).collect();
            Ok(question.page(&all, &app.switches))
        }
        (Path::OwnKey, _) => Ok(Answer::json(&own_key(&key))),
        (Path::Project(number), _) => Ok(Answer::json(&described(number, &project))),
        (Path::Query(number), _) => {
            let store = state.store();
            query::run(app, number, &project, body, |key| store.shown(key))
        }
        (Path::Dashboards(project), true) => {
            let all = dashboards::list(app, project, question.parameter("search"));
            Ok(question.page(&all, &app.switches))
        }
        (Path::Dashboards(project), false) => dashboards::create(app, project, &body),
        (Path::Dashboard(project, id), true) => dashboards::read(app, project, id),
        (Path::Dashboard(project, id), false) => dashboards::update(app, project, id, &body),
        (Path::TextTile(project, id), _) => dashboards::create_text(app, project, id, &body),
        (Path::Insights(project), true) => {
            let all = insights::list(app, project, question.parameter("short_id"));
            Ok(question.page(&all, &app.switches))
        }
        (Path::Insights(project), false) => insights::create(app, project, &body),
        (Path::Insight(project, id), true) => insights::read(app, project, id),
        (Path::Insight(project, id), false) => insights::update(app, project, id, &body),
    }
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
