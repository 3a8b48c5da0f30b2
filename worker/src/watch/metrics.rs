//! What `/metrics` shows. Labels have few values, and no project ids. Series that alerts look at
//! exist from the start, at zero: Prometheus sees an increase only of a series that was there
//! before.

mod catalogue;

use std::time::{Duration, SystemTime};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use reqwest::StatusCode;
use shared::error_code::ErrorCode;
use shared::job::Stream;
use shared::ladder::Ladder;
use shared::posthog::LIB_VERSION;
use shared::topology::{DEAD_LETTER_QUEUE, Lane, rung_queue};

use crate::watch::outcome::{Outcome, SplitCause};
use catalogue::{
    BATCHES, BLOCKED, BUILD, BYTES, CONNECTED, CONSUMERS, DEPTH, EVENTS, FRESHNESS, IN_FLIGHT, JOBS, LAG,
    LAST_COMPLETED, LAST_ENQUEUE, LOOKED, NOT_ARRIVED, NOT_ARRIVED_AGE, PAGE, PAUSED, REJECTS, RETRIES, RUNNING, SEND,
    SESSIONS_LOST, SPLITS, STEPS, TAKEOVERS,
};
pub use catalogue::{Kind, METRICS, Metric};

/// The cause of a pause that a person made.
const HUMAN: &str = "human";

/// Installs the process's recorder.
pub fn install(ladder: &Ladder) -> Result<PrometheusHandle, BuildError> {
    const SECONDS: &[f64] = &[
        0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ];
    // Without buckets the exporter would make summaries, which cannot be added up over workers.
    let handle = PrometheusBuilder::new().set_buckets(SECONDS)?.install_recorder()?;
    for Metric { name, kind, help, .. } in METRICS.iter().copied() {
        match kind {
            Kind::Counter => describe_counter!(name, help),
            Kind::Gauge => describe_gauge!(name, help),
            Kind::Histogram => describe_histogram!(name, Unit::Seconds, help),
        }
    }
    at_zero();
    queues_unknown(ladder);
    gauge!(BUILD, "version" => LIB_VERSION).set(1.0);
    Ok(handle)
}

fn at_zero() {
    for outcome in Outcome::ALL {
        counter!(JOBS, "outcome" => outcome.as_str(), "error_code" => "").absolute(0);
    }
    for outcome in [Outcome::Dead, Outcome::Retry] {
        for code in ErrorCode::ALL {
            counter!(JOBS, "outcome" => outcome.as_str(), "error_code" => code.as_str()).absolute(0);
        }
    }
    for outcome in Outcome::OF_STEPS {
        counter!(STEPS, "outcome" => outcome.as_str()).absolute(0);
    }
    for kind in Stream::ALL.map(Stream::as_str) {
        for name in [EVENTS, BATCHES, BYTES, REJECTS, RETRIES] {
            counter!(name, "kind" => kind).absolute(0);
        }
        for cause in SplitCause::ALL {
            counter!(SPLITS, "kind" => kind, "cause" => cause.as_str()).absolute(0);
        }
        // Naming a histogram creates it.
        let _ = histogram!(PAGE, "kind" => kind);
        let _ = histogram!(SEND, "kind" => kind, "status" => "200");
    }
    for name in [TAKEOVERS, SESSIONS_LOST] {
        counter!(name).absolute(0);
    }
    for name in [RUNNING, IN_FLIGHT, CONNECTED, BLOCKED, LAST_COMPLETED, LAST_ENQUEUE] {
        gauge!(name).set(0.0);
    }
    lag(Lag::default());
    freshness(Duration::ZERO);
    for source in [LEDGER, BROKER] {
        gauge!(LOOKED, "source" => source).set(0.0);
    }
    not_arrived(0, Duration::ZERO);
    paused(&[]);
}

/// A delivery has ended.
pub fn job_ended(outcome: Outcome, code: Option<ErrorCode>) {
    let code = code.map_or("", ErrorCode::as_str);
    counter!(JOBS, "outcome" => outcome.as_str(), "error_code" => code).increment(1);
}

/// A delivery of a step has ended. Counted where the step has ended with it.
pub fn step_ended(outcome: Outcome) {
    if Outcome::OF_STEPS.contains(&outcome) {
        counter!(STEPS, "outcome" => outcome.as_str()).increment(1);
    }
}

/// A batch was accepted.
pub fn accepted(stream: Stream, events: i64, bytes: i64) {
    counter!(EVENTS, "kind" => stream.as_str()).increment(events.unsigned_abs());
    counter!(BATCHES, "kind" => stream.as_str()).increment(1);
    counter!(BYTES, "kind" => stream.as_str()).increment(bytes.unsigned_abs());
}

/// One POST has ended.
pub fn sent(stream: Stream, took: Duration, status: Option<StatusCode>) {
    let status = status.map_or_else(|| "none".to_owned(), |s| s.as_u16().to_string());
    histogram!(SEND, "kind" => stream.as_str(), "status" => status).record(took.as_secs_f64());
}

/// A body will be sent again.
pub fn retried(stream: Stream) {
    counter!(RETRIES, "kind" => stream.as_str()).increment(1);
}

