//! Looks into the queue. For that all messages are taken out and put back at once, so it is written
//! down as everything is that people do.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use shared::ledger::Deed;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::confirm::refused;
use super::super::form::Form;
use super::super::outcome::Outcome;
use super::super::task::{Start, start};
use super::super::{broken, not_begun, see};
use crate::console::app::App;
use crate::dead_letters::{self, Looked, Named};
use crate::output::count;

/// How long it may take. Without an end the messages are put back as the connection ends.
const LIMIT: Duration = Duration::from_secs(60);

/// What lies in the queue; or the page that says why that is not known.
pub(super) async fn look(app: &App, form: &Form, action: &'static str, named: Vec<Named>) -> Result<Looked, Response> {
    let row = Deed {
        address: form.address.clone(),
        action,
        project_id: None,
        subjects: named.iter().map(|one| one.id.clone()).collect(),
        once: Uuid::new_v4(),
    };
    let operator = Arc::clone(&form.operator);
    let (say, hear) = oneshot::channel();
    let deed = async move {
        match dead_letters::look(&named, &operator.ledger, &operator.broker).await {
            Ok(looked) => {
                let number = looked.messages;
                let _ = say.send(Ok(looked));
                Ok(Outcome::done(format!("{} put back.", count(number, "message"))).count("looked at", number))
            }
            Err(error) => {
                let _ = say.send(Err(error.to_string()));
                // A look changes nothing, whatever became of it.
                Ok(Outcome::failed(error.to_string()))
            }
        }
    };
    let started = start(&form.operator, row, LIMIT, deed);
    let id = match started.begun.await {
        Ok(Start::Begun(id) | Start::Before(id)) => id,
        Ok(Start::NotBegun(error)) => return Err(not_begun(app, &error)),
        Ok(Start::Busy) | Err(_) => return Err(broken(app)),
    };
    let _ = started.ended.await;
    match hear.await {
        Ok(Ok(looked)) => Ok(looked),
        Ok(Err(error)) => {
            let why = format!("The dead letters are as they were: {error}");
            let title = "The queue was not looked into";
            Err(refused(app, StatusCode::SERVICE_UNAVAILABLE, title, &why))
        }
        // It had no place or no time: its page says which.
        Err(_) => Err(see(app, id)),
    }
}
