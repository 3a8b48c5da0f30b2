//! Messages, as a human with the management interface or any AMQP client would send and look at
//! them.

use std::fmt::Display;

use lapin::options::{BasicAckOptions, BasicGetOptions, BasicRejectOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::wait::PATIENCE;
use crate::world::World;

/// The queue of yesterday's jobs, and of what people publish.
pub const JOBS: &str = "posthog-export.jobs";
/// The queue of older days.
pub const BACKFILL: &str = "posthog-export.backfill";
/// The queue of what needs a human.
pub const DEAD: &str = "posthog-export.dead-letters";

/// The body of a job's message, as the documentation has it; without a run it asks for a replay.
pub fn job(project: &str, day: impl Display, run: Option<&str>) -> Vec<u8> {
    let run = run.map_or_else(String::new, |run| format!(r#","run":"{run}""#));
    format!(r#"{{"project_id":"{project}","day":"{day}"{run}}}"#).into_bytes()
}

/// A message that was taken from a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its body.
    pub body: Vec<u8>,
    /// Its headers; an empty object when it has none.
    pub headers: Value,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// Whether the broker delivered it before.
    pub redelivered: bool,
    /// 2 when it is persistent.
    pub delivery_mode: Option<u8>,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its id.
    pub message_id: Option<String>,
}

impl Message {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

impl World {
    /// Publishes a bare message over the management API: a body and nothing else. Answers whether a
    /// queue got it. The default exchange is `amq.default`.
    pub async fn publish(&self, exchange: &str, routing_key: &str, body: &[u8]) -> bool {
        let (payload, encoding) = match std::str::from_utf8(body) {
            Ok(text) => (text.to_owned(), "string"),
            Err(_) => (base64(body), "base64"),
        };
        let message = json!({
            "properties": {}, "routing_key": routing_key, "payload": payload, "payload_encoding": encoding,
        });
        let segments = ["exchanges", &self.vhost, exchange, "publish"];
        let answer = self.management.request(Method::POST, &segments, Some(message)).await;
        answer["routed"]
            .as_bool()
            .unwrap_or_else(|| panic!("publish to {exchange}: {answer}"))
    }

    /// Publishes a message for the workers, whatever its body is.
    pub async fn publish_job(&self, body: &[u8]) {
        let routed = self.publish("posthog-export", "job", body).await;
        assert!(routed, "no queue took the message");
    }

    /// Waits until so many messages are ready in a queue.
    pub async fn wait_depth(&self, queue: &str, messages: u64) {
        let what = format!("{messages} messages are ready in {queue}");
        let look = async || self.queue_depth(queue).await == messages;
        self.wait_until(&what, PATIENCE, look).await;
    }

    /// Waits for a dead letter and takes it.
    pub async fn dead_letter(&self) -> Message {
        let look = || self.get_message(DEAD);
        self.wait_until("there is a dead letter", PATIENCE, look).await
    }

    /// How many messages are ready in a queue, now. Those that a consumer holds do not count. A
    /// broker that has just started says 0 until the queue has recovered.
    pub async fn queue_depth(&self, queue: &str) -> u64 {
        let (connection, channel) = self.channel().await;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await;
        let depth = declared
            .unwrap_or_else(|error| panic!("look at queue {queue}: {error}"))
            .message_count();
        let _ = connection.close(200, "done".into()).await;
        u64::from(depth)
    }

    /// How many messages a queue holds, ready or held by a consumer, as of about a second ago: only
    /// the broker's statistics know. `None` until they do.
    pub async fn queue_messages(&self, queue: &str) -> Option<u64> {
        let answer = self
            .management
            .request(Method::GET, &["queues", &self.vhost, queue], None)
            .await;
        answer["messages"].as_u64()
    }

    /// Takes the first ready message from a queue.
    pub async fn get_message(&self, queue: &str) -> Option<Message> {
        let (connection, channel) = self.channel().await;
        let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await;
        let message = got.unwrap_or_else(|error| panic!("get from {queue}: {error}"))?;
        message.ack(BasicAckOptions::default()).await.expect("ack");
        let properties = &message.properties;
        let taken = Message {
            body: message.data.clone(),
            headers: properties.headers().as_ref().map_or_else(|| json!({}), table),
            exchange: message.exchange.to_string(),
            routing_key: message.routing_key.to_string(),
            redelivered: message.redelivered,
            delivery_mode: *properties.delivery_mode(),
            content_type: properties.content_type().as_ref().map(ToString::to_string),
            message_id: properties.message_id().as_ref().map(ToString::to_string),
        };
        let _ = connection.close(200, "done".into()).await;
        Some(taken)
    }

    /// Takes the first message of a queue and gives it back, so many times, as workers do that die.
    pub async fn fail_deliveries(&self, queue: &str, times: usize) {
        let (connection, channel) = self.channel().await;
        for _ in 0..times {
            let look = async || {
                let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await;
                got.unwrap_or_else(|error| panic!("get from {queue}: {error}"))
            };
            let message = self.wait_until("the message is there", PATIENCE, look).await;
            let requeue = BasicRejectOptions { requeue: true };
            message.reject(requeue).await.expect("reject");
        }
        let _ = connection.close(200, "done".into()).await;
    }

    /// Removes all ready messages from a queue and answers how many there were.
    pub async fn purge(&self, queue: &str) -> u64 {
        let (connection, channel) = self.channel().await;
        let purged = channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await;
        let count = purged.unwrap_or_else(|error| panic!("purge {queue}: {error}"));
        let _ = connection.close(200, "done".into()).await;
        u64::from(count)
    }

    /// A connection of its own for each call: a test may have restarted the broker since the last
    /// one.
    async fn channel(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.amqp_url, ConnectionProperties::default()).await;
        let connection = connection.unwrap_or_else(|error| panic!("connect to the broker: {error}"));
        let channel = connection.create_channel().await.expect("open a channel");
        (connection, channel)
    }
}

/// A message's headers as JSON.
///
/// The producer's `dead_letters/queue.rs` holds nearly the same code, on purpose. The testkit uses
/// no product code: if the two were one, a mistake in reading headers would also be in what the
/// tests compare with, and no test would see it.
fn table(table: &FieldTable) -> Value {
    Value::Object(
        table
            .inner()
            .iter()
            .map(|(name, value)| (name.to_string(), plain(value)))
            .collect::<Map<_, _>>(),
    )
}

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
        AMQPValue::DecimalValue(value) => json!(f64::from(value.value) / 10f64.powi(i32::from(value.scale))),
        AMQPValue::ShortString(value) => json!(value.as_str()),
        AMQPValue::LongString(value) => json!(String::from_utf8_lossy(value.as_bytes())),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(plain).collect(),
        AMQPValue::Timestamp(value) => json!(value),
        AMQPValue::FieldTable(value) => table(value),
        AMQPValue::ByteArray(value) => json!(value.as_slice()),
        AMQPValue::Void => Value::Null,
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for position in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * position) & 63) as usize];
            text.push(if position <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_of_every_length() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(base64(&[0xff, 0xfe, 0x00, 0x80]), "//4AgA==");
    }
}
