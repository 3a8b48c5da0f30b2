//! What the console does where actions are allowed. Everything that changes something has two steps:
//! a preview with a form that carries what was shown, and the deed. The deed is written into the
//! table `audit` before and after it, and ends with its page, so that a reload repeats nothing.

mod check_key;
mod confirm;
mod doctor;
mod form;
mod letters;
mod outcome;
mod pauses;
mod preview;
mod project;
mod replay;
mod task;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use shared::ledger::{Deed, DeedState, LedgerError};
use shared::postgres::lacks_right;
use uuid::Uuid;

use super::address::Prefix;
use super::app::App;
use super::deeds::{CALLING, LONGEST};
use super::times::Moment;
use crate::error::CommandError;
use confirm::refused;
use form::Form;
use outcome::Outcome;
use task::{Start, start};

/// What calls a user's host: one at a time, over all replicas.
const ALONE: [&str; 2] = ["check_key", "doctor"];
/// After so long the browser goes to the deed's page, which shows the rest.
const SOON: Duration = Duration::from_secs(5);

/// What is to be done, to which project and to what.
#[derive(Clone, Debug)]
struct Order {
    action: &'static str,
    project: Option<String>,
    subjects: Vec<String>,
}

/// The addresses of the actions. They take forms only.
pub(super) fn router(prefix: &Prefix) -> Router<Arc<App>> {
    Router::new()
        .merge(pauses::routes(prefix))
        .merge(check_key::routes(prefix))
        .merge(replay::routes(prefix))
        .merge(letters::routes(prefix))
        .merge(doctor::routes(prefix))
}

/// Does what a form asks for, and answers with the way to the deed's page. It is done also when the
/// browser goes away meanwhile.
async fn perform<F>(app: &Arc<App>, form: &Form, order: Order, deed: F) -> Response
where
    F: Future<Output = Result<Outcome, CommandError>> + Send + 'static,
{
    let row = Deed {
        address: form.address.clone(),
        action: order.action,
        project_id: order.project,
        subjects: order.subjects,
        once: form.once().unwrap_or_else(Uuid::new_v4),
    };
    let is_alone = ALONE.contains(&order.action);
    let limit = if is_alone { CALLING } else { LONGEST };
    let started = start(&form.operator, row, limit, deed);
    match started.begun.await {
        Ok(Start::Begun(id)) => {
            let _ = tokio::time::timeout(SOON, started.ended).await;
            see(app, id)
        }
        Ok(Start::Before(id)) => see(app, id),
        Ok(Start::Busy) => busy(app, form).await,
        Ok(Start::NotBegun(error)) => not_begun(app, &error),
        Err(_) => broken(app),
    }
}

/// To the deed's page.
fn see(app: &App, id: i64) -> Response {
    let to = [(header::LOCATION, app.prefix.action(id))];
    (StatusCode::SEE_OTHER, to).into_response()
}

/// Nothing is done that cannot be written down.
fn not_begun(app: &App, error: &LedgerError) -> Response {
    tracing::warn!(%error, "an action of the console was not begun");
    let why = format!(
        "Nothing was done, because it could not be written down first. {error}.{}",
        mend(error)
    );
    refused(app, StatusCode::SERVICE_UNAVAILABLE, "Nothing was done", &why)
}

/// What helps where a row could not be written. PURE.
fn mend(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::Sql(cause) if lacks_right(cause) => {
            " The console's role must be allowed to: deploy/sql/operator.sql makes one that is."
        }
        // There is no such table, or it lacks a column.
        LedgerError::Sql(sqlx::Error::Database(cause))
            if matches!(cause.code().as_deref(), Some("42P01" | "42703")) =>
        {
            " The ledger is older than this program: run `producer migrate`."
        }
        _ => "",
    }
}

/// The task of a deed broke before it began: a fault of ours, which is in the log.
fn broken(app: &App) -> Response {
    let why = "Nothing was done, by a fault of the console. Its log says more.";
    refused(app, StatusCode::INTERNAL_SERVER_ERROR, "Nothing was done", why)
}

/// Another one calls a user's host.
async fn busy(app: &App, form: &Form) -> Response {
    let ledger = &form.operator.ledger;
    let known = tokio::try_join!(ledger.now(), ledger.audit_newest(20, 1, None));
    let running = known.ok().and_then(|(now, rows)| {
        let running =
            |row: &shared::ledger::AuditRow| row.state == DeedState::Begun && ALONE.contains(&row.action.as_str());
        let row = rows.into_iter().find(running)?;
        Some(format!(", since {} UTC", Moment::new(now, row.at).text))
    });
    let why = format!(
        "Nothing was done: one check that calls a host is running{}, and they run one at a time. Try again in a minute.",
        running.unwrap_or_default()
    );
    refused(app, StatusCode::CONFLICT, "One is running", &why)
}
