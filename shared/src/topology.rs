//! Exchanges and queues: their names, their arguments, and how they are declared.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, Connection, ExchangeKind};

use crate::amqp::{find_queue, found, is_reply};
use crate::ladder::Ladder;
use crate::settings::format_duration;

/// The direct exchange. Messages that leave a rung return through it.
pub const EXCHANGE: &str = "posthog-export";
/// The queue of yesterday's jobs and of replays.
pub const JOBS_QUEUE: &str = "posthog-export.jobs";
/// The queue of older days. A new project's history must not delay yesterday's jobs.
pub const BACKFILL_QUEUE: &str = "posthog-export.backfill";
/// The queue of messages that need a person.
pub const DEAD_LETTER_QUEUE: &str = "posthog-export.dead-letters";
/// Routing key of the dead-letter queue.
pub const DEAD_KEY: &str = "dead";

/// After so many deliveries without an ack, the broker itself moves a message to the dead letters.
/// This catches messages that kill the worker before it claims their run. A worker gives such a
/// message up two deliveries earlier, because it can tell the ledger. The limit is generous, because
/// broker restarts and lost connections count too.
pub const DELIVERY_LIMIT: i64 = 20;
/// Each time somebody looks at a dead letter, its delivery count rises. Without a limit of ours,
/// RabbitMQ 4 drops it after 20 deliveries; with -1, RabbitMQ 3 drops it after the first.
const DEAD_LETTER_DELIVERY_LIMIT: i64 = 1_000_000;
const MAX_LENGTH: i64 = 1_000_000;
/// Consumer timeout of the queue, far longer than a slice. RabbitMQ knows it from 3.12 on; older
/// versions ignore it and use the node's, 30 minutes.
const CONSUMER_TIMEOUT_MS: i64 = 2 * 60 * 60 * 1000;

/// The two lanes. A job stays in its lane when a worker publishes its message again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Yesterday's jobs, and what people publish
    Jobs,
    /// Older days
    Backfill,
}

impl Lane {
    /// Both.
    pub const ALL: [Lane; 2] = [Lane::Jobs, Lane::Backfill];

    /// The queue that workers consume.
    pub const fn queue(self) -> &'static str {
        match self {
            Lane::Jobs => JOBS_QUEUE,
            Lane::Backfill => BACKFILL_QUEUE,
        }
    }

    /// The routing key of that queue.
    pub const fn routing_key(self) -> &'static str {
        match self {
            Lane::Jobs => "job",
            Lane::Backfill => "backfill",
        }
    }
}

/// The name of a rung's fanout exchange and of its queue.
pub fn rung_queue(delay: Duration) -> String {
    format!("{EXCHANGE}.retry.{}", format_duration(delay))
}

/// An exchange, a queue or a binding of ours.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A durable exchange
    Exchange {
        /// its name
        name: String,
        /// direct, or fanout for a rung
        kind: ExchangeKind,
    },
    /// A durable quorum queue
    Queue {
        /// its name
        name: String,
        /// its `x-` arguments
        arguments: FieldTable,
    },
    /// The messages of an exchange that a queue gets
    Binding {
        /// the queue
        queue: String,
        /// the exchange
        exchange: String,
        /// the routing key
        key: &'static str,
    },
}

