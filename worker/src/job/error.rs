//! An error answers one question: what happens to the job?

use shared::error_code::ErrorCode;
use shared::integration::IntegrationFault;
use shared::ledger::LedgerError;
use std::time::Duration;

use crate::langfuse::source::SourceError;
use crate::posthog::retry::SendError;

/// Why a job did not complete in this delivery.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The day has not ended by the database's clock.
    #[error("the day has not ended; the database's clock says {0}")]
    DayNotOver(String),
    /// The project's settings cannot be used.
    #[error(transparent)]
    Integration(#[from] IntegrationFault),
    /// The key check was answered 401.
    #[error("PostHog does not know the project's API key; it would accept every event and store none")]
    KeyRefused,
    /// Events could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Rows could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another worker, or another run of the day, is at work.
    #[error("{by} is at work on this day")]
    LeaseHeld {
        /// who
        by: String,
    },
    /// `waiting`, and its time has not come.
    #[error("the run waits for another {} s", .wait.as_secs())]
    NotYet {
        /// until `retry_at`
        wait: Duration,
    },
    /// The host fails or is slow, and this process has a job there already.
    #[error("the host fails or is slow, and another job is already waiting for it")]
    HostBusy,
    /// The run was taken over too often; the ledger says `dead` already.
    #[error("{takeovers} workers ended with this run before a cursor moved")]
    KillsWorkers {
        /// how many
        takeovers: i32,
    },
    /// SIGTERM
    #[error("the worker is shutting down")]
    ShuttingDown,
    /// `JOB_SLICE` is over
    #[error("the slice is over")]
    SliceOver,
    /// The delivery's connection is gone.
    #[error("the connection to RabbitMQ was lost")]
    ConnectionLost,
    /// A fault of the exporter
    #[error("a fault of the exporter: {0}")]
    Internal(String),
}

/// A panic in work that ran on a task or thread of its own.
impl From<tokio::task::JoinError> for JobError {
    fn from(panic: tokio::task::JoinError) -> Self {
        Self::Internal(panic.to_string())
    }
}

/// What happens to the job, its lease and its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The failure is counted. The message goes to the next rung, or to the dead letters after the
    /// last.
    Retry,
    /// Nothing is counted. The message goes to the rung nearest to this wait (`None`: the shortest
    /// rung).
    Later(Option<Duration>),
    /// The message becomes a dead letter.
    Bury,
    /// The run is `skipped`; the delivery is acked.
    Skip,
    /// The lease is given back, the same message is published again, the delivery is acked.
    HandBack,
    /// The lease is given back. The delivery is not ours any more: the broker delivers it again.
    Abandon,
}

impl JobError {
    /// What happens to the job. Exhaustive: a new variant does not compile before somebody has
    /// decided.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::DayNotOver(_) | Self::KeyRefused | Self::KillsWorkers { .. } => Disposition::Bury,
            Self::Integration(fault) => match fault {
                IntegrationFault::Disabled | IntegrationFault::Paused(_) => Disposition::Skip,
                IntegrationFault::UnknownProject(_)
                | IntegrationFault::Missing
                | IntegrationFault::Undecryptable(_)
                | IntegrationFault::BadKey(_)
                | IntegrationFault::BadHost(_) => Disposition::Bury,
            },
            Self::Send(error) => match error {
                SendError::Unavailable(_) => Disposition::Retry,
                SendError::Unauthorized(_)
                | SendError::BillingLimit(_)
                | SendError::EndpointRefused(_)
                | SendError::HostNotAllowed(_)
                | SendError::MappingRefused(_) => Disposition::Bury,
                SendError::LeaseUncertain => Disposition::Later(None),
                SendError::Interrupted => Disposition::HandBack,
            },
            Self::Source(error) => match error {
                SourceError::Unreachable(_) => Disposition::Later(None),
                SourceError::Sql(_) | SourceError::Schema(_) => Disposition::Retry,
            },
            Self::Ledger(error) => match error {
                LedgerError::LeaseLost | LedgerError::Unreachable(_) => Disposition::Later(None),
                LedgerError::Sql(_) => Disposition::Retry,
            },
            Self::LeaseHeld { .. } | Self::HostBusy => Disposition::Later(None),
            Self::NotYet { wait } => Disposition::Later(Some(*wait)),
            Self::ShuttingDown | Self::SliceOver => Disposition::HandBack,
            Self::ConnectionLost => Disposition::Abandon,
            Self::Internal(_) => Disposition::Retry,
        }
    }

    /// The stable word for logs, metrics and headers; `None` for an interruption, which is no
    /// failure.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::DayNotOver(_) => Some(ErrorCode::DayNotOver),
            Self::Integration(fault) => Some(fault.code()),
            Self::KeyRefused => Some(ErrorCode::Unauthorized),
            Self::Send(error) => error.code(),
            Self::Source(error) => Some(error.code()),
            Self::Ledger(LedgerError::LeaseLost) | Self::LeaseHeld { .. } => Some(ErrorCode::LeaseHeld),
            Self::Ledger(LedgerError::Unreachable(_)) => Some(ErrorCode::LedgerUnavailable),
            Self::Ledger(LedgerError::Sql(_)) => Some(ErrorCode::DatabaseError),
            Self::NotYet { .. } => None,
            Self::HostBusy => Some(ErrorCode::HostBusy),
            Self::KillsWorkers { .. } => Some(ErrorCode::KillsWorkers),
            Self::ShuttingDown | Self::SliceOver | Self::ConnectionLost => None,
            Self::Internal(_) => Some(ErrorCode::Internal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_human_must_mend_is_buried_and_what_mends_itself_is_not() {
        let buried: [JobError; 4] = [
            JobError::KeyRefused,
            IntegrationFault::Missing.into(),
            SendError::BillingLimit(String::new()).into(),
            SendError::HostNotAllowed(String::new()).into(),
        ];
        for error in buried {
            assert_eq!(error.disposition(), Disposition::Bury);
            assert!(error.code().is_some());
        }
        assert_eq!(
            JobError::from(SendError::Unavailable(String::new())).disposition(),
            Disposition::Retry
        );
        assert_eq!(
            JobError::from(IntegrationFault::Disabled).disposition(),
            Disposition::Skip
        );
        assert_eq!(
            JobError::from(SourceError::from(sqlx::Error::PoolTimedOut)).disposition(),
            Disposition::Later(None)
        );
        assert_eq!(
            JobError::from(SourceError::from(sqlx::Error::RowNotFound)).disposition(),
            Disposition::Retry
        );
    }

    #[test]
    fn an_interruption_is_no_failure() {
        for error in [JobError::ShuttingDown, JobError::SliceOver, JobError::ConnectionLost] {
            assert!(error.code().is_none());
            assert!(matches!(
                error.disposition(),
                Disposition::HandBack | Disposition::Abandon
            ));
        }
    }
}
