//! What the end of a job means for its run and for its message. PURE.

use std::time::Duration;

use shared::ledger::{Buried, Lease};

use crate::job::error::Disposition;
use crate::watch::outcome::Outcome;

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
    /// It is left unacked; the broker delivers it again.
    Abandoned,
}

impl Settlement {
    /// The word in logs and metrics.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Skipped => Outcome::Skipped,
            Self::HandedBack => Outcome::HandedBack,
            Self::Waits { attempt: Some(_), .. } | Self::WaitsUnrecorded { .. } => Outcome::Retry,
            Self::Waits { attempt: None, .. } => Outcome::Later,
            Self::Dead(_) => Outcome::Dead,
            Self::Abandoned => Outcome::Abandoned,
        }
    }

    /// The attempt that was counted.
    pub const fn attempt(self) -> Option<i32> {
        match self {
            Self::Waits { attempt, .. } => attempt,
            Self::WaitsUnrecorded { attempt, .. } => Some(attempt),
            Self::Dead(Some(buried)) => Some(buried.attempt),
            Self::Dead(None) | Self::Skipped | Self::HandedBack | Self::Abandoned => None,
        }
    }

    /// How long the message waits.
    pub const fn delay(self) -> Option<Duration> {
        match self {
            Self::Waits { delay, .. } | Self::WaitsUnrecorded { delay, .. } => Some(delay),
            Self::Skipped | Self::HandedBack | Self::Dead(_) | Self::Abandoned => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::job::RunKey;

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
    fn only_what_was_counted_is_a_retry() {
        let waits = |attempt| Settlement::Waits {
            delay: Duration::from_secs(30),
            attempt,
        };
        assert_eq!(waits(Some(2)).outcome(), Outcome::Retry);
        assert_eq!(waits(None).outcome(), Outcome::Later);
    }
}
