//! Leases, and the writes that only the holder of a lease may do.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use uuid::Uuid;

use super::Ledger;
use super::claims::end_claim;
use super::error::LedgerError;
use super::state::{State, given_up};
use super::statement::{BindKey, answered, fence, interval};
use crate::error_code::ErrorCode;
use crate::job::RunKey;

/// The right to write a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which run
    pub key: RunKey,
    /// Carried by every write
    pub token: Uuid,
}

impl Lease {
    /// A lease to ask for; nobody holds it yet.
    pub fn wanted(key: RunKey) -> Self {
        Self {
            key,
            token: Uuid::new_v4(),
        }
    }
}

/// What became of a counted failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// State `waiting`; the message goes to the rung with this delay.
    Wait {
        /// the attempt that failed
        attempt: i32,
        /// the rung's delay
        delay: Duration,
    },
    /// The ladder is used up; the run is `dead`, or `discarded` where it is a step.
    Exhausted(Buried),
}

/// What the ledger counts of a run that is given up, for the headers of its dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Buried {
    /// The attempt that failed
    pub attempt: i32,
    /// When the run failed first
    pub first_failed_at: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Renews the lease: it ends `length` from now.
    pub async fn renew(&self, lease: &Lease, length: Duration) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_renew
             update posthog_export.runs set lease_expires_at = clock_timestamp() + $5
             where ",
            fence!()
        );
        self.write(under_lease(statement, lease).bind(interval(length))).await
    }

    /// `running → queued`: the job is handed back. Nothing is counted, and the next worker may take
    /// it at once. The run's history says why.
    pub async fn release(&self, lease: &Lease, code: Option<ErrorCode>, why: &str) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_release
             with changed as (
               update posthog_export.runs
               set state = 'queued', queued_at = clock_timestamp(), lease_token = null, lease_expires_at = null,
                   updated_at = clock_timestamp()
               where ",
            fence!(),
            " returning 1), ",
            end_claim!("'handed_back', error_code = $5, error = left($6, 1000)"),
            " select 1 from changed"
        );
        let code = code.map(ErrorCode::as_str);
        self.write(under_lease(statement, lease).bind(code).bind(why)).await
    }

    /// `running → skipped`. Once the reason is gone, the day counts as not exported.
    pub async fn skip(&self, lease: &Lease, code: ErrorCode, error: &str) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_skip
             with changed as (
               update posthog_export.runs
               set state = 'skipped', error_code = $5, error = $6, lease_token = null, lease_expires_at = null,
                   updated_at = clock_timestamp()
               where ",
            fence!(),
            " returning 1), ",
            end_claim!("'skipped', error_code = $5, error = left($6, 1000)"),
            " select 1 from changed"
        );
        self.write(under_lease(statement, lease).bind(code.as_str()).bind(error))
            .await
    }

    /// `running → dead`: a permanent failure; a person decides. A step is `discarded`.
    pub async fn bury(&self, lease: &Lease, code: ErrorCode, error: &str) -> Result<Buried, LedgerError> {
        let statement = concat!(
            "-- ledger_bury
             with changed as (
               update posthog_export.runs
               set state = $7, error_code = $5, error = $6, attempt = attempt + 1,
                   first_failed_at = coalesce(first_failed_at, clock_timestamp()), retry_at = null,
                   lease_token = null, lease_expires_at = null, updated_at = clock_timestamp()
               where ",
            fence!(),
            " returning attempt, first_failed_at), ",
            end_claim!("$7, error_code = $5, error = left($6, 1000), attempt = changed.attempt"),
            " select attempt, first_failed_at from changed"
        );
        let buried = sqlx::query_as(statement)
            .bind_key(&lease.key)
            .bind(lease.token)
            .bind(code.as_str())
            .bind(error)
            .bind(given_up(&lease.key))
            .fetch_optional(&self.pool);
        answered(buried).await?.ok_or(LedgerError::LeaseLost)
    }

    /// Counts the failure: `running → waiting`. When the ladder has no rung for this attempt: `dead`,
    /// and a step is `discarded`.
    pub async fn retry(
        &self,
        lease: &Lease,
        code: ErrorCode,
        error: &str,
        rung: impl Fn(i32) -> Option<Duration> + Send,
    ) -> Result<Retry, LedgerError> {
        let lock = concat!(
            "-- ledger_retry_lock
             select attempt from posthog_export.runs where ",
            fence!(),
            " for update"
        );
        let count = concat!(
            "-- ledger_retry
             with changed as (
               update posthog_export.runs
               set state = $5, attempt = $6, error_code = $7, error = $8,
                   first_failed_at = coalesce(first_failed_at, clock_timestamp()),
                   retry_at = clock_timestamp() + $9, lease_token = null, lease_expires_at = null,
                   updated_at = clock_timestamp()
               where ",
            fence!(),
            " returning first_failed_at), ",
            end_claim!("$5, error_code = $7, error = left($8, 1000), attempt = $6"),
            " select first_failed_at from changed"
        );
        let counted = async {
            let mut tx = self.pool.begin().await?;
            let attempt: Option<i32> = sqlx::query_scalar(lock)
                .bind_key(&lease.key)
                .bind(lease.token)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(attempt) = attempt.map(|before| before + 1) else {
                return Ok(None);
            };
            let delay = rung(attempt);
            let first_failed_at = sqlx::query_scalar(count)
                .bind_key(&lease.key)
                .bind(lease.token)
                .bind(delay.map_or(given_up(&lease.key), |_| State::Waiting))
                .bind(attempt)
                .bind(code.as_str())
                .bind(error)
                .bind(delay.map(interval))
                .fetch_one(&mut *tx)
                .await?;
            tx.commit().await?;
            let buried = Buried {
                attempt,
                first_failed_at,
            };
            Ok(Some(delay.map_or(Retry::Exhausted(buried), |delay| Retry::Wait {
                attempt,
                delay,
            })))
        };
        answered(counted).await?.ok_or(LedgerError::LeaseLost)
    }

    /// Runs a statement that concerns one row while the lease is ours, and no row otherwise.
    pub(super) async fn write(&self, statement: Statement<'_>) -> Result<(), LedgerError> {
        match answered(statement.execute(&self.pool)).await?.rows_affected() {
            1 => Ok(()),
            _ => Err(LedgerError::LeaseLost),
        }
    }
}

pub(super) type Statement<'a> = Query<'a, Postgres, PgArguments>;

/// A statement whose condition is [`fence`].
pub(super) fn under_lease<'a>(statement: &'static str, lease: &'a Lease) -> Statement<'a> {
    sqlx::query(statement).bind_key(&lease.key).bind(lease.token)
}
