//! Exchanges and queues: their names, their arguments, and one idempotent `declare`.

use std::str::FromStr;
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::settings::{format_duration, parse_duration};

/// The one direct exchange; also where a rung's messages return.
pub const EXCHANGE: &str = "posthog-export";
/// Yesterday's jobs, replays.
pub const JOBS_QUEUE: &str = "posthog-export.jobs";
/// Days before yesterday, so that a new project's history never delays today.
pub const BACKFILL_QUEUE: &str = "posthog-export.backfill";
/// What needs a human.
pub const DEAD_LETTER_QUEUE: &str = "posthog-export.dead-letters";
/// Routing key of the dead-letter queue.
pub const DEAD_KEY: &str = "dead";

/// After so many deliveries without an ack the broker dead-letters a message by itself: a guard against messages that kill the
/// process before the claim. Broker restarts and lost connections count too, so it is not small.
const DELIVERY_LIMIT: i64 = 20;
/// Every peek raises a message's delivery count. Unset, RabbitMQ 4 drops it after 20; -1, RabbitMQ 3 at the first.
const DEAD_LETTER_DELIVERY_LIMIT: i64 = 1_000_000;
const MAX_LENGTH: i64 = 1_000_000;
/// Per-queue consumer timeout, known to RabbitMQ from 3.12 on (older ones ignore it and use the node's 30 min). A slice is far shorter.
const CONSUMER_TIMEOUT_MS: i64 = 2 * 60 * 60 * 1000;

/// The two lanes. A job keeps its lane over slices, rungs and a run given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Yesterday, and what people publish
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

    /// The routing key that leads there.
    pub const fn routing_key(self) -> &'static str {
        match self {
            Lane::Jobs => "job",
            Lane::Backfill => "backfill",
        }
    }
}

/// One delay queue of the ladder, and for how many attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Its fixed time to live
    pub delay: Duration,
    /// Attempts that wait on it
    pub tries: u32,
}

impl Rung {
    /// Fanout exchange and queue of this delay share the name.
    pub fn queue(delay: Duration) -> String {
        format!("{EXCHANGE}.retry.{}", format_duration(delay))
    }
}

/// The retry ladder: `30s×1,5m×3,30m×4,2h×20`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(Vec<Rung>);

impl Ladder {
    /// The rungs in order.
    pub fn rungs(&self) -> &[Rung] {
        &self.0
    }

    /// How long the given failed attempt (from 1) waits; `None`: the ladder is used up.
    pub fn delay(&self, attempt: i32) -> Option<Duration> {
        let mut left = u32::try_from(attempt).ok()?.checked_sub(1)?;
        for rung in &self.0 {
            if left < rung.tries {
                return Some(rung.delay);
            }
            left -= rung.tries;
        }
        None
    }

    /// The rung for what waits without being counted: the one for held leases, busy hosts and absent databases.
    pub fn uncounted(&self) -> Duration {
        self.0.iter().map(|r| r.delay).min().unwrap_or(Duration::from_secs(30))
    }

    /// The longest rung that does not overshoot `wait`, else the shortest: for a message that came back too early.
    pub fn towards(&self, wait: Duration) -> Duration {
        self.0
            .iter()
            .map(|r| r.delay)
            .filter(|d| *d <= wait)
            .max()
            .unwrap_or_else(|| self.uncounted())
    }
}

impl FromStr for Ladder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rung = |part: &str| {
            let (delay, tries) = part
                .split_once(['x', '×'])
                .ok_or_else(|| format!("`{part}` lacks its ×tries"))?;
            let delay = parse_duration(delay.trim())?;
            let tries = tries
                .trim()
                .parse()
                .map_err(|_| format!("`{part}`: the tries are no number"))?;
            if delay.is_zero() || tries == 0 {
                return Err(format!("`{part}`: neither delay nor tries may be zero"));
            }
            Ok(Rung { delay, tries })
        };
        text.split(',')
            .map(|part| rung(part.trim()))
            .collect::<Result<Vec<_>, _>>()
            .map(Self)
    }
}

impl std::fmt::Display for Ladder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|r| format!("{}×{}", format_duration(r.delay), r.tries))
            .collect();
        f.write_str(&parts.join(","))
    }
}

