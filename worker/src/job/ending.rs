//! A delivery's end: one line in the log with all that matters, and the counter of jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::error_code::ErrorCode;
use shared::job::{RunKey, Stream};
use shared::ledger::Progress;
use shared::topology::Lane;
use tokio::time::Instant;

use crate::watch::metrics;
use crate::watch::outcome::Outcome;

/// The delivery that ends.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Its run; `None` when the message is no job
    pub key: Option<&'a RunKey>,
    /// Where its message came from
    pub lane: Lane,
    /// Which attempt it is, from 1 on, as far as its message tells
    pub attempt: i32,
    /// Which slice of its run it is, from 1 on
    pub slice: i32,
    /// Whether the broker delivered it before
    pub redelivered: bool,
    /// The trace that it belongs to
    pub trace_id: Option<&'a str>,
    /// Who worked on it
    pub worker: &'a str,
    /// When it arrived
    pub began: Instant,
}

/// How it ends.
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
    /// How long its message waits
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

/// Logs and counts an end. `streams` is how far the run has come, when it was this worker's; else
/// empty.
pub fn say(about: &About<'_>, ending: &Ending<'_>, streams: &BTreeMap<Stream, Progress>) {
    let Ending {
        outcome, error_code, ..
    } = *ending;
    metrics::job_ended(outcome, error_code);
    if about.key.is_some_and(RunKey::is_step) {
        metrics::step_ended(outcome);
    }
    let of = |stream: Stream, count: fn(&Progress) -> i64| streams.get(&stream).map(count);
    let total = |count: fn(&Progress) -> i64| (!streams.is_empty()).then(|| streams.values().map(count).sum::<i64>());
    let advice = error_code
        .filter(|_| matches!(outcome, Outcome::Dead | Outcome::Discarded))
        .map(ErrorCode::advice);
    // Without a parent span: text for people would repeat the job's fields.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                parent: None,
                project_id = about.key.map(|key| key.project_id.as_str()),
                day = about.key.map(|key| key.day.to_string()),
                run = about.key.map(|key| key.run.as_str()),
                lane = about.lane.routing_key(),
                outcome = outcome.as_str(),
                error_code = error_code.map(ErrorCode::as_str),
                error = ending.error,
                advice,
                attempt = ending.attempt.unwrap_or(about.attempt),
                slice = about.slice,
                retry_in_s = ending.delay.map(|delay| delay.as_secs_f64()),
                duration_ms = u64::try_from(about.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                events = total(|row| row.sent),
                trace_events = of(Stream::Trace, |row| row.sent),
                generation_events = of(Stream::Generation, |row| row.sent),
                score_events = of(Stream::Score, |row| row.sent),
                observation_events = of(Stream::Observation, |row| row.sent),
                rejected_rows = total(|row| row.rejected),
                batches = total(|row| row.batches),
                sent_bytes = total(|row| row.bytes),
                redelivered = about.redelivered,
                worker = about.worker,
                trace_id = about.trace_id,
                "{}",
                outcome.message()
            )
        };
    }
    match outcome {
        Outcome::Dead => line!(error),
        Outcome::DoneBefore | Outcome::Retry | Outcome::Discarded | Outcome::Abandoned => line!(warn),
        Outcome::Completed | Outcome::Superseded | Outcome::Later | Outcome::Skipped | Outcome::HandedBack => {
            line!(info);
        }
    }
}
