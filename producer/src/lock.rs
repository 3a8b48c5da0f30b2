//! Locks in the ledger: when several producers run, only one at a time does the work.

use std::time::Duration;

use shared::ledger::{Ledger, Lock};

use crate::error::CommandError;

/// Takes a lock. Waits as long as another producer holds it.
pub(crate) async fn take(ledger: &Ledger, name: &str) -> Result<Lock, CommandError> {
    const WAIT: Duration = Duration::from_millis(300);
    let mut told = false;
    loop {
        if let Some(lock) = ledger.try_lock(name).await? {
            return Ok(lock);
        }
        if !told {
            tracing::info!(lock = name, "another producer is at work; waiting until it is done");
            told = true;
        }
        tokio::time::sleep(WAIT).await;
    }
}
