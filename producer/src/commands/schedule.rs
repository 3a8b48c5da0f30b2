//! `schedule`: enqueues once a day, and the steps of the day at each border, without a cron job.
//!
//! Each enqueue looks at every day that is missing. So one enqueue at the start catches up with
//! whatever was missed. Of several replicas, the one that holds a lock of the ledger is at work.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use shared::ledger::Lock;
use shared::settings::format_duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::config::{Horizon, Server};
use crate::error::CommandError;
use crate::output::Exit;
use crate::servers;
use crate::steps::Steps;

/// The lock that the replica at work holds.
const LOCK: &str = "schedule";
/// How often a replica looks who holds the lock.
const LOOK: Duration = Duration::from_secs(5);
/// How long to wait after the first failure. The time doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// How long an enqueue may go on after SIGTERM. When it is cut off, some jobs are published and not
/// recorded. The next enqueue publishes those again.
const GRACE: Duration = Duration::from_secs(20);

/// How often arrival is verified.
const VERIFY_EVERY: Duration = Duration::from_secs(3_600);

/// Arguments of `schedule`.
#[derive(Args, Clone, Copy, Debug)]
pub struct Arguments {
    /// At what time each day, in UTC; not before EXPORT_LAG after midnight, when yesterday is over
    #[arg(long, value_name = "HH:MM", default_value = "01:00", value_parser = parse_time)]
    pub at: NaiveTime,
    /// Publish the whole history of every project, also of those that are set up later
    #[arg(long)]
    pub yes: bool,
}

fn parse_time(text: &str) -> Result<NaiveTime, String> {
    NaiveTime::parse_from_str(text, "%H:%M")
        .ok()
        .filter(|_| text.len() == 5)
        .ok_or_else(|| format!("`{text}` is no time of day; write it as HH:MM, for example 01:00"))
}

/// When it is that time of day next. PURE.
pub fn next_time(now: DateTime<Utc>, at: NaiveTime) -> DateTime<Utc> {
    let today = now.date_naive().and_time(at).and_utc();
    if today > now {
        today
    } else {
        today.checked_add_days(Days::new(1)).unwrap_or(today)
    }
}

/// What `schedule` itself needs; the enqueue reads the rest.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the lock is taken
    pub ledger: Server,
    /// When a day is over
    pub horizon: Horizon,
    /// The steps of a day, if there are any
    pub steps: Option<Steps>,
}

/// What is enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The days that are over: `producer enqueue`
    Days,
    /// The parts of today that are over: `producer enqueue --steps`
    Steps,
}

