//! The files that pages load, part of the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// A file: its path, its type and its bytes.
type Asset = (&'static str, &'static str, &'static [u8]);

const ASSETS: [Asset; 3] = [
    (
        "/assets/console.css",
        "text/css; charset=utf-8",
        include_bytes!("assets/console.css"),
    ),
    (
        "/assets/console.js",
        "text/javascript; charset=utf-8",
        include_bytes!("assets/console.js"),
    ),
    ("/assets/icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")),
];

/// Each path and how to answer it.
pub(super) fn all() -> impl Iterator<Item = (&'static str, impl Fn() -> Response + Clone)> {
    ASSETS.into_iter().map(|(path, kind, bytes)| {
        let answer = move || ([(header::CONTENT_TYPE, kind)], bytes).into_response();
        (path, answer)
    })
}
