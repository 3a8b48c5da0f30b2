//! Runs whose message seems to be lost: a queue that was deleted, a ledger that was restored. PURE. A message too many is
//! harmless, a day that nobody exports is not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::ledger::{RunRow, State};

use super::{Planned, Reason, again, delta};

/// How long past its lease or its time to retry a run counts as stuck: a broker that is slow to redeliver, a worker that is
/// slow to take, need minutes at most.
pub const STUCK: Duration = Duration::from_secs(10 * 60);
/// How long a message may wait in a queue of which nothing is seen: rungs, and deliveries that are not acked.
const UNSEEN: Duration = Duration::from_secs(60 * 60);

/// Those of the given runs to publish again.
pub fn heal(runs: &[RunRow], now: DateTime<Utc>, queues_empty: bool) -> Vec<Planned> {
    let past = |moment: DateTime<Utc>, limit: Duration| moment < now - delta(limit);
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
