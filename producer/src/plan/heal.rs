//! Finds runs whose message seems to be lost, for example because a queue was deleted or the ledger
//! was restored from a backup. PURE.
//!
//! When in doubt, the message is published again. A second message is harmless; a missing one would
//! mean that the day is never exported.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::ledger::{RunRow, State};

use super::{Planned, Reason, again, before};

/// A run is stuck when its lease has run out, or its retry was due, this long ago. A slow broker
/// and a slow worker need minutes at most.
pub const STUCK: Duration = Duration::from_secs(10 * 60);
/// How long a message may be where its queue's length does not show it: on a rung, or delivered and
/// not yet acked.
const UNSEEN: Duration = Duration::from_secs(60 * 60);

/// The jobs to publish again. `queues_empty`: no message is ready in the job queues.
pub fn heal(runs: &[RunRow], now: DateTime<Utc>, queues_empty: bool) -> Vec<Planned> {
    let past = |moment: DateTime<Utc>, limit: Duration| moment < before(now, limit);
    let lost = |run: &&RunRow| match run.state {
        State::Running => run.lease_expires_at.is_none_or(|end| past(end, STUCK)),
        State::Waiting => run.retry_at.is_none_or(|at| past(at, STUCK)),
        State::Queued => queues_empty && past(run.queued_at, UNSEEN),
        State::Completed | State::Dead | State::Skipped | State::Discarded => false,
    };
    runs.iter()
        .filter(lost)
        .map(|run| again(run, now, Reason::Healed))
        .collect()
}
