//! What PostHog's capture endpoint does with a body, without the network: decode, parse, refuse.

use std::io::Read;

use chrono::{DateTime, Duration, Utc};
use flate2::read::GzDecoder;
use serde_json::{Map, Value};
use uuid::Uuid;

/// Most bytes of a request on the wire.
pub(super) const WIRE_LIMIT: usize = 20 * 1024 * 1024;
/// Most bytes of a body once decompressed.
const BODY_LIMIT: u64 = 100 * 1024 * 1024;
/// Most bytes of one event, counted as [`envelope_size`] does.
const EVENT_LIMIT: usize = 1_000_000;
/// Bytes PostHog wraps around each event on its way inside.
const ENVELOPE_BYTES: usize = 220;
/// Characters of a distinct id that are kept.
const DISTINCT_ID_CHARS: usize = 200;

const NO_VARIANT: &str = "failed to parse request: data did not match any variant of untagged enum RawRequest";
const TOO_BIG: &str = "maximum event size exceeded";

/// An answer other than success.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
}

/// A body that could be read.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) key: String,
    pub(super) events: Vec<Value>,
    pub(super) sent_at: bool,
    pub(super) historical_migration: bool,
}

/// An event as it is stored.
pub(super) struct Stored {
    pub(super) uuid: Uuid,
    pub(super) event: String,
    pub(super) distinct_id: String,
    pub(super) time: DateTime<Utc>,
    /// The Langfuse project, as a query has it: its JSON without the quotes.
    pub(super) project: Option<String>,
    pub(super) text: String,
}

fn bad(text: &str) -> Refusal {
    Refusal {
        status: 400,
        text: text.to_owned(),
    }
}

/// Whether this is the content type without which PostHog reads a body as a form.
pub(super) fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|given| given.split(';').next().unwrap_or_default().trim() == "application/json")
}

/// The text of a body: gzip is known by its first two bytes, whatever the headers say.
pub(super) fn decode(wire: &[u8]) -> Result<String, Refusal> {
    let undecodable = || bad("failed to decode request: invalid gzip data");
    let mut plain = Vec::new();
    if wire.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(wire)
            .take(BODY_LIMIT + 1)
            .read_to_end(&mut plain)
            .map_err(|_| undecodable())?;
        if plain.len() as u64 > BODY_LIMIT {
            return Err(bad(TOO_BIG));
        }
    } else {
        plain.extend_from_slice(wire);
    }
    String::from_utf8(plain).map_err(|_| undecodable())
}

/// Reads a body into its events; a type error in any of them refuses all of them.
pub(super) fn parse(text: &str) -> Result<Batch, Refusal> {
    let body: Value = text
        .parse()
        .map_err(|error| bad(&format!("failed to parse request: {error}")))?;
    let mut batch = match body {
        Value::Array(events) => Batch {
            key: key_of_events(&events)?,
            events,
            sent_at: false,
            historical_migration: false,
        },
        Value::Object(fields) if fields.contains_key("batch") => parse_batch(fields)?,
        Value::Object(event) => {
            let events = vec![Value::Object(event)];
            Batch {
                key: key_of_events(&events)?,
                events,
                sent_at: false,
                historical_migration: false,
            }
        }
        _ => return Err(bad(NO_VARIANT)),
    };
    if !batch.events.iter().all(has_the_right_types) {
        return Err(bad(NO_VARIANT));
    }
    batch.key = check_key_shape(&batch.key)?.to_owned();
    if batch.events.is_empty() {
        return Err(bad("request holds no event"));
    }
    Ok(batch)
}

fn parse_batch(mut fields: Map<String, Value>) -> Result<Batch, Refusal> {
    let Some(Value::Array(events)) = fields.remove("batch") else {
        return Err(bad(NO_VARIANT));
    };
    let Some(Value::String(key)) = fields.remove("api_key").or_else(|| fields.remove("token")) else {
        return Err(bad(NO_VARIANT));
    };
    let sent_at = match fields.get("sent_at") {
        None | Some(Value::Null) => false,
        Some(Value::String(_)) => true,
        Some(_) => return Err(bad(NO_VARIANT)),
    };
    let historical_migration = match fields.get("historical_migration") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(on)) => *on,
        Some(_) => return Err(bad(NO_VARIANT)),
    };
    Ok(Batch {
        key,
        events,
        sent_at,
        historical_migration,
    })
}

/// A bare array carries its key in the events.
fn key_of_events(events: &[Value]) -> Result<String, Refusal> {
    let mut keys = events.iter().filter_map(|event| {
        let own = event.get("api_key").or_else(|| event.get("token"));
        own.or_else(|| event.get("properties")?.get("token"))
            .and_then(Value::as_str)
    });
    let Some(first) = keys.next() else {
        return Err(Refusal {
            status: 401,
            text: "event submitted without an api_key".to_owned(),
        });
    };
    if keys.any(|other| other != first) {
        return Err(Refusal {
            status: 401,
            text: "API key is not valid: events of several projects".to_owned(),
        });
    }
    Ok(first.to_owned())
}

/// Whether a key looks like one; whether PostHog knows it is another question.
pub(super) fn check_key_shape(key: &str) -> Result<&str, Refusal> {
    let key = key.trim();
    let wrong = match key {
        "" => "empty",
        _ if key.len() > 64 => "too_long",
        _ if !key.is_ascii() => "not_ascii",
        _ if key.starts_with("phx_") => "personal_api_key",
        _ if key.contains('\0') => "null_byte",
        _ => return Ok(key),
    };
    Err(Refusal {
        status: 401,
        text: format!("API key is not valid: {wrong}"),
    })
}

