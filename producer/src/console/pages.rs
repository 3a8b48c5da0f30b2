//! The pages. Each reads rows, makes a view of them without I/O, and a template shows that.

mod actions;
mod dead_letters;
mod doctor;
pub(super) mod frame;
pub(super) mod missing;
mod overview;
mod project;
mod run;
mod run_list;
pub(super) mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::get;

use super::address::Prefix;
use super::app::App;
use missing::not_here;

/// The addresses of the pages.
pub(super) fn router(prefix: &Prefix) -> Router<Arc<App>> {
    let mut router = Router::new()
        .route(&prefix.path("/"), get(overview::show))
        .route(&prefix.path("/projects/{id}"), get(project::show))
        .route(&prefix.path("/runs/{project}/{day}/{run}"), get(run::show))
        .route(&prefix.path("/dead-letters"), get(dead_letters::show))
        .route(&prefix.path("/doctor"), get(doctor::show))
        .route(&prefix.path("/actions"), get(actions::list))
        .route(&prefix.path("/actions/{id}"), get(actions::one));
    let bare = prefix.path("");
    if !bare.is_empty() {
        let whole = prefix.path("/");
        let redirect = async move || (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, whole)]);
        router = router.route(&bare, get(redirect));
    }
    router
}

/// There is no such page.
pub(super) async fn not_found(State(app): State<Arc<App>>) -> Response {
    not_here(&app, "There is no page at this address.")
}
