//! The page for an address at which there is nothing.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, page};
use crate::console::app::App;

#[derive(Template)]
#[template(path = "missing.html")]
struct Missing<'a> {
    frame: Frame,
    why: &'a str,
}

/// Says so.
pub(in crate::console) fn not_here(app: &App, why: &str) -> Response {
    let frame = Frame::new(&app.prefix, "Not found");
    (StatusCode::NOT_FOUND, page(&Missing { frame, why })).into_response()
}
