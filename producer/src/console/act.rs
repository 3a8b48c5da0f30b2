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

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use shared::ledger::{Deed, DeedState, LedgerError, Lock, Noted};

use super::address::Prefix;
use super::app::App;
use super::operator::Operator;
use super::times::Moment;
use crate::error::CommandError;
use confirm::refused;
use form::Form;
use outcome::Outcome;

/// What calls a user's host: one at a time, over all replicas.
const ALONE: [&str; 2] = ["check_key", "doctor"];
/// How long that may take.
const CALLING: Duration = Duration::from_secs(60);
/// How long everything else may take.
const LONGEST: Duration = Duration::from_secs(600);
/// After so long the browser goes to the deed's page, which shows the rest.
const SOON: Duration = Duration::from_secs(5);
/// How often the end of a deed is written, where the ledger does not answer.
const TRIES: u32 = 5;

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
    let ledger = &form.operator.ledger;
    // Somebody who clicks twice sees what came of the first click.
    match form.once().map(async |once| ledger.audit_before(once).await) {
        None => {}
        Some(before) => match before.await {
            Ok(Some(id)) => return see(app, id),
            Ok(None) => {}
            Err(error) => return not_begun(app, &error),
        },
    }
    let lock = if ALONE.contains(&order.action) {
        match ledger.try_lock("console_calls").await {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return busy(app, form).await,
            Err(error) => return not_begun(app, &error),
        }
    } else {
        None
    };
    let row = Deed {
        address: form.address.clone(),
        action: order.action,
        project_id: order.project,
        subjects: order.subjects,
        once: form.once(),
    };
    match ledger.audit_begin(&row).await {
        Err(error) => not_begun(app, &error),
        Ok(Noted::Before(id)) => see(app, id),
        Ok(Noted::Begun(id)) => {
            let operator = Arc::clone(&form.operator);
            let task = tokio::spawn(async move { carry_out(&operator, id, &row, lock, deed).await });
            let _ = tokio::time::timeout(SOON, task).await;
            see(app, id)
        }
    }
}

async fn carry_out(
    operator: &Operator,
    id: i64,
    row: &Deed,
    lock: Option<Lock>,
    deed: impl Future<Output = Result<Outcome, CommandError>>,
) {
    let limit = if lock.is_some() { CALLING } else { LONGEST };
    // Kept until the end is written: a console that ends waits for it.
    let place = operator.place().await;
    let outcome = if place.is_some() {
        within(limit, deed).await
    } else {
        Outcome::failed("Nothing was done: the console was ending.")
    };
    end(operator, id, row, &outcome).await;
    drop((place, lock));
}

async fn within(limit: Duration, deed: impl Future<Output = Result<Outcome, CommandError>>) -> Outcome {
    match tokio::time::timeout(limit, deed).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::failed(error.to_string()),
        Err(_) => Outcome::failed(format!(
            "It took longer than {} s and was given up. What was done by then stays done.",
            limit.as_secs()
        )),
    }
}

/// Writes the end into the ledger and the log.
async fn end(operator: &Operator, id: i64, row: &Deed, outcome: &Outcome) {
    let state = if outcome.worked {
        DeedState::Done
    } else {
        DeedState::Failed
    };
    tracing::info!(
        audit = id,
        address = row.address,
        action = row.action,
        project = row.project_id,
        subjects = row.subjects.len(),
        state = state.as_str(),
        says = outcome.result.says,
        counts = ?outcome.result.counts,
        "an action of the console ended"
    );
    for attempt in 1..=TRIES {
        match operator.ledger.audit_end(id, state, &outcome.result).await {
            Ok(()) => return,
            Err(error) if attempt == TRIES => {
                tracing::error!(audit = id, %error, "how an action of the console ended could not be written");
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(2)).await,
        }
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
        "Nothing was done, because it could not be written down first. {error}. The console's role must be allowed to: \
         deploy/sql/operator.sql makes one that is."
    );
    refused(app, StatusCode::SERVICE_UNAVAILABLE, "Nothing was done", &why)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deed_that_takes_too_long_is_given_up_and_an_error_is_its_end() {
        let slow = within(Duration::from_millis(1), std::future::pending()).await;
        assert!(!slow.worked && slow.result.says.contains("given up"), "{slow:?}");
        let refused = async { Err(CommandError::refused("the queue is away")) };
        let refused = within(Duration::from_secs(60), refused).await;
        assert!(
            !refused.worked && refused.result.says == "the queue is away",
            "{refused:?}"
        );
        assert_eq!(CALLING, Duration::from_secs(60));
    }
}
