//! What can go wrong at the ledger.

/// What went wrong at the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The lease ran out and somebody else has the run: stop, and leave the row alone.
    #[error("the lease was lost: another worker has this run")]
    LeaseLost,
    /// The database cannot be reached; nothing is known about the write.
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

/// Whether an error says "the server is away" rather than "the statement is wrong".
pub fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08: connection exceptions; 57P0x: shutdown, crash, starting up, database dropped; 53300: too many connections;
        // 25006: a failover left us on a read-only server.
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            code.starts_with("08") || code.starts_with("57P0") || code == "53300" || code == "25006"
        }),
        _ => false,
    }
}