/// A body is split into two halves.
pub fn split(stream: Stream, cause: SplitCause) {
    counter!(SPLITS, "kind" => stream.as_str(), "cause" => cause.as_str()).increment(1);
}

/// A row was refused for good.
pub fn rejected(stream: Stream) {
    counter!(REJECTS, "kind" => stream.as_str()).increment(1);
}

/// A page was read.
pub fn page_read(stream: Stream, took: Duration) {
    histogram!(PAGE, "kind" => stream.as_str()).record(took.as_secs_f64());
}

/// A run was taken over.
pub fn taken_over() {
    counter!(TAKEOVERS).increment(1);
}

/// Adds one to a gauge, until it is dropped.
pub struct Counted(&'static str);

impl Counted {
    /// A job is at work from now on.
    pub fn job() -> Self {
        Self::begin(RUNNING)
    }

    /// A body is on its way from now on.
    pub fn send() -> Self {
        Self::begin(IN_FLIGHT)
    }

    fn begin(name: &'static str) -> Self {
        gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1.0);
    }
}

/// A session with the broker consumes, or has ended.
pub fn broker(connected: bool) {
    gauge!(CONNECTED).set(f64::from(u8::from(connected)));
}

/// A session with the broker has failed.
pub fn session_lost() {
    counter!(SESSIONS_LOST).increment(1);
}

/// The broker blocks publishers (its memory or disk alarm), or has stopped doing so.
pub fn blocked(blocked: bool) {
    gauge!(BLOCKED).set(f64::from(u8::from(blocked)));
}

/// The queues that are shown: both lanes, the dead letters, each rung once.
pub fn queues(ladder: &Ladder) -> Vec<String> {
    let mut rungs: Vec<String> = ladder.rungs().iter().map(|rung| rung_queue(rung.delay)).collect();
    rungs.sort_unstable();
    rungs.dedup();
    let others = Lane::ALL.map(Lane::queue).into_iter().chain([DEAD_LETTER_QUEUE]);
    others.map(str::to_owned).chain(rungs).collect()
}

/// A queue as the broker counts it; `None` when it cannot be looked at.
pub fn queue(name: &str, counts: Option<(u32, u32)>) {
    let (messages, consumers) = counts.map_or((f64::NAN, f64::NAN), |(messages, consumers)| {
        (f64::from(messages), f64::from(consumers))
    });
    gauge!(DEPTH, "queue" => name.to_owned()).set(messages);
    if Lane::ALL.iter().any(|lane| lane.queue() == name) {
        gauge!(CONSUMERS, "queue" => name.to_owned()).set(consumers);
    }
}

/// Without an answer of the broker nothing is known of the queues; an old number would mislead.
pub fn queues_unknown(ladder: &Ladder) {
    for name in queues(ladder) {
        queue(&name, None);
    }
}

/// How late the oldest of each class is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    /// A day that was asked for in time: since its end
    pub daily: Duration,
    /// A day of the history, or a replay: since it was asked for
    pub backfill: Duration,
    /// A step: since it was due
    pub step: Duration,
    /// A `settled` run: since it was asked for
    pub settled: Duration,
}

/// Shows it.
pub fn lag(lag: Lag) {
    let classes = [
        ("daily", lag.daily),
        ("backfill", lag.backfill),
        ("step", lag.step),
        ("settled", lag.settled),
    ];
    for (class, late) in classes {
        gauge!(LAG, "class" => class).set(late.as_secs_f64());
    }
}

/// How long ago the moment is up to which today is exported in every project that gets steps.
pub fn freshness(age: Duration) {
    gauge!(FRESHNESS).set(age.as_secs_f64());
}

/// When a job was completed last, in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
pub fn last_completed(unix_seconds: i64) {
    gauge!(LAST_COMPLETED).set(unix_seconds as f64);
}

/// When the producer's last whole enqueue ended, in seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
pub fn last_enqueued(unix_seconds: i64) {
    gauge!(LAST_ENQUEUE).set(unix_seconds as f64);
}

/// How many days have not arrived in PostHog, and how long ago the oldest of them ended.
#[expect(clippy::cast_precision_loss, reason = "a number of days")]
pub fn not_arrived(days: i64, oldest: Duration) {
    gauge!(NOT_ARRIVED).set(days as f64);
    gauge!(NOT_ARRIVED_AGE).set(oldest.as_secs_f64());
}

/// Paused projects by cause. A cause that is not in `counts` has none.
#[expect(clippy::cast_precision_loss, reason = "a number of projects")]
pub fn paused(counts: &[(Option<String>, i64)]) {
    let causes = ErrorCode::ALL.iter().filter(|code| code.pauses_project());
    for cause in causes.map(|code| code.as_str()).chain([HUMAN]) {
        let found = counts
            .iter()
            .find(|(code, _)| code.as_deref().unwrap_or(HUMAN) == cause);
        gauge!(PAUSED, "cause" => cause).set(found.map_or(0, |(_, count)| *count) as f64);
    }
}

/// Gauges that are read from the ledger
pub const LEDGER: &str = "ledger";
/// Gauges that are read from the broker
pub const BROKER: &str = "broker";

/// Gauges were read just now.
pub fn looked(source: &'static str) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    gauge!(LOOKED, "source" => source).set(now.unwrap_or_default().as_secs_f64());
}
