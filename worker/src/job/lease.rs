//! The lease of the job at hand: renewed whatever the pages do, given back as soon as the ledger
//! can be reached.

use std::sync::Arc;
use std::time::Duration;

use shared::error_code::ErrorCode;
use shared::ledger::{Lease, Ledger, LedgerError};
use tokio::sync::watch;
use tokio::time::Instant;

/// A lease that this worker holds, and until when that is certain.
#[derive(Clone, Debug)]
pub struct HeldLease {
    lease: Lease,
    length: Duration,
    certain_until: Arc<watch::Sender<Instant>>,
}

impl HeldLease {
    /// A lease that was asked for at `asked`. The database began to count later, so by our clock
    /// the lease never ends sooner.
    pub fn new(lease: Lease, length: Duration, asked: Instant) -> Self {
        Self {
            lease,
            length,
            certain_until: Arc::new(watch::Sender::new(asked + length)),
        }
    }

    /// For the ledger.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Until when nobody else can have the run, by our steady clock. It moves on with each renewal.
    pub fn certain_until(&self) -> watch::Receiver<Instant> {
        self.certain_until.subscribe()
    }

    fn is_certain(&self) -> bool {
        Instant::now() < *self.certain_until.borrow()
    }

    /// Renews the lease whenever a third of it has passed. Ends only when the lease is lost, or may
    /// be.
    pub async fn keep(&self, ledger: &Ledger) -> LedgerError {
        loop {
            tokio::time::sleep(self.length / 3).await;
            let (asked, until) = (Instant::now(), *self.certain_until.borrow());
            match tokio::time::timeout_at(until, ledger.renew(&self.lease, self.length)).await {
                Ok(Ok(())) => {
                    self.certain_until.send_replace(asked + self.length);
                }
                Ok(Err(LedgerError::LeaseLost)) => return LedgerError::LeaseLost,
                Ok(Err(error)) if !self.is_certain() => return error,
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed; trying again"),
                Err(_) => return LedgerError::no_answer(),
            }
        }
    }
}

/// Gives a lease back: now if the ledger can be reached, else in the background as soon as it can
/// be. A lease that runs out by itself counts as a worker's death, and after a few of those the job
/// becomes a dead letter.
pub async fn give_back(ledger: &Ledger, lease: &Lease, length: Duration, code: Option<ErrorCode>, why: &str) {
    match ledger.release(lease, code, why).await {
        Ok(()) => {}
        Err(error @ LedgerError::Unreachable(_)) => {
            tracing::warn!(%error, "the lease is given back as soon as the ledger can be reached");
            let (ledger, lease, why) = (ledger.clone(), lease.clone(), why.to_owned());
            // Ends with the first answer, whatever it is: the lease is given back, or somebody
            // else's.
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(length / 10).await;
                    match ledger.release(&lease, code, &why).await {
                        Err(LedgerError::Unreachable(_)) => {}
                        Ok(()) => return tracing::info!(run = %lease.key, "the lease was given back"),
                        Err(error) => return tracing::info!(run = %lease.key, %error, "the lease was not given back"),
                    }
                }
            });
        }
        Err(error) => tracing::warn!(%error, "the lease was not given back; it runs out by itself"),
    }
}

#[cfg(test)]
mod tests {
    use shared::job::RunKey;

    use super::*;

    #[test]
    fn a_lease_is_certain_for_its_length_from_when_it_was_asked_for() {
        let lease = Lease::wanted(RunKey::new("p", "2024-06-01".parse().unwrap(), "daily"));
        let length = Duration::from_secs(60);
        let asked = |seconds| Instant::now() - Duration::from_secs(seconds);
        assert!(HeldLease::new(lease.clone(), length, asked(50)).is_certain());
        assert!(!HeldLease::new(lease, length, asked(61)).is_certain());
    }
}
