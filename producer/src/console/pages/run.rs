//! A run: how far each stream is, and why it failed.

mod history;
mod pace;
mod view;

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, Trouble, page, status, within};
use super::missing::not_here;
use crate::console::address;
use crate::console::app::App;
use crate::console::rows::run::{Rows, read};
use history::Line;
use view::View;

#[derive(Template)]
#[template(path = "run.html")]
struct Run {
    frame: Frame,
    troubles: Vec<Trouble>,
    project: String,
    project_href: String,
    day: String,
    name: String,
    view: Option<View>,
}

/// Answers `/runs/:project/:day/:run`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path((project, day, run)): Path<(String, String, String)>,
) -> Response {
    let Some(key) = address::key(&project, &day, &run) else {
        return not_here(&app, "No run has such an address.");
    };
    let rows = within(read(app.ledger.clone(), key.clone())).await;
    if matches!(&rows, Ok(Rows { run: None, .. })) {
        return not_here(&app, "The ledger has no such run.");
    }
    let troubles = rows.as_ref().err().map(|words| Trouble::left_out("The ledger", words));
    let template = Run {
        frame: Frame::new(&app.prefix, format!("{} {}", key.day, key.run)),
        troubles: troubles.into_iter().collect(),
        project_href: app.prefix.project(&key.project_id),
        view: rows.as_ref().ok().and_then(View::new),
        project: key.project_id,
        day: key.day.to_string(),
        name: key.run,
    };
    (status(rows.is_ok()), page(&template)).into_response()
}
