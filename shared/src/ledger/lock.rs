//! A lock that one producer holds at a time.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};

use super::Ledger;
use super::error::LedgerError;
use super::statement::answered;

/// A lock of one producer. It lasts as long as its transaction, so it also works through a
/// connection pooler.
#[derive(Debug)]
pub struct Lock(Transaction<'static, Postgres>);

impl Lock {
    /// The database's clock; `None`: the lock is not ours any more. It is lost together with its
    /// connection.
    pub async fn now(&mut self) -> Option<DateTime<Utc>> {
        let asked = sqlx::query_scalar("-- ledger_lock_now\nselect clock_timestamp()").fetch_one(&mut *self.0);
        answered(asked).await.ok()
    }

    /// Releases the lock at once. A lock that is dropped is released a moment later.
    pub async fn release(self) -> Result<(), LedgerError> {
        answered(self.0.commit()).await
    }
}

impl Ledger {
    /// Takes the lock of that name. `None`: another producer has it.
    pub async fn try_lock(&self, name: &str) -> Result<Option<Lock>, LedgerError> {
        let lock = async {
            let mut tx = self.pool.begin().await?;
            // The transaction only holds the lock, and is idle while the producer publishes.
            sqlx::query("-- ledger_lock_may_idle\nset local idle_in_transaction_session_timeout = 0")
                .execute(&mut *tx)
                .await?;
            let taken: bool =
                sqlx::query_scalar("-- ledger_try_lock\nselect pg_try_advisory_xact_lock(hashtextextended($1, 0))")
                    .bind(format!("posthog_export.{name}"))
                    .fetch_one(&mut *tx)
                    .await?;
            Ok(taken.then_some(Lock(tx)))
        };
        answered(lock).await
    }
}
