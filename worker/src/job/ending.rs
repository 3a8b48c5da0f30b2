//! A delivery's end: one line in the log with all that matters, and the counter of jobs.

use std::time::Duration;

use shared::error_code::ErrorCode;
use shared::ledger::StreamRow;

use crate::job::settle::Settlement;
use crate::watch::metrics;

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every event was accepted
    Completed,
    /// The run has ended before
    DoneBefore,
    /// On a rung, counted
    Retry,
    /// On a rung, not counted
    Later,
    /// Dead letter
    Dead,
    /// Disabled or paused
    Skipped,
    /// Published again at a checkpoint
    HandedBack,
    /// Left to the broker
    Abandoned,
}

impl Outcome {
    /// All.
    pub const ALL: [Outcome; 8] = [
        Outcome::Completed,
        Outcome::DoneBefore,
        Outcome::Retry,
        Outcome::Later,
        Outcome::Dead,
        Outcome::Skipped,
        Outcome::HandedBack,
        Outcome::Abandoned,
    ];

    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::DoneBefore => "done_before",
            Outcome::Retry => "retry",
            Outcome::Later => "later",
            Outcome::Dead => "dead",
            Outcome::Skipped => "skipped",
            Outcome::HandedBack => "handed_back",
            Outcome::Abandoned => "abandoned",
        }
    }

    /// The log line, for people.
    const fn message(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::DoneBefore => "nothing to do: this run has ended before; for a replay leave `run` out",
            Outcome::Retry => "will be tried again",
            Outcome::Later => "waits; nothing is counted",
            Outcome::Dead => "dead letter",
            Outcome::Skipped => "skipped",
            Outcome::HandedBack => "handed back at a checkpoint",
            Outcome::Abandoned => "abandoned; the broker delivers it again",
        }
    }
}

/// What there is to say of an end beside the job itself.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// What became of it
    pub outcome: Outcome,
    /// The stable word of a failure
    pub error_code: Option<ErrorCode>,
    /// The failure, for people
    pub error: Option<&'a str>,
    /// The attempt, when the ledger has counted it
    pub attempt: Option<i32>,
    /// How long it waits
    pub delay: Option<Duration>,
}

impl<'a> Ending<'a> {
    /// An end without a failure.
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            error_code: None,
            error: None,
            attempt: None,
            delay: None,
        }
    }

    /// A failure.
    pub fn failed(outcome: Outcome, error_code: Option<ErrorCode>, error: &'a str) -> Self {
        Self {
            error_code,
            error: Some(error),
            ..Self::of(outcome)
        }
    }
}

/// Which job; without one the message is none.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Langfuse's id
    pub project_id: &'a str,
    /// The UTC day
    pub day: &'a str,
    /// The run's name
    pub run: &'a str,
}

/// Says and counts an end. `streams` is how far the run has come, when it is ours.
pub fn say(settlement: &Settlement<'_>, about: Option<About<'_>>, ending: &Ending<'_>, streams: &[StreamRow]) {
    let Ending {
        outcome, error_code, ..
    } = *ending;
    metrics::job_ended(outcome, error_code);
    let of = |kind: &str, count: fn(&StreamRow) -> i64| streams.iter().find(|row| row.stream == kind).map(count);
    let total = |count: fn(&StreamRow) -> i64| (!streams.is_empty()).then(|| streams.iter().map(count).sum::<i64>());
    let advice = error_code.filter(|_| outcome == Outcome::Dead).map(ErrorCode::advice);
    // Without a parent: text for people would repeat the job's fields.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                parent: None,
                project_id = about.map(|job| job.project_id),
                day = about.map(|job| job.day),
                run = about.map(|job| job.run),
                lane = settlement.lane.routing_key(),
                outcome = outcome.as_str(),
                error_code = error_code.map(ErrorCode::as_str),
                error = ending.error,
                advice,
                attempt = ending.attempt.unwrap_or_else(|| settlement.attempt()),
                slice = settlement.slice(),
                retry_in_s = ending.delay.map(|delay| delay.as_secs_f64()),
                duration_ms = u64::try_from(settlement.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                events = total(|row| row.sent),
                trace_events = of("trace", |row| row.sent),
                generation_events = of("generation", |row| row.sent),
                score_events = of("score", |row| row.sent),
                rejected_rows = total(|row| row.rejected),
                batches = total(|row| row.batches),
                sent_bytes = total(|row| row.bytes),
                redelivered = settlement.delivery.redelivered,
                worker = settlement.app.worker,
                trace_id = settlement.trace_id(),
                "{}",
                outcome.message()
            )
        };
    }
    match outcome {
        Outcome::Dead => line!(error),
        Outcome::DoneBefore | Outcome::Retry | Outcome::Abandoned => line!(warn),
        Outcome::Completed | Outcome::Later | Outcome::Skipped | Outcome::HandedBack => line!(info),
    }
}
