//! A dead letter: the queue's message together with the ledger's row.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use shared::headers::Headers;
use shared::ledger::{RunRow, State};
use shared::message::Message;

use super::message::Letter;

/// A message of the dead-letter queue, or a dead run of the ledger whose message is gone.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    /// `None` for a body that is no job
    pub(crate) message: Option<Message>,
    /// Empty, where it is not kept: [`super::message::Keep`]
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Headers,
    /// Every header of the message; none, where they are not kept
    pub(crate) raw_headers: Map<String, Value>,
    pub(crate) error_code: Option<String>,
    /// The broker gave the message up, not a worker
    pub(crate) by_broker: bool,
    pub(crate) ledger: Option<RunRow>,
    /// The delivery tag on our channel; `None` when it is not in the queue
    pub(crate) tag: Option<u64>,
}

impl DeadLetter {
    pub(crate) fn of_message(letter: Letter, rows: &BTreeMap<String, RunRow>) -> Self {
        let key = letter.message.as_ref().and_then(Message::key);
        let row = key.as_ref().and_then(|key| rows.get(&key.to_string())).cloned();
        let by_ledger = || row.as_ref().filter(|row| row.state == State::Dead)?.error_code.clone();
        Self {
            id: letter.id,
            by_broker: letter.broker_reason.is_some(),
            // The broker's reason comes first: our header may still hold the failure that put the
            // job on a rung.
            error_code: letter
                .broker_reason
                .or_else(|| letter.headers.error_code.clone())
                .or_else(by_ledger),
            message: letter.message,
            body: letter.body,
            headers: letter.headers,
            raw_headers: letter.raw_headers,
            ledger: row,
            tag: Some(letter.tag),
        }
    }

    /// The message is gone; the job is made from the row.
    pub(crate) fn of_row(row: &RunRow) -> Self {
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

    /// Whether the ledger has its run as dead.
    pub(crate) fn is_dead_run(&self) -> bool {
        self.ledger.as_ref().is_some_and(|row| row.state == State::Dead)
    }

    pub(crate) fn error(&self) -> Option<&str> {
        let by_ledger = || self.ledger.as_ref()?.error.as_deref();
        self.headers.error.as_deref().or_else(by_ledger)
    }

    pub(crate) fn attempt(&self) -> Option<i32> {
        self.headers.attempt.or_else(|| Some(self.ledger.as_ref()?.attempt))
    }

    pub(crate) fn first_failed_at(&self) -> Option<DateTime<Utc>> {
        let by_ledger = || self.ledger.as_ref()?.first_failed_at;
        self.headers.first_failed_at.or_else(by_ledger)
    }
}
