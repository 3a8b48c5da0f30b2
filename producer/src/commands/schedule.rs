//! `schedule`: `enqueue` once a day without a cron job. `enqueue` is complete by itself, so catching up after downtime is one
//! run at the start; and the ledger's lock says which of several replicas is at work.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use shared::ledger::{Ledger, Lock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::commands::enqueue;
use crate::error::CommandError;
use crate::output::Outcome;
use crate::servers;

/// The lock of the one that is at work.
const LOCK: &str = "schedule";
/// How often a stand-by looks whether it is needed, and the one at work whether it still is.
const LOOK: Duration = Duration::from_secs(5);
/// Pause after the first failure; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How long a run may go on after SIGTERM. Cut off, it leaves jobs published and not recorded, which the next one publishes again.
const GRACE: Duration = Duration::from_secs(20);

/// Arguments of `schedule`.
#[derive(Args, Clone, Copy, Debug)]
pub struct Arguments {
    /// When, in UTC; later than EXPORT_LAG after midnight, or yesterday would not be over
    #[arg(long, value_name = "HH:MM", default_value = "01:00", value_parser = parse_time)]
    pub at: NaiveTime,
}

fn parse_time(text: &str) -> Result<NaiveTime, String> {
    NaiveTime::parse_from_str(text, "%H:%M")
        .ok()
        .filter(|_| text.len() == 5)
        .ok_or_else(|| format!("`{text}` is no time of day; write it as HH:MM, for example 01:00"))
}

/// The next moment of that time of day, after now. PURE.
pub fn next_time(now: DateTime<Utc>, at: NaiveTime) -> DateTime<Utc> {
    let today = now.date_naive().and_time(at).and_utc();
    if today > now {
        today
    } else {
        today.checked_add_days(Days::new(1)).unwrap_or(today)
    }
}

/// Runs until a signal ends it.
pub async fn run(arguments: &Arguments, config: enqueue::Config) -> Result<Outcome, CommandError> {
    let lag = TimeDelta::from_std(config.horizon.lag).unwrap_or(TimeDelta::MAX);
    if arguments.at - NaiveTime::MIN < lag {
        return Err(CommandError::refused(format!(
            "--at {} lies before a day is over (EXPORT_LAG={}): each day would be enqueued a day late; choose a later time",
            arguments.at.format("%H:%M"),
            shared::settings::format_duration(config.horizon.lag)
        )));
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| no_signals(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| no_signals(&error))?;
    // Held while a run is at work.
    let busy = Arc::new(Mutex::new(()));
    let work = tokio::spawn(forever(arguments.at, config, Arc::clone(&busy)));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let _ = tokio::time::timeout(GRACE, busy.lock()).await;
    work.abort();
    Ok(Outcome::Done)
}

fn no_signals(error: &std::io::Error) -> CommandError {
    CommandError::refused(format!("cannot listen for signals: {error}"))
}

async fn forever(at: NaiveTime, config: enqueue::Config, busy: Arc<Mutex<()>>) {
    let mut standing_by = false;
    loop {
        match take_lock(&config).await {
            Ok(Some(mut lock)) => {
                standing_by = false;
                tracing::info!(at = %at.format("%H:%M"), "this scheduler is at work; catching up first");
                at_work(at, &config, &busy, &mut lock).await;
                tracing::warn!("the ledger's connection was lost, and the lock with it; standing by");
            }
            Ok(None) => {
                if !standing_by {
                    tracing::info!("another scheduler is at work; standing by");
                }
                standing_by = true;
            }
            Err(error) => tracing::warn!(%error, "the ledger cannot be asked who is at work; trying again"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn take_lock(config: &enqueue::Config) -> Result<Option<Lock>, CommandError> {
    let ledger: Ledger = servers::ledger_unchecked(&config.ledger).await?;
    Ok(ledger.try_lock(LOCK).await?)
}

/// Runs now, and then every day, until the lock is lost.
async fn at_work(at: NaiveTime, config: &enqueue::Config, busy: &Mutex<()>, lock: &mut Lock) {
    let mut pause = FIRST_PAUSE;
    loop {
        let succeeded = {
            let _busy = busy.lock().await;
            enqueue_once(config).await
        };
        let now = Utc::now();
        let daily = next_time(now, at);
        let next = if succeeded {
            pause = FIRST_PAUSE;
            daily
        } else {
            let soon = now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::zero());
            pause = (pause * 2).min(LONGEST_PAUSE);
            soon.min(daily)
        };
        tracing::info!(next = %next.to_rfc3339_opts(SecondsFormat::Secs, true), "the next run");
        // In steps, by the clock on the wall: a machine that slept wakes up late, not a day late.
        while Utc::now() < next {
            if !lock.is_held().await {
                return;
            }
            let left = (next - Utc::now()).to_std().unwrap_or_default();
            tokio::time::sleep(left.min(LOOK)).await;
        }
        if !lock.is_held().await {
            return;
        }
    }
}

async fn enqueue_once(config: &enqueue::Config) -> bool {
    match enqueue::run(&enqueue::Arguments::default(), config.clone()).await {
        Ok(Outcome::Done) => true,
        Ok(Outcome::Failed) => {
            tracing::error!("not every job was confirmed; trying again");
            false
        }
        Err(error) => {
            tracing::error!(%error, "the run failed; trying again");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_lies_ahead_and_less_than_a_day_away() {
        let at = parse_time("01:00").unwrap();
        for (now, next) in [
            ("2024-06-01T00:59:59Z", "2024-06-01T01:00:00Z"),
            ("2024-06-01T01:00:00Z", "2024-06-02T01:00:00Z"),
            ("2024-12-31T23:00:00Z", "2025-01-01T01:00:00Z"),
            ("2024-02-28T12:00:00Z", "2024-02-29T01:00:00Z"),
        ] {
            assert_eq!(next_time(moment(now), at), moment(next), "{now}");
        }
    }

    #[test]
    fn a_time_of_day_is_written_in_one_way() {
        for bad in ["", "1:00", "24:00", "01:60", "01:00:00", "noon"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
