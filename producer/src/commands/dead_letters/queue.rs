//! Holds the messages of the dead-letter queue without acking them while a command looks at them.
//! If this process dies, the broker puts back what was not acked, in the old order.

use std::collections::BTreeSet;

use chrono::DateTime;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};
use shared::amqp::{AmqpError, CONNECT_TIMEOUT, within};
use shared::headers::Headers;
use shared::topology::DEAD_LETTER_QUEUE;

use crate::error::CommandError;
use crate::output::progress;
use crate::servers::Broker;

/// How many messages are held in memory at once. The next call looks at the rest.
const LIMIT: u32 = 100_000;
/// A quorum queue takes 32 commands of a channel at once. Further ones wait in the channel and are
/// lost when it closes.
const ACKS_AT_ONCE: usize = 16;

/// A message of the queue.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) tag: u64,
    pub(super) body: Vec<u8>,
    pub(super) headers: Headers,
    /// All headers, the broker's own included
    pub(super) raw_headers: Map<String, Value>,
    /// Why the broker itself put it here, if it did: `delivery_limit`
    pub(super) broker_reason: Option<String>,
}

/// The channel on which the messages are held.
#[derive(Debug)]
pub(super) struct HeldLetters {
    channel: Channel,
    /// The messages that are neither removed nor given back
    tags: BTreeSet<u64>,
    /// How many acks were sent since the queue last answered
    removed: usize,
}

impl HeldLetters {
    /// Takes what is in the queue now. Messages that arrive meanwhile stay there.
    pub(super) async fn take_all(broker: &Broker) -> Result<(Self, Vec<Letter>), CommandError> {
        let Some(depth) = broker.depth(DEAD_LETTER_QUEUE).await? else {
            return Err(CommandError::NoQueue(DEAD_LETTER_QUEUE));
        };
        if depth > LIMIT {
            tracing::warn!(depth, "only the first {LIMIT} dead letters are looked at");
        }
        let mut held = Self {
            channel: broker.channel().await?,
            tags: BTreeSet::new(),
            removed: 0,
        };
        let mut letters = Vec::new();
        let bar = progress("reading dead letters", usize::try_from(depth.min(LIMIT)).unwrap_or(0));
        for _ in 0..depth.min(LIMIT) {
            let Some(delivery) = held.get().await? else { break };
            letters.push(Letter::of(delivery));
            bar.inc(1);
        }
        bar.finish_and_clear();
        tracing::debug!(depth, taken = letters.len(), "dead letters are held");
        Ok((held, letters))
    }

    async fn get(&mut self) -> Result<Option<Delivery>, AmqpError> {
        let options = BasicGetOptions::default();
        let got = within(
            CONNECT_TIMEOUT,
            self.channel.basic_get(DEAD_LETTER_QUEUE.into(), options),
        )
        .await?;
        let delivery = got.map(|message| message.delivery);
        self.tags
            .extend(delivery.as_ref().map(|delivery| delivery.delivery_tag));
        Ok(delivery)
    }

    /// Removes a message for good.
    pub(super) async fn remove(&mut self, tag: u64) -> Result<(), AmqpError> {
        within(CONNECT_TIMEOUT, self.channel.basic_ack(tag, BasicAckOptions::default())).await?;
        self.tags.remove(&tag);
        self.removed += 1;
        if self.removed >= ACKS_AT_ONCE {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until the queue has carried out the acks. An ack has no answer, but a get has one, and
    /// the queue deals with both in their order. A message that this get returns is held like the
    /// rest.
    async fn settle(&mut self) -> Result<(), AmqpError> {
        self.get().await?;
        self.removed = 0;
        Ok(())
    }

    /// Gives back what was not removed. It does not just close the channel, because RabbitMQ 4
    /// counts that as a failed delivery of each message.
    pub(super) async fn give_back(mut self) -> Result<(), AmqpError> {
        if self.removed > 0 {
            self.settle().await?;
        }
        if let Some(last) = self.tags.last() {
            let all = BasicNackOptions {
                multiple: true,
                requeue: true,
            };
            within(CONNECT_TIMEOUT, self.channel.basic_nack(*last, all)).await?;
        }
        within(CONNECT_TIMEOUT, self.channel.close(200, "done".into())).await
    }
}

impl Letter {
    fn of(delivery: Delivery) -> Self {
        let table = delivery.properties.headers().as_ref();
        let mut headers = Headers::from_table(table);
        headers.first_failed_at = headers.first_failed_at.or_else(|| first_death(table?));
        Self {
            tag: delivery.delivery_tag,
            headers,
            raw_headers: table.map(plain_table).unwrap_or_default(),
            broker_reason: table.and_then(last_reason),
            body: delivery.data,
        }
    }
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
