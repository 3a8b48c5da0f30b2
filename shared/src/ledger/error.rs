//! What can go wrong at the ledger.

use crate::postgres::{in_words, is_read_only, is_unreachable, lacks_right};

/// What went wrong at the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The lease ran out, and another worker may have the run. Stop, and leave its row alone.
    #[error("the lease was lost: another worker has this run")]
    LeaseLost,
    /// The database cannot be reached. A write may have happened or not.
    #[error("{}", unreachable(.0))]
    Unreachable(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the ledger refused a statement: {}{}", in_words(.0), mend(.0))]
    Sql(#[source] sqlx::Error),
}

fn unreachable(error: &sqlx::Error) -> String {
    let words = in_words(error);
    if is_read_only(error) {
        format!(
            "the ledger takes no writes: {words}. LEDGER_DATABASE_URL must lead to a primary, and its role and database \
             must not set default_transaction_read_only"
        )
    } else {
        format!("the ledger cannot be reached: {words}")
    }
}

fn mend(error: &sqlx::Error) -> &'static str {
    if lacks_right(error) {
        "; `producer doctor` names the rights that are missing"
    } else {
        ""
    }
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
