//! What people did here, the newest first, and one of it.

mod view;

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, Trouble, page, status, within};
use super::missing::not_here;
use crate::console::app::App;
use crate::console::rows::audit;
use view::{Listed, One};

/// What stands in the address behind `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    before: String,
}

#[derive(Template)]
#[template(path = "actions.html")]
struct Actions {
    frame: Frame,
    troubles: Vec<Trouble>,
    view: Option<Listed>,
}

#[derive(Template)]
#[template(path = "action.html")]
struct Action {
    frame: Frame,
    home: String,
    troubles: Vec<Trouble>,
    view: Option<One>,
}

/// Answers `/actions`.
pub(super) async fn list(State(app): State<Arc<App>>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let rows = within(audit::newest(app.ledger.clone(), asked.before.parse().ok())).await;
    let troubles = rows.as_ref().err().map(|words| Trouble::left_out("The ledger", words));
    let template = Actions {
        frame: Frame::new(&app.prefix, "Actions"),
        troubles: troubles.into_iter().collect(),
        view: rows
            .as_ref()
            .ok()
            .map(|rows| Listed::new(&app.prefix, rows, app.operator.is_some())),
    };
    (status(rows.is_ok()), page(&template)).into_response()
}

/// Answers `/actions/:id`.
pub(super) async fn one(State(app): State<Arc<App>>, Path(piece): Path<String>) -> Response {
    let Ok(id) = piece.parse::<i64>() else {
        return not_here(&app, "No action has such a number.");
    };
    let found = within(audit::one(app.ledger.clone(), id)).await;
    if let Ok((_, None)) = found {
        return not_here(&app, "There is no action with this number.");
    }
    let troubles = found.as_ref().err().map(|words| Trouble::left_out("The ledger", words));
    let view = match &found {
        Ok((now, Some(row))) => Some(One::new(&app.prefix, *now, row)),
        _ => None,
    };
    let template = Action {
        frame: Frame::new(&app.prefix, format!("Action {id}")),
        home: app.prefix.path("/actions"),
        troubles: troubles.into_iter().collect(),
        view,
    };
    (status(found.is_ok()), page(&template)).into_response()
}