/// Declares everything. Idempotent; fails with the broker's words when a queue exists with other arguments.
///
/// # Errors
/// The channel is closed by the broker on a mismatch; open a new one for anything else.
pub async fn declare(channel: &Channel, ladder: &Ladder) -> Result<(), lapin::Error> {
    exchange(channel, EXCHANGE, ExchangeKind::Direct).await?;
    for lane in Lane::ALL {
        let mut arguments = quorum();
        arguments.extend(dead_lettering_to(EXCHANGE));
        arguments.extend([
            ("x-dead-letter-routing-key", text(DEAD_KEY)),
            ("x-delivery-limit", number(DELIVERY_LIMIT)),
            ("x-max-length", number(MAX_LENGTH)),
            ("x-consumer-timeout", number(CONSUMER_TIMEOUT_MS)),
        ]);
        queue(channel, lane.queue(), arguments).await?;
        bind(channel, lane.queue(), EXCHANGE, lane.routing_key()).await?;
    }
    let mut arguments = quorum();
    arguments.push(("x-delivery-limit", number(DEAD_LETTER_DELIVERY_LIMIT)));
    queue(channel, DEAD_LETTER_QUEUE, arguments).await?;
    bind(channel, DEAD_LETTER_QUEUE, EXCHANGE, DEAD_KEY).await?;

    let mut delays: Vec<Duration> = ladder.rungs().iter().map(|r| r.delay).collect();
    delays.sort_unstable();
    delays.dedup();
    for delay in delays {
        let name = Rung::queue(delay);
        exchange(channel, &name, ExchangeKind::Fanout).await?;
        let mut arguments = quorum();
        // One fixed TTL a queue: with a TTL per message, a short one waits behind a long one. No dead-letter routing key: the
        // message returns under the key it came with, and so to its lane.
        arguments.extend(dead_lettering_to(EXCHANGE));
        arguments.push((
            "x-message-ttl",
            number(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)),
        ));
        queue(channel, &name, arguments).await?;
        bind(channel, &name, &name, "").await?;
    }
    Ok(())
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

/// At least once: RabbitMQ keeps the message until the dead-letter target has confirmed it, which it does only with
/// `reject-publish`.
fn dead_lettering_to(exchange: &str) -> Vec<(&'static str, AMQPValue)> {
    vec![
        ("x-dead-letter-exchange", text(exchange)),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name.into(), kind, options, FieldTable::default())
        .await
}

async fn queue(channel: &Channel, name: &str, arguments: Vec<(&'static str, AMQPValue)>) -> Result<(), lapin::Error> {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert(ShortString::from(key), value);
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(name.into(), options, table).await.map(|_| ())
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), lapin::Error> {
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn attempts_climb_the_ladder_and_fall_off_its_end() {
        let ladder: Ladder = "30s×1, 5m x 3,30mx4,2h×20".parse().unwrap();
        let delays: Vec<_> = (0..=29).map(|attempt| ladder.delay(attempt)).collect();
        assert_eq!(delays[0], None);
        assert_eq!(delays[1], Some(seconds(30)));
        assert_eq!(delays[2..=4], [Some(seconds(300)); 3]);
        assert_eq!(delays[5..=8], [Some(seconds(1800)); 4]);
        assert_eq!(delays[9..=28], [Some(seconds(7200)); 20]);
        assert_eq!(delays[29], None);
        assert_eq!(ladder.to_string(), "30s×1,5m×3,30m×4,2h×20");
    }

    #[test]
    fn who_comes_back_early_waits_on_the_longest_rung_that_fits() {
        let ladder: Ladder = "30s×1,5m×3".parse().unwrap();
        assert_eq!(ladder.towards(seconds(10)), seconds(30));
        assert_eq!(ladder.towards(seconds(299)), seconds(30));
        assert_eq!(ladder.towards(seconds(4000)), seconds(300));
        assert_eq!(ladder.uncounted(), seconds(30));
    }

    #[test]
    fn a_bad_ladder_says_what_is_wrong() {
        for bad in ["", "30s", "30s×0", "0s×1", "×3", "5 parsecs×1", "30s×1,,5m×1"] {
            assert!(bad.parse::<Ladder>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rung_is_named_by_its_delay() {
        assert_eq!(Rung::queue(seconds(30)), "posthog-export.retry.30s");
        assert_eq!(Rung::queue(seconds(7200)), "posthog-export.retry.2h");
    }
}
