//! What can go wrong at the ledger.

use crate::postgres::is_unreachable;

/// What went wrong at the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The lease ran out, and another worker may have the run. Stop, and leave its row alone.
    #[error("the lease was lost: another worker has this run")]
    LeaseLost,
    /// The database cannot be reached. A write may have happened or not.
    #[error("the ledger cannot be reached: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the ledger refused a statement: {0}")]
    Sql(#[source] sqlx::Error),
}

impl LedgerError {
    /// The database took too long.
    pub fn no_answer() -> Self {
        Self::Unreachable(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        if is_unreachable(&error) {
            Self::Unreachable(error)
        } else {
            Self::Sql(error)
        }
    }
}