/// All our pieces, in an order in which they can be declared.
pub fn pieces(ladder: &Ladder) -> Vec<Piece> {
    let mut pieces = vec![exchange(EXCHANGE, ExchangeKind::Direct)];
    for lane in Lane::ALL {
        let mut arguments = quorum();
        arguments.extend(dead_lettering_to(EXCHANGE));
        arguments.extend([
            ("x-dead-letter-routing-key", text(DEAD_KEY)),
            ("x-delivery-limit", number(DELIVERY_LIMIT)),
            ("x-max-length", number(MAX_LENGTH)),
            ("x-consumer-timeout", number(CONSUMER_TIMEOUT_MS)),
        ]);
        pieces.push(queue(lane.queue(), arguments));
        pieces.push(binding(lane.queue(), EXCHANGE, lane.routing_key()));
    }
    let mut arguments = quorum();
    arguments.push(("x-delivery-limit", number(DEAD_LETTER_DELIVERY_LIMIT)));
    pieces.push(queue(DEAD_LETTER_QUEUE, arguments));
    pieces.push(binding(DEAD_LETTER_QUEUE, EXCHANGE, DEAD_KEY));

    let mut delays: Vec<Duration> = ladder.rungs().iter().map(|r| r.delay).collect();
    delays.sort_unstable();
    delays.dedup();
    for delay in delays {
        let name = rung_queue(delay);
        let mut arguments = quorum();
        // Each queue has one fixed time to live: if each message had its own, a short one would
        // wait behind a long one. Without a dead-letter routing key, a message keeps the key that
        // it came with, and so returns to its lane.
        arguments.extend(dead_lettering_to(EXCHANGE));
        arguments.push((
            "x-message-ttl",
            number(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        ));
        pieces.push(exchange(&name, ExchangeKind::Fanout));
        pieces.push(queue(&name, arguments));
        pieces.push(binding(&name, &name, ""));
    }
    pieces
}

/// Declares everything. What is there already stays as it is.
///
/// # Errors
/// The broker's error when a queue exists with other arguments. The broker has then closed the
/// channel; open another one.
pub async fn declare(channel: &Channel, ladder: &Ladder) -> Result<(), lapin::Error> {
    for piece in pieces(ladder) {
        piece.declare(channel).await?;
    }
    Ok(())
}

/// Declares everything, or, when the user lacks the right to declare, sees that everything is
/// there. Opens its own channels.
///
/// # Errors
/// As [`declare`]; also when the user may not declare and something is missing.
pub async fn ensure(connection: &Connection, ladder: &Ladder) -> Result<(), lapin::Error> {
    let refused = match declare(&connection.create_channel().await?, ladder).await {
        Err(error) if is_refused(&error) => error,
        other => return other,
    };
    let channel = connection.create_channel().await?;
    for piece in pieces(ladder) {
        if !piece.exists(&channel).await? {
            return Err(refused);
        }
    }
    tracing::debug!(%refused, "this user may declare nothing, and everything is there");
    Ok(())
}

/// Whether the broker says that the user lacks a right.
pub fn is_refused(error: &lapin::Error) -> bool {
    is_reply(error, 403)
}

/// Whether the broker refused a declaration because a piece of that name exists with other
/// arguments (406).
pub fn differs(error: &lapin::Error) -> bool {
    is_reply(error, 406)
}

impl Piece {
    /// What it is, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Exchange { name, .. } => format!("exchange `{name}`"),
            Self::Queue { name, .. } => format!("queue `{name}`"),
            Self::Binding { queue, exchange, key } => format!("binding of `{exchange}` to `{queue}` with key `{key}`"),
        }
    }

    /// Creates it, unless it exists with these arguments.
    ///
    /// # Errors
    /// As [`declare`].
    pub async fn declare(&self, channel: &Channel) -> Result<(), lapin::Error> {
        match self {
            Self::Exchange { name, kind } => {
                let options = ExchangeDeclareOptions {
                    durable: true,
                    ..ExchangeDeclareOptions::default()
                };
                channel
                    .exchange_declare(name.as_str().into(), kind.clone(), options, FieldTable::default())
                    .await
            }
            Self::Queue { name, arguments } => {
                let options = QueueDeclareOptions {
                    durable: true,
                    ..QueueDeclareOptions::default()
                };
                let declared = channel.queue_declare(name.as_str().into(), options, arguments.clone());
                declared.await.map(|_| ())
            }
            Self::Binding { queue, exchange, key } => {
                channel
                    .queue_bind(
                        queue.as_str().into(),
                        exchange.as_str().into(),
                        (*key).into(),
                        QueueBindOptions::default(),
                        FieldTable::default(),
                    )
                    .await
            }
        }
    }

    /// Whether a piece of that name exists, with any arguments. AMQP cannot ask for a binding, so a
    /// binding counts as existing. When the answer is no, the broker has closed the channel.
    ///
    /// # Errors
    /// When the broker gives no answer.
    pub async fn exists(&self, channel: &Channel) -> Result<bool, lapin::Error> {
        match self {
            Self::Exchange { name, kind } => {
                let options = ExchangeDeclareOptions {
                    passive: true,
                    ..ExchangeDeclareOptions::default()
                };
                let declared =
                    channel.exchange_declare(name.as_str().into(), kind.clone(), options, FieldTable::default());
                Ok(found(declared.await)?.is_some())
            }
            Self::Queue { name, .. } => Ok(find_queue(channel, name).await?.is_some()),
            Self::Binding { .. } => Ok(true),
        }
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn number(value: i64) -> AMQPValue {
    AMQPValue::LongLongInt(value)
}

fn quorum() -> Vec<(&'static str, AMQPValue)> {
    vec![("x-queue-type", text("quorum"))]
}

/// Dead-lettering at least once: RabbitMQ keeps the message until the target queue has confirmed
/// it. This works only together with `reject-publish`.
fn dead_lettering_to(exchange: &str) -> Vec<(&'static str, AMQPValue)> {
    vec![
        ("x-dead-letter-exchange", text(exchange)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

fn exchange(name: &str, kind: ExchangeKind) -> Piece {
    Piece::Exchange {
        name: name.to_owned(),
        kind,
    }
}

fn queue(name: &str, arguments: Vec<(&'static str, AMQPValue)>) -> Piece {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert(ShortString::from(key), value);
    }
    Piece::Queue {
        name: name.to_owned(),
        arguments: table,
    }
}

fn binding(queue: &str, exchange: &str, key: &'static str) -> Piece {
    Piece::Binding {
        queue: queue.to_owned(),
        exchange: exchange.to_owned(),
        key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Looking at a dead letter counts as a delivery, and at the limit the queue would drop it:
    /// RabbitMQ 4's own is 20.
    #[test]
    fn dead_letters_may_be_looked_at_a_million_times() {
        let ladder: Ladder = "30s×1".parse().unwrap();
        let limit = pieces(&ladder).into_iter().find_map(|piece| match piece {
            Piece::Queue { name, arguments } if name == DEAD_LETTER_QUEUE => {
                arguments.inner().get("x-delivery-limit").cloned()
            }
            _ => None,
        });
        assert_eq!(limit, Some(AMQPValue::LongLongInt(1_000_000)));
    }

    #[test]
    fn a_rung_is_named_by_its_delay() {
        assert_eq!(rung_queue(seconds(30)), "posthog-export.retry.30s");
        assert_eq!(rung_queue(seconds(7200)), "posthog-export.retry.2h");
    }
}
