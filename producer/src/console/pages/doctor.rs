//! What `producer doctor` looks at, and how to run it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::frame::{Frame, page};
use crate::console::app::App;

#[derive(Template)]
#[template(path = "doctor.html")]
struct Doctor {
    frame: Frame,
}

/// Answers `/doctor`. It asks nobody.
pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let frame = Frame::new(&app.prefix, "Doctor");
    page(&Doctor { frame })
}
