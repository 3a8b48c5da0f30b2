//! The lease of the job at hand: renewed whatever the pages do, given back whenever the ledger can be told.

use std::sync::Arc;
use std::time::Duration;

use shared::ledger::{Lease, Ledger, LedgerError};
use tokio::sync::watch;
use tokio::time::Instant;

/// A lease that we hold, and until when that is certain.
#[derive(Clone, Debug)]
pub struct Held {
    lease: Lease,
    length: Duration,
    until: Arc<watch::Sender<Instant>>,
}

impl Held {
    /// A lease that was asked for at `asked`: the database counts from later on, so by our clock it never ends sooner.
    pub fn new(lease: Lease, length: Duration, asked: Instant) -> Self {
        Self {
            lease,
            length,
            until: Arc::new(watch::Sender::new(asked + length)),
        }
    }

    /// For the ledger.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether nobody else can have the run by now. Asked before each send: a process that was paused wakes up with old rows in
    /// its hands, and PostHog keeps the copy that comes last.
    pub fn is_certain(&self) -> bool {
        Instant::now() < *self.until.borrow()
    }

    /// Renews the lease every third of it. Ends only when it is gone, or cannot be said to be ours any more.
    pub async fn keep(&self, ledger: &Ledger) -> LedgerError {
        loop {
            tokio::time::sleep(self.length / 3).await;
            let (asked, until) = (Instant::now(), *self.until.borrow());
            match tokio::time::timeout_at(until, ledger.renew(&self.lease, self.length)).await {
                Ok(Ok(())) => {
                    self.until.send_replace(asked + self.length);
                }
                Ok(Err(LedgerError::LeaseLost)) => return LedgerError::LeaseLost,
                Ok(Err(error)) if !self.is_certain() => return error,
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed; trying again"),
                Err(_) => return LedgerError::no_answer(),
            }
        }
    }
}

/// Gives a lease back, now if the ledger can be reached, else as soon as it can be: a lease that ran out by itself would be counted as a
/// worker's death, and a few of those give a job up.
pub async fn give_back(ledger: &Ledger, lease: &Lease, length: Duration) {
    match ledger.release(lease).await {
        Ok(()) => {}
        Err(error @ LedgerError::Unreachable(_)) => {
            tracing::warn!(%error, "the lease is given back as soon as the ledger can be told");
            let (ledger, lease) = (ledger.clone(), lease.clone());
            // Ends with the first answer, whatever it is: the lease is given back, or somebody else's.
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(length / 10).await;
                    match ledger.release(&lease).await {
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
        assert!(Held::new(lease.clone(), length, asked(50)).is_certain());
        assert!(!Held::new(lease, length, asked(61)).is_certain());
    }
}
