//! Looks into the queue. For that all messages are taken out and put back at once, so it is written
//! down as everything is that people do.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use shared::ledger::{Deed, Noted};

use super::super::confirm::refused;
use super::super::form::Form;
use super::super::outcome::Outcome;
use super::super::{end, not_begun};
use crate::console::app::App;
use crate::dead_letters::{self, Looked};
use crate::error::CommandError;
use crate::output::count;

/// How long it may take. Without an end the messages are put back as the connection ends.
const LIMIT: Duration = Duration::from_secs(60);

/// What lies in the queue; or the page that says why that is not known.
pub(super) async fn look(
    app: &App,
    form: &Form,
    action: &'static str,
    subjects: Vec<String>,
) -> Result<Looked, Response> {
    let row = Deed {
        address: form.address.clone(),
        action,
        project_id: None,
        subjects,
        once: None,
    };
    let begun = form.operator.ledger.audit_begin(&row).await;
    let id = match begun {
        Ok(Noted::Begun(id) | Noted::Before(id)) => id,
        Err(error) => return Err(not_begun(app, &error)),
    };
    let operator = Arc::clone(&form.operator);
    // Of its own, so that it ends in good order also when the browser has gone away.
    let task = tokio::spawn(async move {
        let _place = operator.place().await;
        let looking = dead_letters::look(&operator.ledger, &operator.broker);
        let looked = match tokio::time::timeout(LIMIT, looking).await {
            Ok(looked) => looked,
            Err(_) => Err(CommandError::refused(format!(
                "the dead letters could not be read within {} s",
                LIMIT.as_secs()
            ))),
        };
        let outcome = match &looked {
            Ok(looked) => {
                let number = looked.letters.iter().filter(|letter| letter.tag.is_some()).count();
                Outcome::done(format!("{} put back.", count(number, "message"))).count("looked at", number)
            }
            Err(error) => Outcome::failed(error.to_string()),
        };
        end(&operator, id, &row, &outcome).await;
        looked
    });
    let why = match task.await {
        Ok(Ok(looked)) => return Ok(looked),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let why = format!("The dead letters are as they were: {why}");
    let title = "The queue was not looked into";
    Err(refused(app, StatusCode::SERVICE_UNAVAILABLE, title, &why))
}
