//! The AMQP headers of our messages.

use chrono::{DateTime, SecondsFormat, Utc};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use crate::trace::Traceparent;

/// Characters of an error text in a header.
const LONGEST_ERROR: usize = 1_000;

/// The headers that we publish. They only inform, but for `unrecorded`: all other decisions are made
/// by the ledger. The broker's own headers (`x-death` and others) are never copied, because RabbitMQ
/// 3 would continue their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The attempt that failed.
    pub attempt: Option<i32>,
    /// [`crate::error_code::ErrorCode`] as text.
    pub error_code: Option<String>,
    /// The reason, one line for people.
    pub error: Option<String>,
    /// When the job failed first.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// W3C trace context, published again unchanged. One that is not valid counts as absent.
    pub traceparent: Option<Traceparent>,
    /// Which slice of its run the message is for; the first is 1.
    pub slice: Option<i32>,
    /// How many failures, other than outages, the ledger did not record since it last recorded
    /// anything of this job: those before the claim, and those whose statement it refused.
    pub unrecorded: Option<i32>,
}

/// How many deliveries of a message have ended without an ack, as the broker counts them.
pub fn delivery_count(table: Option<&FieldTable>) -> i64 {
    match table.and_then(|table| table.inner().get("x-delivery-count")) {
        Some(AMQPValue::LongLongInt(count)) => *count,
        Some(AMQPValue::LongInt(count)) => i64::from(*count),
        Some(AMQPValue::LongUInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortUInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortShortInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortShortUInt(count)) => i64::from(*count),
        _ => 0,
    }
}

impl Headers {
    /// The headers of a new job, which begins a trace.
    pub fn fresh() -> Self {
        Self {
            traceparent: Some(Traceparent::fresh()),
            ..Self::default()
        }
    }

    /// Reads the headers that are there. One of an unexpected type counts as absent.
    pub fn from_table(table: Option<&FieldTable>) -> Self {
        let get = |name: &str| table.and_then(|t| t.inner().get(name));
        let text = |name: &str| match get(name)? {
            AMQPValue::LongString(s) => Some(String::from_utf8_lossy(s.as_bytes()).into_owned()),
            AMQPValue::ShortString(s) => Some(s.to_string()),
            _ => None,
        };
        let number = |name: &str| match get(name)? {
            AMQPValue::LongInt(n) => Some(*n),
            AMQPValue::LongLongInt(n) => i32::try_from(*n).ok(),
            _ => None,
        };
        Self {
            attempt: number("x-attempt"),
            error_code: text("x-error-code"),
            error: text("x-error"),
            first_failed_at: text("x-first-failed-at")
                .and_then(|t| DateTime::parse_from_rfc3339(&t).ok())
                .map(|t| t.to_utc()),
            traceparent: text("traceparent").and_then(|text| text.parse().ok()),
            slice: number("x-slice"),
            unrecorded: number("x-unrecorded"),
        }
    }

    /// The table to publish with.
    pub fn to_table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                table.insert(ShortString::from(name), AMQPValue::LongString(LongString::from(value)));
            }
        };
        put("x-error-code", self.error_code.clone());
        // Headers must fit into one frame: the broker closes the connection of a client that sends
        // a larger one. The ledger has the whole text.
        put(
            "x-error",
            self.error
                .as_ref()
                .map(|text| text.chars().take(LONGEST_ERROR).collect()),
        );
        put(
            "x-first-failed-at",
            self.first_failed_at
                .map(|t| t.to_rfc3339_opts(SecondsFormat::Millis, true)),
        );
        put("traceparent", self.traceparent.as_ref().map(ToString::to_string));
        for (name, number) in [
            ("x-attempt", self.attempt),
            ("x-slice", self.slice),
            ("x-unrecorded", self.unrecorded),
        ] {
            if let Some(number) = number {
                table.insert(ShortString::from(name), AMQPValue::LongInt(number));
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_survive_the_broker() {
        let headers = Headers {
            attempt: Some(3),
            error_code: Some("unauthorized".into()),
            error: Some("ключ".into()),
            first_failed_at: DateTime::from_timestamp_millis(1_717_200_000_123),
            traceparent: Some(Traceparent::fresh()),
            slice: Some(2),
            unrecorded: Some(4),
        };
        assert_eq!(Headers::from_table(Some(&headers.to_table())), headers);
        assert_eq!(Headers::from_table(None), Headers::default());
    }

    proptest! {
        /// Headers come from anybody who may publish.
        #[test]
        fn any_headers_are_read(text in any::<Vec<u8>>(), number in any::<i64>(), form in 0..5) {
            let value = || match form {
                0 => AMQPValue::LongString(LongString::from(text.clone())),
                1 => AMQPValue::LongLongInt(number),
                2 => AMQPValue::Boolean(number > 0),
                3 => AMQPValue::Timestamp(number.unsigned_abs()),
                _ => AMQPValue::Void,
            };
            let mut table = FieldTable::default();
            for name in ["x-attempt", "x-error-code", "x-error", "x-first-failed-at", "traceparent", "x-death"] {
                table.insert(ShortString::from(name), value());
            }
            let read = Headers::from_table(Some(&table));
            prop_assert_eq!(Headers::from_table(Some(&read.to_table())), read);
        }
    }
}
