//! A dead letter as `--json` writes it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::ledger::State;

use crate::dead_letters::DeadLetter;
use crate::output::base64;

/// What `--json` writes of a dead letter.
#[derive(Serialize)]
pub(super) struct View<'a> {
    id: &'a str,
    project_id: Option<&'a str>,
    day: Option<String>,
    run: Option<&'a str>,
    error_code: Option<&'a str>,
    error: Option<&'a str>,
    attempt: Option<i32>,
    first_failed_at: Option<DateTime<Utc>>,
    /// `None`: nobody looked
    pub(super) in_queue: Option<bool>,
    state: Option<State>,
    #[serde(flatten)]
    body: Body,
}

impl<'a> View<'a> {
    pub(super) fn of(letter: &'a DeadLetter) -> Self {
        Self {
            id: &letter.id,
            project_id: letter.message.as_ref().map(|message| message.project_id.as_str()),
            day: letter.message.as_ref().map(|message| message.day.to_string()),
            run: letter.message.as_ref().and_then(|message| message.run.as_deref()),
            error_code: letter.error_code.as_deref(),
            error: letter.error(),
            attempt: letter.attempt(),
            first_failed_at: letter.first_failed_at(),
            in_queue: Some(letter.tag.is_some()),
            state: letter.ledger.as_ref().map(|row| row.state),
            body: Body::of(&letter.body),
        }
    }
}

/// A message's body in JSON, always a whole copy.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    /// The body as text. In one that is not UTF-8, the bytes that are no text are replaced
    body: String,
    /// Only of such a body: all its bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl Body {
    pub(super) fn of(body: &[u8]) -> Self {
        Self {
            body: String::from_utf8_lossy(body).into_owned(),
            body_base64: std::str::from_utf8(body).is_err().then(|| base64(body)),
        }
    }
}
