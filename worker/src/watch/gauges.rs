//! Gauges that are read from the ledger and the broker, every `METRICS_INTERVAL` and not at each
//! scrape.

use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lapin::{Channel, Connection};
use shared::amqp::{AmqpError, CONNECT_TIMEOUT, connect, look, within};
use shared::freshness::Freshness;
use shared::job::Day;
use shared::ladder::Ladder;
use shared::ledger::{Gauges, Ledger, LedgerError, NotArrived};
use shared::settings::SecretString;
use tokio::time::Instant;

use crate::watch::metrics::{self, Lag};

/// Reads the ledger for ever. While it cannot be read, known lags go on growing.
pub async fn watch_ledger(ledger: &Ledger, every: Duration) -> Infallible {
    let mut known: Option<(Gauges, Freshness, Instant)> = None;
    loop {
        match read_ledger(ledger).await {
            Ok((gauges, freshness)) => known = Some((gauges, freshness, Instant::now())),
            Err(error) => tracing::debug!(%error, "the ledger cannot be read for the metrics"),
        }
        if let Some((gauges, freshness, read)) = &known {
            let late = |since: Option<DateTime<Utc>>| lateness(since, gauges.now, read.elapsed());
            metrics::lag(Lag {
                daily: late(gauges.daily_since),
                backfill: late(gauges.backfill_since),
                step: late(freshness.late_since),
                settled: late(gauges.settled_since),
            });
            metrics::freshness(late(freshness.covered_until));
        }
        tokio::time::sleep(every).await;
    }
}

async fn read_ledger(ledger: &Ledger) -> Result<(Gauges, Freshness), LedgerError> {
    let gauges = ledger.gauges().await?;
    metrics::paused(&ledger.paused_projects().await?);
    metrics::last_completed(gauges.last_completed.map_or(0, |completed| completed.timestamp()));
    metrics::last_enqueued(ledger.last_enqueued().await?.map_or(0, |ended| ended.timestamp()));
    let NotArrived { days, oldest } = ledger.not_arrived().await?;
    metrics::not_arrived(days, lateness(oldest, gauges.now, Duration::ZERO));
    let steps = ledger.steps(Day::of(gauges.now)).await?;
    let freshness = Freshness::of(gauges.now, ledger.last_steps().await?, &steps);
    metrics::looked(metrics::LEDGER);
    Ok((gauges, freshness))
}

/// PURE. How late it is: by the database's clock, plus the time that has passed here since the
/// clock was read.
fn lateness(since: Option<DateTime<Utc>>, now: DateTime<Utc>, elapsed: Duration) -> Duration {
    since.map_or(Duration::ZERO, |since| {
        (now - since).to_std().unwrap_or_default() + elapsed
    })
}

/// Looks at the queues for ever, by passive declares, which need no right and no management plugin.
/// It has a connection of its own: asking for a missing queue is an error of the connection, and
/// would end a session that consumes.
pub async fn watch_queues(url: &SecretString, worker: &str, ladder: &Ladder, every: Duration) -> Infallible {
    let mut connection = None;
    loop {
        match look_at_queues(url, worker, ladder, &mut connection).await {
            Ok(()) => metrics::looked(metrics::BROKER),
            Err(error) => {
                tracing::debug!(%error, "the queues cannot be looked at for the metrics");
                connection = None;
                metrics::queues_unknown(ladder);
            }
        }
        tokio::time::sleep(every).await;
    }
}

async fn look_at_queues(
    url: &SecretString,
    worker: &str,
    ladder: &Ladder,
    connection: &mut Option<Connection>,
) -> Result<(), AmqpError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(connect(url, &format!("{worker} (metrics)")).await?),
    };
    let mut channel = open(connection).await?;
    for queue in metrics::queues(ladder) {
        let looked = look(&channel, &queue).await?;
        let counts = looked.map(|queue| (queue.message_count(), queue.consumer_count()));
        metrics::queue(&queue, counts);
        if counts.is_none() {
            channel = open(connection).await?;
        }
    }
    within(CONNECT_TIMEOUT, channel.close(200, "done".into())).await
}

async fn open(connection: &Connection) -> Result<Channel, AmqpError> {
    within(CONNECT_TIMEOUT, connection.create_channel()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_grows_later_while_the_ledger_is_away() {
        let now: DateTime<Utc> = "2024-06-02T03:00:00Z".parse().unwrap();
        let since = "2024-06-02T00:00:00Z".parse().ok();
        let hours = |n: u64| Duration::from_secs(n * 3600);
        assert_eq!(lateness(since, now, Duration::ZERO), hours(3));
        assert_eq!(lateness(since, now, hours(1)), hours(4));
        assert_eq!(lateness(None, now, hours(1)), Duration::ZERO);
        // Clocks differ: a day may be asked for a little before it has ended.
        assert_eq!(lateness(Some(now + hours(1)), now, Duration::ZERO), Duration::ZERO);
    }
}
