//! The overview: is everything exported, and what needs attention.

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
    let (ledger, days, integrations, queues) =
        tokio::join!(app.overview(), app.days(), app.integrations(), app.queues.look());
    let view = View::new(&app.prefix, &chosen, (&ledger, &days), &integrations, &queues);
    let frame = Frame::new(&app.prefix, "Overview");
    (status(view.as_of.is_some()), page(&Overview { frame, view })).into_response()
}
