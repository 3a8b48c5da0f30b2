//! The messages of the dead-letter queue, held unacked while one looks at them. Whatever happens to this process, the broker
//! gives back what was not acked, in its order.

use chrono::DateTime;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable};
use shared::amqp::{AmqpError, CONNECT_TIMEOUT, within};
use shared::job::Headers;
use shared::topology::DEAD_LETTER_QUEUE;

use crate::error::CommandError;
use crate::output::progress;
use crate::servers::Broker;

/// More than that is not held in memory at once; the rest comes with the next call.
const LIMIT: u32 = 100_000;

/// A message of the queue.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) tag: u64,
    pub(super) body: Vec<u8>,
    pub(super) headers: Headers,
    /// Why the broker itself put it here, if it did: `delivery_limit`
    pub(super) broker_reason: Option<String>,
}

/// The channel on which the messages are held.
#[derive(Debug)]
pub(super) struct Held {
    channel: Channel,
}

impl Held {
    /// Takes what is in the queue now, and leaves what arrives meanwhile.
    pub(super) async fn take_all(broker: &Broker) -> Result<(Self, Vec<Letter>), CommandError> {
        let Some(depth) = broker.depth(DEAD_LETTER_QUEUE).await? else {
            return Err(CommandError::NoQueue(DEAD_LETTER_QUEUE));
        };
        if depth > LIMIT {
            tracing::warn!(depth, "only the first {LIMIT} dead letters are looked at");
        }
        let channel = broker.channel().await?;
        let mut letters = Vec::new();
        let bar = progress("reading dead letters", usize::try_from(depth.min(LIMIT)).unwrap_or(0));
        for _ in 0..depth.min(LIMIT) {
            let got = channel.basic_get(DEAD_LETTER_QUEUE.into(), BasicGetOptions::default());
            let Some(message) = within(CONNECT_TIMEOUT, got).await? else {
                break;
            };
            let delivery = message.delivery;
            let table = delivery.properties.headers().as_ref();
            let mut headers = Headers::from_table(table);
            if headers.first_failed_at.is_none() {
                headers.first_failed_at = table.and_then(first_death);
            }
            letters.push(Letter {
                tag: delivery.delivery_tag,
                headers,
                broker_reason: table.and_then(last_reason),
                body: delivery.data,
            });
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok((Self { channel }, letters))
    }

    /// Removes one for good: its copy has been confirmed.
    pub(super) async fn remove(&self, tag: u64) -> Result<(), AmqpError> {
        within(CONNECT_TIMEOUT, self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    /// Gives back what was not removed. Not by closing the channel, which RabbitMQ 4 counts as a failure of each message.
    pub(super) async fn give_back(&self) -> Result<(), AmqpError> {
        let all = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        // Tag 0 is "all that are held", also when there are none; a tag that was acked before closes the channel.
        within(CONNECT_TIMEOUT, self.channel.basic_nack(0, all)).await?;
        // A method with an answer: when it is there, the broker has dealt with all the acks before it.
        within(CONNECT_TIMEOUT, self.channel.close(200, "done".into())).await
    }
}

fn text(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::LongString(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Why the broker moved it here. A job that was on a rung has died of `expired` before; that is not the reason.
fn last_reason(table: &FieldTable) -> Option<String> {
    let reasons: Vec<String> = deaths(table).filter_map(|death| text(death, "reason")).collect();
    reasons.into_iter().find(|reason| reason != "expired")
}

/// When the broker dead-lettered it first.
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
