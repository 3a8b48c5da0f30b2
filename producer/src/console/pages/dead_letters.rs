//! The dead letters by cause, with what to do about each. From the ledger: nothing is taken out of
//! the queue to be looked at.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shared::ledger::Cause;

use super::frame::{Frame, Trouble, page, status, within};
use super::run_list::RunLine;
use crate::advice::advice;
use crate::console::address::Prefix;
use crate::console::app::App;
use crate::console::rows::dead::{LISTED, Rows, read};
use crate::console::times::Moment;
use crate::output::number;

/// What stands in the address behind `?`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    cause: String,
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLetters {
    frame: Frame,
    troubles: Vec<Trouble>,
    view: Option<View>,
}

/// The page. PURE.
#[derive(Clone, Debug)]
struct View {
    as_of: Moment,
    causes: Vec<CauseLine>,
    chosen: Option<String>,
    all: String,
    lines: Vec<RunLine>,
    more: bool,
}

/// A cause.
#[derive(Clone, Debug)]
struct CauseLine {
    href: String,
    code: String,
    chosen: bool,
    runs: String,
    projects: String,
    oldest: Option<Moment>,
    newest: Option<Moment>,
    advice: &'static str,
}

impl View {
    fn new(prefix: &Prefix, rows: &Rows, chosen: Option<&str>) -> Self {
        let cause = |cause: &Cause| CauseLine::new(prefix, rows.now, cause, chosen);
        Self {
            as_of: Moment::new(rows.now, rows.now),
            causes: rows.causes.iter().map(cause).collect(),
            chosen: chosen.map(str::to_owned),
            all: prefix.path("/dead-letters"),
            lines: rows
                .runs
                .iter()
                .map(|run| RunLine::new(prefix, rows.now, run))
                .collect(),
            more: i64::try_from(rows.runs.len()).is_ok_and(|listed| listed == LISTED),
        }
    }
}

impl CauseLine {
    fn new(prefix: &Prefix, now: DateTime<Utc>, cause: &Cause, chosen: Option<&str>) -> Self {
        let code = cause.error_code.as_deref().unwrap_or("unknown");
        Self {
            href: prefix.dead_letters(code),
            code: code.to_owned(),
            chosen: chosen == Some(code),
            runs: number(cause.runs),
            projects: number(cause.projects),
            oldest: cause.oldest.map(|time| Moment::new(now, time)),
            newest: cause.newest.map(|time| Moment::new(now, time)),
            advice: advice(code),
        }
    }
}

/// Answers `/dead-letters`.
pub(super) async fn show(State(app): State<Arc<App>>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let Query(asked) = asked.unwrap_or_default();
    let cause = Some(asked.cause).filter(|cause| !cause.is_empty() && !cause.contains('\0'));
    let rows = within(read(app.ledger.clone(), cause.clone())).await;
    let troubles = rows.as_ref().err().map(|words| Trouble::left_out("The ledger", words));
    let template = DeadLetters {
        frame: Frame::new(&app.prefix, "Dead letters"),
        troubles: troubles.into_iter().collect(),
        view: rows
            .as_ref()
            .ok()
            .map(|rows| View::new(&app.prefix, rows, cause.as_deref())),
    };
    (status(rows.is_ok()), page(&template)).into_response()
}
