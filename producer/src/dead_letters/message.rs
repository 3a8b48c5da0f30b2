//! A message of the dead-letter queue, and how much of it is kept while all of them are held.

use std::collections::BTreeMap;

use chrono::DateTime;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use shared::headers::Headers;
use shared::job::RunKey;
use shared::message::Message;

/// Characters that are kept of a failure's word and of its text, of a message that nobody named.
/// Anybody who may publish writes headers of any length.
const LONGEST_CODE: usize = 100;
const LONGEST_ERROR: usize = 1_000;

/// Of which messages the body and all headers are kept. A queue of 65,535 messages, each with the
/// broker's own history of it, takes hundreds of MB.
#[derive(Debug)]
pub(crate) enum Keep<'a> {
    /// Of all of them
    All,
    /// Of those with these ids; the runs that are named by them
    Named(BTreeMap<&'a str, Option<&'a RunKey>>),
}

impl Keep<'_> {
    /// Whether all of a message is kept. PURE.
    pub(crate) fn is_whole(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(named) => named.contains_key(id),
        }
    }
}

/// A message of the queue.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) tag: u64,
    /// The run's, or one made from the body
    pub(crate) id: String,
    /// `None` for a body that is no job
    pub(crate) message: Option<Message>,
    /// Empty, where it is not kept
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Headers,
    /// All headers, the broker's own included; empty, where they are not kept
    pub(crate) raw_headers: Map<String, Value>,
    /// Why the broker itself put it here, if it did: `delivery_limit`
    pub(crate) broker_reason: Option<String>,
}

impl Letter {
    /// What is kept of a message that came.
    pub(super) fn of(delivery: Delivery, keep: &Keep<'_>) -> Self {
        let table = delivery.properties.headers().as_ref();
        Self::read(delivery.delivery_tag, delivery.data, table, keep)
    }

    /// PURE.
    fn read(tag: u64, body: Vec<u8>, table: Option<&FieldTable>, keep: &Keep<'_>) -> Self {
        let message = Message::decode(&body).ok();
        let key = message.as_ref().and_then(Message::key);
        let id = key.map_or_else(|| raw_id(&body), |key| key.to_string());
        let is_whole = keep.is_whole(&id);
        let mut headers = Headers::from_table(table);
        headers.first_failed_at = headers.first_failed_at.or_else(|| first_death(table?));
        let mut broker_reason = table.and_then(last_reason);
        if !is_whole {
            cut(&mut headers.error, LONGEST_ERROR);
            cut(&mut headers.error_code, LONGEST_CODE);
            cut(&mut broker_reason, LONGEST_CODE);
        }
        Self {
            tag,
            id,
            message,
            body: if is_whole { body } else { Vec::new() },
            headers,
            raw_headers: table.filter(|_| is_whole).map(plain_table).unwrap_or_default(),
            broker_reason,
        }
    }
}

/// A copy of the first characters, so that the rest of a long text is not held.
fn cut(text: &mut Option<String>, longest: usize) {
    if let Some(long) = text.as_ref().filter(|text| text.len() > longest) {
        *text = Some(long.chars().take(longest).collect());
    }
}

/// An id made from the body: the same body always has the same id.
fn raw_id(body: &[u8]) -> String {
    format!("raw/{}", hex::encode(&Sha256::digest(body)[..6]))
}

fn plain_table(table: &FieldTable) -> Map<String, Value> {
    let entries = table.inner().iter();
    entries.map(|(name, value)| (name.to_string(), plain(value))).collect()
}

/// A header's value as JSON, for people.
///
/// `testkit/src/messages.rs` holds nearly the same code, on purpose: the testkit uses no product
/// code, so that a mistake here cannot hide behind the same mistake in the tests.
fn plain(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::ShortString(value) => json!(value.as_str()),
        AMQPValue::LongString(value) => json!(String::from_utf8_lossy(value.as_bytes())),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(plain).collect(),
        AMQPValue::FieldTable(value) => Value::Object(plain_table(value)),
        AMQPValue::DecimalValue(_) | AMQPValue::ByteArray(_) | AMQPValue::Void => Value::Null,
    }
}

fn text(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::LongString(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Why the broker moved the message here. A message that was on a rung also has the reason
/// `expired`, which is not meant.
fn last_reason(table: &FieldTable) -> Option<String> {
    let reasons: Vec<String> = deaths(table).filter_map(|death| text(death, "reason")).collect();
    reasons.into_iter().find(|reason| reason != "expired")
}

/// When the broker first moved the message to the dead letters or off a rung.
fn first_death(table: &FieldTable) -> Option<DateTime<chrono::Utc>> {
    let times = deaths(table).filter_map(|death| match death.inner().get("time")? {
        AMQPValue::Timestamp(seconds) => i64::try_from(*seconds).ok(),
        _ => None,
    });
    DateTime::from_timestamp(times.min()?, 0)
}

/// The broker's own history of a message, newest first.
fn deaths(table: &FieldTable) -> impl Iterator<Item = &FieldTable> {
    let entries = match table.inner().get("x-death") {
        Some(AMQPValue::FieldArray(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter_map(|entry| match entry {
        AMQPValue::FieldTable(death) => Some(death),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_message_that_nobody_named_little_is_kept() {
        let mut table = FieldTable::default();
        for (name, value) in [
            ("x-error-code", "internal".to_owned()),
            ("x-error", "e".repeat(100_000)),
            ("x-first-failed-at", "2024-06-02T01:00:00.000Z".to_owned()),
            ("another", "a".repeat(100_000)),
        ] {
            table.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let body = "no job ".repeat(10_000).into_bytes();
        let all = Letter::read(1, body.clone(), Some(&table), &Keep::All);
        assert_eq!((all.body.len(), all.raw_headers.len()), (body.len(), 4));
        assert_eq!(all.headers.error.as_ref().map(String::len), Some(100_000));

        let other = Keep::Named(BTreeMap::from([("raw/000000000000", None)]));
        let little = Letter::read(1, body.clone(), Some(&table), &other);
        assert_eq!((little.body.capacity(), little.raw_headers.len()), (0, 0));
        assert_eq!(little.headers.error.as_ref().map(String::len), Some(LONGEST_ERROR));
        // What lists and confirmations are made of is the same.
        assert_eq!(
            (&little.id, &little.headers.error_code, little.headers.first_failed_at),
            (&all.id, &all.headers.error_code, all.headers.first_failed_at)
        );

        let named = Keep::Named(BTreeMap::from([(all.id.as_str(), None)]));
        let whole = Letter::read(1, body.clone(), Some(&table), &named);
        assert_eq!((whole.body, whole.raw_headers.len()), (body, 4));
    }
}
