//! Reads the rows of pages. No statement reads the whole ledger.

pub(super) mod audit;
pub(super) mod dead;
pub(super) mod overview;
pub(super) mod project;
pub(super) mod run;

use shared::ledger::{Ledger, LedgerError};

use crate::error::CommandError;

/// Why rows could not be read.
async fn trouble(ledger: &Ledger, error: LedgerError) -> String {
    match error {
        LedgerError::Sql(_) if matches!(ledger.is_migrated().await, Ok(false)) => CommandError::NotMigrated.to_string(),
        error => error.to_string(),
    }
}

/// The rows, or why they could not be read.
async fn told<T>(ledger: &Ledger, read: Result<T, LedgerError>) -> Result<T, String> {
    match read {
        Ok(rows) => Ok(rows),
        Err(error) => Err(trouble(ledger, error).await),
    }
}
