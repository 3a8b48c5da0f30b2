//! A dead letter: the queue's message together with the ledger's row.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared::headers::Headers;
use shared::ledger::{RunRow, State};
use shared::message::Message;

use super::queue::Letter;
use crate::output::base64;

/// A message of the dead-letter queue, or a dead run of the ledger whose message is gone.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) id: String,
    /// `None` for a body that is no job
    pub(super) message: Option<Message>,
    pub(super) body: Vec<u8>,
    pub(super) headers: Headers,
    /// Every header of the message
    pub(super) raw_headers: Map<String, Value>,
    pub(super) error_code: Option<String>,
    /// The broker gave the message up, not a worker
    pub(super) by_broker: bool,
    pub(super) ledger: Option<RunRow>,
    /// The delivery tag on our channel; `None` when it is not in the queue
    pub(super) tag: Option<u64>,
}

impl DeadLetter {
    pub(super) fn of_message(letter: Letter, rows: &BTreeMap<String, RunRow>) -> Self {
        let message = Message::decode(&letter.body).ok();
        let key = message.as_ref().and_then(Message::key);
        let row = key.as_ref().and_then(|key| rows.get(&key.to_string())).cloned();
        let by_ledger = || row.as_ref().filter(|row| row.state == State::Dead)?.error_code.clone();
        Self {
            id: key.map_or_else(|| raw_id(&letter.body), |key| key.to_string()),
            by_broker: letter.broker_reason.is_some(),
            // The broker's reason comes first: our header may still hold the failure that put the
            // job on a rung.
            error_code: letter
                .broker_reason
                .or_else(|| letter.headers.error_code.clone())
                .or_else(by_ledger),
            message,
            body: letter.body,
            headers: letter.headers,
            raw_headers: letter.raw_headers,
            ledger: row,
            tag: Some(letter.tag),
        }
    }

    /// The message is gone; the job is made from the row.
    pub(super) fn of_row(row: &RunRow) -> Self {
        let message = Message::from(&row.job());
        Self {
            id: row.key().to_string(),
            body: message.encode(),
            message: Some(message),
            headers: Headers::default(),
            raw_headers: Map::new(),
            by_broker: false,
            error_code: row.error_code.clone(),
            ledger: Some(row.clone()),
            tag: None,
        }
    }

    pub(super) fn error(&self) -> Option<&str> {
        let by_ledger = || self.ledger.as_ref()?.error.as_deref();
        self.headers.error.as_deref().or_else(by_ledger)
    }

    pub(super) fn attempt(&self) -> Option<i32> {
        self.headers.attempt.or_else(|| Some(self.ledger.as_ref()?.attempt))
    }

    pub(super) fn first_failed_at(&self) -> Option<DateTime<Utc>> {
        let by_ledger = || self.ledger.as_ref()?.first_failed_at;
        self.headers.first_failed_at.or_else(by_ledger)
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            id: &self.id,
            project_id: self.message.as_ref().map(|message| message.project_id.as_str()),
            day: self.message.as_ref().map(|message| message.day.to_string()),
            run: self.message.as_ref().and_then(|message| message.run.as_deref()),
            error_code: self.error_code.as_deref(),
            error: self.error(),
            attempt: self.attempt(),
            first_failed_at: self.first_failed_at(),
            in_queue: Some(self.tag.is_some()),
            state: self.ledger.as_ref().map(|row| row.state),
            body: Body::of(&self.body),
        }
    }
}

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

/// An id made from the body: the same body always has the same id.
fn raw_id(body: &[u8]) -> String {
    format!("raw/{}", hex::encode(&Sha256::digest(body)[..6]))
}