fn has_the_right_types(event: &Value) -> bool {
    let Value::Object(fields) = event else { return false };
    let text_or_absent = |name: &str| matches!(fields.get(name), None | Some(Value::Null | Value::String(_)));
    let object_or_null = |name: &str| matches!(fields.get(name), None | Some(Value::Null | Value::Object(_)));
    fields.get("event").is_some_and(Value::is_string)
        && !(fields.contains_key("distinct_id") && fields.contains_key("$distinct_id"))
        && matches!(fields.get("properties"), None | Some(Value::Object(_)))
        && text_or_absent("timestamp")
        && object_or_null("$set")
        && object_or_null("$set_once")
        && fields
            .get("offset")
            .is_none_or(|offset| offset.is_null() || offset.is_i64())
        && match fields.get("uuid") {
            None | Some(Value::Null) => true,
            Some(Value::String(uuid)) => uuid.is_empty() || Uuid::parse_str(uuid).is_ok(),
            Some(_) => false,
        }
}

/// The events of a batch, as far as they can be taken.
pub(super) struct Checked {
    /// How many there were.
    pub(super) events: usize,
    /// Those to store.
    pub(super) acceptable: Vec<Stored>,
    /// Why not all of them are.
    pub(super) refusal: Option<Refusal>,
}

/// All events are checked before any is taken; then they are taken one after the other, until one
/// is too large.
pub(super) fn check(batch: Vec<Value>, now: DateTime<Utc>) -> Checked {
    let events = batch.len();
    if let Some(refusal) = batch.iter().find_map(|event| check_event(event).err()) {
        return Checked {
            events,
            acceptable: Vec::new(),
            refusal: Some(refusal),
        };
    }
    let acceptable: Vec<Stored> = batch.into_iter().map_while(|event| store(event, now)).collect();
    let refusal = (acceptable.len() < events).then(|| bad(TOO_BIG));
    Checked {
        events,
        acceptable,
        refusal,
    }
}

fn check_event(event: &Value) -> Result<(), Refusal> {
    if event.get("event").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(bad("event submitted with an empty event name"));
    }
    match distinct_id(event) {
        None => Err(bad("event submitted without a distinct_id")),
        Some(id) if id.trim().is_empty() => Err(bad("event submitted with an empty distinct_id")),
        Some(_) => Ok(()),
    }
}

fn distinct_id(event: &Value) -> Option<String> {
    let own = event.get("distinct_id").or_else(|| event.get("$distinct_id"));
    match own.or_else(|| event.get("properties")?.get("distinct_id"))? {
        Value::Null => None,
        Value::String(id) => Some(
            id.chars()
                .take(DISTINCT_ID_CHARS)
                .collect::<String>()
                .replace('\0', "\u{fffd}"),
        ),
        other => Some(other.to_string().chars().take(DISTINCT_ID_CHARS).collect()),
    }
}

/// The event as it is stored; `None` when it is too large to be taken.
fn store(mut event: Value, now: DateTime<Utc>) -> Option<Stored> {
    let text = event.to_string();
    if envelope_size(&text) > EVENT_LIMIT {
        return None;
    }
    let name = event["event"].as_str().unwrap_or_default().to_owned();
    let sent_id = event.get("distinct_id").and_then(Value::as_str).unwrap_or_default();
    let distinct_id = distinct_id(&event).unwrap_or_default();
    let given_uuid = event
        .get("uuid")
        .and_then(Value::as_str)
        .and_then(|uuid| Uuid::parse_str(uuid).ok());
    let uuid = given_uuid.unwrap_or_else(Uuid::new_v4);
    let time = event_time(event.get("timestamp").and_then(Value::as_str), now);
    let project = event["properties"].get("langfuse_project_id").and_then(as_queried);
    let unchanged = sent_id == distinct_id && given_uuid.is_some();
    let text = if unchanged {
        text
    } else {
        event["distinct_id"] = distinct_id.clone().into();
        if given_uuid.is_none() {
            event["uuid"] = uuid.to_string().into();
        }
        event.to_string()
    };
    Some(Stored {
        uuid,
        event: name,
        distinct_id,
        time,
        project,
        text,
    })
}

/// A property as PostHog hands it to queries: its JSON text, less a quote at each end.
fn as_queried(property: &Value) -> Option<String> {
    let json = property.to_string();
    let json = json.strip_prefix('"').unwrap_or(&json);
    let text = json.strip_suffix('"').unwrap_or(json);
    (!text.is_empty() && !property.is_null()).then(|| text.to_owned())
}

/// The time PostHog files an event under: what cannot be read, or is far in the future, is now.
fn event_time(timestamp: Option<&str>, now: DateTime<Utc>) -> DateTime<Utc> {
    timestamp
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| time.with_timezone(&Utc))
        .filter(|time| *time <= now + Duration::hours(23))
        .unwrap_or(now)
}

/// Bytes of an event as PostHog counts them: as a string inside another JSON text, in an envelope.
pub(super) fn envelope_size(event_json: &str) -> usize {
    let escaped = event_json.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    event_json.len() + escaped + ENVELOPE_BYTES
}