/// Enqueues until a signal ends it, and verifies beside that. `enqueue` is the command of that name;
/// `verify` ends by itself, also where there is nothing to verify with.
pub async fn execute<F, R, V, W>(
    arguments: &Arguments,
    config: Config,
    enqueue: F,
    verify: V,
) -> Result<Exit, CommandError>
where
    F: Fn(What) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Exit, CommandError>> + Send + 'static,
    V: Fn() -> W + Send + Sync + 'static,
    W: Future<Output = Result<(), CommandError>> + Send + 'static,
{
    let lag = config.horizon.lag;
    if arguments.at - NaiveTime::MIN < TimeDelta::from_std(lag).unwrap_or(TimeDelta::MAX) {
        return Err(CommandError::argument(format!(
            "--at {} is too early: a day is over only EXPORT_LAG={} after midnight, so each day would be enqueued a day late; choose a later time",
            arguments.at.format("%H:%M"),
            shared::settings::format_duration(lag)
        )));
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| no_signals(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| no_signals(&error))?;
    // Held while an enqueue is at work.
    let busy = Arc::new(Mutex::new(()));
    let turns = Turns {
        at: arguments.at,
        steps: config.steps,
    };
    let work = tokio::spawn(forever(turns, config.ledger, Arc::clone(&busy), enqueue, verify));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let _ = tokio::time::timeout(GRACE, busy.lock()).await;
    work.abort();
    Ok(Exit::Done)
}

fn no_signals(error: &std::io::Error) -> CommandError {
    CommandError::refused(format!("cannot listen for signals: {error}"))
}

async fn forever<F, R, V, W>(turns: Turns, ledger: Server, busy: Arc<Mutex<()>>, enqueue: F, verify: V)
where
    F: Fn(What) -> R,
    R: Future<Output = Result<Exit, CommandError>>,
    V: Fn() -> W,
    W: Future<Output = Result<(), CommandError>>,
{
    let mut standing_by = false;
    loop {
        match take_lock(&ledger).await {
            Ok(Some(mut lock)) => {
                standing_by = false;
                let every = turns.steps.map(|steps| format_duration(steps.every()));
                tracing::info!(at = %turns.at.format("%H:%M"), every, "this scheduler is at work; catching up first");
                // Neither waits for the other: a PostHog that is slow to answer delays no enqueue.
                tokio::select! {
                    () = at_work(turns, &busy, &mut lock, &enqueue) => {}
                    never = verifying(&verify) => match never {},
                }
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

async fn take_lock(server: &Server) -> Result<Option<Lock>, CommandError> {
    let ledger = servers::ledger_unchecked(server).await?;
    Ok(ledger.try_lock(LOCK).await?)
}

/// Verifies every hour what is due then.
async fn verifying<V, W>(verify: &V) -> Infallible
where
    V: Fn() -> W,
    W: Future<Output = Result<(), CommandError>>,
{
    loop {
        if let Err(error) = verify().await {
            tracing::warn!(%error, "what arrived in PostHog cannot be verified; trying again in an hour");
        }
        tokio::time::sleep(VERIFY_EVERY).await;
    }
}

/// When what is enqueued.
#[derive(Clone, Copy, Debug)]
struct Turns {
    at: NaiveTime,
    steps: Option<Steps>,
}

/// One of the things to do, and when it is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    what: What,
    due: DateTime<Utc>,
    /// How long to wait after a failure
    wait: Duration,
}

impl Turns {
    /// What there is to do, all of it now: that catches up with what was missed.
    fn all(&self, now: DateTime<Utc>) -> Vec<Turn> {
        let turn = |what| Turn {
            what,
            due: now,
            wait: FIRST_WAIT,
        };
        let steps = self.steps.map(|_| turn(What::Steps));
        std::iter::once(turn(What::Days)).chain(steps).collect()
    }

    /// The turn after this one, which has just ended. PURE.
    fn after(&self, turn: Turn, succeeded: bool, now: DateTime<Utc>) -> Turn {
        let regular = match (turn.what, self.steps) {
            (What::Steps, Some(steps)) => steps.next(now),
            _ => next_time(now, self.at),
        };
        if succeeded {
            return Turn {
                due: regular,
                wait: FIRST_WAIT,
                ..turn
            };
        }
        let soon = now + TimeDelta::from_std(turn.wait).unwrap_or(TimeDelta::zero());
        Turn {
            due: soon.min(regular),
            wait: (turn.wait * 2).min(LONGEST_WAIT),
            ..turn
        }
    }
}

/// Enqueues now and then whenever it is time, until the lock is lost. The time is the database's:
/// a step that is asked for a moment too early would wait for the next border.
async fn at_work<F, R>(turns: Turns, busy: &Mutex<()>, lock: &mut Lock, enqueue: &F)
where
    F: Fn(What) -> R,
    R: Future<Output = Result<Exit, CommandError>>,
{
    let Some(now) = lock.now().await else { return };
    let mut all = turns.all(now);
    loop {
        let Some(turn) = all.iter_mut().min_by_key(|turn| turn.due) else {
            return;
        };
        // Short steps, each compared with the clock. After a machine was suspended, one long sleep
        // would end too late.
        loop {
            let Some(now) = lock.now().await else { return };
            let Some(left) = (turn.due - now).to_std().ok().filter(|left| !left.is_zero()) else {
                break;
            };
            tokio::time::sleep(left.min(LOOK)).await;
        }
        let succeeded = {
            let _busy = busy.lock().await;
            told(enqueue(turn.what).await)
        };
        let Some(now) = lock.now().await else { return };
        *turn = turns.after(*turn, succeeded, now);
        if let Some(next) = all.iter().map(|turn| turn.due).min().filter(|next| *next > now) {
            tracing::info!(next = %next.to_rfc3339_opts(SecondsFormat::Secs, true), "waiting for the next enqueue");
        }
    }
}

/// Logs a failure. Answers whether the enqueue succeeded.
fn told(enqueued: Result<Exit, CommandError>) -> bool {
    match enqueued {
        Ok(Exit::Done) => true,
        Ok(Exit::Failed) => {
            tracing::error!("not every job was confirmed; trying again");
            false
        }
        Err(error) => {
            tracing::error!(%error, "the enqueue failed; trying again");
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
    fn days_and_steps_take_turns_and_a_failure_is_tried_again_soon() {
        let hour = Duration::from_secs(3_600);
        let turns = |every| Turns {
            at: parse_time("01:00").unwrap(),
            steps: Steps::new(every, hour / 2).unwrap(),
        };
        let now = moment("2024-06-01T09:31:00Z");
        let days = turns(hour * 24).all(now);
        assert_eq!(days.iter().map(|turn| turn.what).collect::<Vec<_>>(), [What::Days]);
        let hourly = turns(hour);
        let [days, steps] = hourly.all(now)[..] else { panic!() };
        assert_eq!(
            (days.what, days.due, steps.what, steps.due),
            (What::Days, now, What::Steps, now)
        );
        let due = |turn, succeeded| hourly.after(turn, succeeded, now).due;
        assert_eq!(due(days, true), moment("2024-06-02T01:00:00Z"));
        assert_eq!(due(steps, true), moment("2024-06-01T10:30:00Z"));
        assert_eq!(due(steps, false), moment("2024-06-01T09:31:30Z"));
        let mut failing = steps;
        for _ in 0..10 {
            failing = hourly.after(failing, false, now);
        }
        assert_eq!(
            (failing.wait, failing.due),
            (LONGEST_WAIT, moment("2024-06-01T09:46:00Z"))
        );
        assert_eq!(hourly.after(failing, true, now).wait, FIRST_WAIT);
    }

    #[test]
    fn a_time_of_day_is_written_in_one_way() {
        for bad in ["", "1:00", "24:00", "01:60", "01:00:00", "noon"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
