//! The overview: is everything exported, and what needs somebody.

mod chosen;
mod projects;
mod strip;
mod tiles;
mod view;

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, page, status};
use crate::console::app::App;
use crate::console::rows::overview;
use chosen::Chosen;
use view::View;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    view: View,
}

/// Answers `/`.
pub(super) async fn show(State(app): State<Arc<App>>, chosen: Result<Query<Chosen>, QueryRejection>) -> Response {
    let Query(chosen) = chosen.unwrap_or_default();
    let ask = || overview::read(app.ledger.clone());
    let (ledger, integrations, queues) = tokio::join!(app.overview.get(ask), app.integrations(), app.queues.look());
    let view = View::new(&app.prefix, &chosen, &ledger, &integrations, &queues);
    let frame = Frame::new(&app.prefix, "Overview");
    (status(ledger.known.is_some()), page(&Overview { frame, view })).into_response()
}
