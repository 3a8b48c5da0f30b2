//! What the end of a job means for its run and for its message. PURE.

use std::time::Duration;

use shared::job::RunKey;
use shared::ladder::Ladder;
use shared::ledger::{Buried, Lease};

use crate::job::error::Disposition;
use crate::watch::outcome::Outcome;

/// The longest wait of a step.
const LONGEST_OF_STEP: Duration = Duration::from_mins(30);

/// What is done at the end of a job that did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan<'a> {
    /// Give the lease back, if there is one. The delivery is not ours any more: the broker delivers
    /// it again.
    Abandon(Option<&'a Lease>),
    /// Give the lease back, and publish the message again in its lane.
    HandBack(&'a Lease),
    /// Give the lease back, if there is one. The message waits on the rung nearest to `wait`;
    /// nothing is counted.
    Later {
        /// The lease, if there is one
        lease: Option<&'a Lease>,
        /// `None`: the shortest rung
        wait: Option<Duration>,
    },
    /// Mark the run as `skipped`.
    Skip(&'a Lease),
    /// Mark the run as `dead`; the message becomes a dead letter.
    Bury(&'a Lease),
    /// The message becomes a dead letter. There is no lease to write under: the claim refused the
    /// run.
    Refuse,
    /// Count the failure: the message waits on the next rung, or becomes a dead letter after the
    /// last.
    Count(&'a Lease),
    /// The same without a lease: the job failed before its claim, so the message carries the count.
    /// Uncounted, it would go round the shortest rung for ever, and nobody would see it.
    CountInMessage,
}

impl<'a> Plan<'a> {
    /// What a disposition comes to, with or without a lease.
    pub fn of(disposition: Disposition, lease: Option<&'a Lease>) -> Self {
        match (disposition, lease) {
            (Disposition::Abandon, lease) => Self::Abandon(lease),
            (Disposition::HandBack, Some(lease)) => Self::HandBack(lease),
            (Disposition::Later(wait), lease) => Self::Later { lease, wait },
            (Disposition::Skip, Some(lease)) => Self::Skip(lease),
            (Disposition::Bury, Some(lease)) => Self::Bury(lease),
            (Disposition::Bury, None) => Self::Refuse,
            (Disposition::Retry, Some(lease)) => Self::Count(lease),
            (Disposition::Retry, None) => Self::CountInMessage,
            // There is no row to write to.
            (Disposition::Skip | Disposition::HandBack, None) => Self::Later {
                lease: None,
                wait: None,
            },
        }
    }
}

/// What becomes of the message, once the ledger has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is acked; the run is `skipped`.
    Skipped,
    /// It is published again in its lane, as the next slice of its run, and acked.
    HandedBack,
    /// It is published to a rung, and acked.
    Waits {
        /// How long it waits
        delay: Duration,
        /// The attempt that the ledger has counted, if it has
        attempt: Option<i32>,
    },
    /// It is published to a rung, carrying the count itself, and acked.
    WaitsUnrecorded {
        /// How long it waits
        delay: Duration,
        /// How many failures the ledger did not record
        attempt: i32,
    },
    /// It is published to the dead letters, and acked; with what the ledger says of the run, if it
    /// was told.
    Dead(Option<Buried>),
    /// It is acked; the run is a step, and `discarded`.
    Discarded {
        /// The attempt that failed
        attempt: Option<i32>,
    },
    /// It is left unacked; the broker delivers it again.
    Abandoned,
}

impl Settlement {
    /// The same for a step: it never becomes a dead letter. Its day's own run sends what it did not,
    /// and becomes the dead letter if the cause stays. Else one cause would make a dead letter at
    /// each border.
    pub fn of_step(self) -> Self {
        match self {
            Self::Dead(buried) => Self::Discarded {
                attempt: buried.map(|buried| buried.attempt),
            },
            other => other,
        }
    }

    /// The word in logs and metrics.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Skipped => Outcome::Skipped,
            Self::HandedBack => Outcome::HandedBack,
            Self::Waits { attempt: Some(_), .. } | Self::WaitsUnrecorded { .. } => Outcome::Retry,
            Self::Waits { attempt: None, .. } => Outcome::Later,
            Self::Dead(_) => Outcome::Dead,
            Self::Discarded { .. } => Outcome::Discarded,
            Self::Abandoned => Outcome::Abandoned,
        }
    }

    /// The attempt that was counted.
    pub const fn attempt(self) -> Option<i32> {
        match self {
            Self::Waits { attempt, .. } => attempt,
            Self::WaitsUnrecorded { attempt, .. } => Some(attempt),
            Self::Dead(Some(buried)) => Some(buried.attempt),
            Self::Discarded { attempt } => attempt,
            Self::Dead(None) | Self::Skipped | Self::HandedBack | Self::Abandoned => None,
        }
    }

    /// How long the message waits.
    pub const fn delay(self) -> Option<Duration> {
        match self {
            Self::Waits { delay, .. } | Self::WaitsUnrecorded { delay, .. } => Some(delay),
            Self::Skipped | Self::HandedBack | Self::Dead(_) | Self::Discarded { .. } | Self::Abandoned => None,
        }
    }
}

/// How long a run waits after its failed attempt of this number. `None`: it is given up. A step does
/// not wait for long: the next step exports its rows, too.
pub fn wait(ladder: &Ladder, key: &RunKey, attempt: i32) -> Option<Duration> {
    let delay = ladder.delay(attempt);
    delay.filter(|delay| !key.is_step() || *delay <= LONGEST_OF_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disposition_has_a_plan_with_a_lease_and_without() {
        let lease = Lease::wanted(RunKey::new("p", "2024-06-01".parse().unwrap(), "daily"));
        let lease = &lease;
        let minute = Some(Duration::from_mins(1));
        let later = |lease, wait| Plan::Later { lease, wait };
        for (disposition, with_lease, without) in [
            (Disposition::Abandon, Plan::Abandon(Some(lease)), Plan::Abandon(None)),
            (Disposition::HandBack, Plan::HandBack(lease), later(None, None)),
            (
                Disposition::Later(minute),
                later(Some(lease), minute),
                later(None, minute),
            ),
            (Disposition::Skip, Plan::Skip(lease), later(None, None)),
            (Disposition::Bury, Plan::Bury(lease), Plan::Refuse),
            (Disposition::Retry, Plan::Count(lease), Plan::CountInMessage),
        ] {
            assert_eq!(Plan::of(disposition, Some(lease)), with_lease);
            assert_eq!(Plan::of(disposition, None), without);
        }
    }

    #[test]
    fn a_step_waits_on_the_short_rungs_only_and_never_becomes_a_dead_letter() {
        let key = |run: &str| RunKey::new("p", "2024-06-01".parse().unwrap(), run);
        let ladder: Ladder = "30s×1,30m×1,2h×20".parse().unwrap();
        for (attempt, of_step, of_others) in [
            (1, Some(30), Some(30)),
            (2, Some(1_800), Some(1_800)),
            (3, None, Some(7_200)),
        ] {
            let seconds = |run| wait(&ladder, &key(run), attempt).map(|delay| delay.as_secs());
            assert_eq!(
                (seconds("step-0900"), seconds("daily")),
                (of_step, of_others),
                "{attempt}"
            );
        }
        let buried = Buried {
            attempt: 3,
            first_failed_at: None,
        };
        let discarded = Settlement::Dead(Some(buried)).of_step();
        assert_eq!(
            (discarded.outcome(), discarded.attempt()),
            (Outcome::Discarded, Some(3))
        );
        assert_eq!(Settlement::Skipped.of_step(), Settlement::Skipped);
    }

    #[test]
    fn only_what_was_counted_is_a_retry() {
        let waits = |attempt| Settlement::Waits {
            delay: Duration::from_secs(30),
            attempt,
        };
        assert_eq!(waits(Some(2)).outcome(), Outcome::Retry);
        assert_eq!(waits(None).outcome(), Outcome::Later);
    }
}
