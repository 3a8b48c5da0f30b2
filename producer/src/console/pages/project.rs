//! A project: which of its days have arrived, and its runs.

mod acts;
mod calendar;
mod view;

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Trouble, page, status, within};
use super::missing::not_here;
use crate::console::address;
use crate::console::app::App;
use crate::console::rows::project::{Part, read};
use acts::Acts;
use view::View;

/// What stands in the address behind `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    year: String,
    day: String,
    steps: String,
}

#[derive(Template)]
#[template(path = "project.html")]
struct Project {
    frame: Frame,
    troubles: Vec<Trouble>,
    id: String,
    name: String,
    acts: Option<Acts>,
    view: Option<View>,
}

/// Answers `/projects/:id`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(piece): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let Some(id) = address::id(&piece) else {
        return not_here(&app, "No project has such an id.");
    };
    let Query(asked) = asked.unwrap_or_default();
    let part = Part {
        year: asked.year.parse().ok(),
        day: asked.day.parse().ok(),
        steps: asked.steps == "open",
    };
    let (rows, integrations) = tokio::join!(within(read(app.ledger.clone(), id.clone(), part)), app.integrations());
    let stored = integrations.known.as_ref().map(|(known, _)| known.as_slice());
    let own = stored.and_then(|all| all.iter().find(|found| found.project_id == id));
    if let (Ok(rows), Some(_), None) = (&rows, stored, own)
        && rows.summary.is_none()
    {
        return not_here(
            &app,
            "Neither the ledger nor Langfuse's settings know a project with this id.",
        );
    }
    let troubles = [
        rows.as_ref().err().map(|words| Trouble::left_out("The ledger", words)),
        Trouble::of("Langfuse's database", &integrations),
    ];
    let name = own
        .map(|found| found.project_name.clone())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| id.clone());
    let view = rows
        .as_ref()
        .ok()
        .map(|rows| View::new(&app.prefix, &id, rows, stored, own, part));
    let acts = rows.as_ref().ok().zip(view.as_ref()).filter(|_| app.operator.is_some());
    let template = Project {
        acts: acts.map(|(rows, view)| Acts::new(&app.prefix, &id, view.pause.is_some(), rows.now)),
        frame: Frame::new(&app.prefix, name.clone()),
        troubles: troubles.into_iter().flatten().collect(),
        id,
        name,
        view,
    };
    (status(rows.is_ok()), page(&template)).into_response()
}
