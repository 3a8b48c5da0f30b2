//! What asks a job to stop at the next batch border.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::job::error::JobError;

/// What asks a job to stop at the next batch border.
#[derive(Clone, Debug)]
pub struct Stop {
    /// SIGTERM
    pub shutdown: CancellationToken,
    /// The delivery's connection is gone.
    pub connection_lost: CancellationToken,
}

impl Stop {
    /// Why the job should stop, if it should.
    pub fn reason(&self) -> Option<JobError> {
        if self.connection_lost.is_cancelled() {
            Some(JobError::ConnectionLost)
        } else if self.shutdown.is_cancelled() {
            Some(JobError::ShuttingDown)
        } else {
            None
        }
    }

    /// Waits until the job should stop.
    pub async fn asked(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.connection_lost.cancelled() => {}
        }
    }

    /// Waits until the job should have stopped and has not: a request that hangs must not outlast
    /// the grace period.
    pub async fn overdue(&self, grace: Duration) -> JobError {
        self.asked().await;
        tokio::time::sleep(grace / 2).await;
        self.reason().unwrap_or(JobError::ShuttingDown)
    }
}
