//! Leases, and the writes that only the holder of a lease may do.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use uuid::Uuid;

use super::Ledger;
use super::error::LedgerError;
use super::state::State;
use super::statement::{BindKey, answered, fence, interval, this_run};
use crate::error_code::ErrorCode;
use crate::job::{RunKey, Stream};

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

/// The position of a row in its stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The row's own time, UTC
    pub time: NaiveDateTime,
    /// Its id, compared as bytes (`COLLATE "C"`)
    pub id: String,
}

/// How far a stream of a run has come. Counts are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last row whose batch was accepted
    pub cursor: Option<Cursor>,
    /// No row is left
    pub done: bool,
    /// Events accepted
    pub sent: i64,
    /// Rows that can never be accepted
    pub rejected: i64,
    /// Bodies accepted
    pub batches: i64,
    /// Compressed bytes of these bodies
    pub bytes: i64,
}

/// A single row that PostHog can never accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The row's id in Langfuse
    pub row_id: String,
    /// Why, one line
    pub reason: String,
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
    /// The ladder is used up; the state is `dead`.
    Exhausted(Buried),
}

/// What the ledger counts of a run that is `dead`, for the headers of its dead letter.
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

    /// The checkpoint: saves a stream's progress and its rejects. A cursor never moves back. A
    /// cursor that moved is progress, so the counts of failures and take-overs begin again at zero.
    ///
    /// One statement, not a transaction of several. A worker that is frozen between two statements
    /// would keep the run's row locked, and no other worker could take the run over.
    pub async fn save(
        &self,
        lease: &Lease,
        stream: Stream,
        progress: &Progress,
        rejects: &[Reject],
    ) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_save
             with fence as (
               update posthog_export.runs
               set attempt = 0, takeovers = 0, updated_at = clock_timestamp()
               where ",
            fence!(),
            " returning 1),
             saved as (
               update posthog_export.streams
               set cursor_time = coalesce($6, cursor_time), cursor_id = coalesce($7, cursor_id), done = $8,
                   sent = $9, rejected = $10, batches = $11, bytes = $12, updated_at = clock_timestamp()
               from fence
               where ",
            this_run!(),
            " and stream = $5 and not done
                 and (cursor_time is null or $6::timestamp is null
                      or (cursor_time, cursor_id) <= ($6, $7 collate \"C\"))),
             rejected as (
               insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
               select $1, $2, $3, $5, r.id, r.reason
               from fence, unnest($13::text[], $14::text[]) as r (id, reason)
               on conflict do nothing)
             select 1 from fence"
        );
        let saved = under_lease(statement, lease)
            .bind(stream.as_str())
            .bind(progress.cursor.as_ref().map(|c| c.time))
            .bind(progress.cursor.as_ref().map(|c| c.id.as_str()))
            .bind(progress.done)
            .bind(progress.sent)
            .bind(progress.rejected)
            .bind(progress.batches)
            .bind(progress.bytes)
            .bind(rejects.iter().map(|r| r.row_id.as_str()).collect::<Vec<_>>())
            .bind(rejects.iter().map(|r| r.reason.as_str()).collect::<Vec<_>>());
        self.write(saved).await
    }

    /// `running → completed`. Refuses while a stream is not done: a completed run must have
    /// exported everything.
    pub async fn complete(&self, lease: &Lease) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_complete
             update posthog_export.runs r
             set state = 'completed', completed_at = clock_timestamp(), attempt = 0, takeovers = 0, error_code = null,
                 error = null, first_failed_at = null, retry_at = null, lease_token = null, lease_expires_at = null,
                 updated_at = clock_timestamp()
             where ",
            fence!(),
            " and not exists (select 1 from posthog_export.streams s
                              where s.project_id = r.project_id and s.day = r.day and s.run = r.run and not s.done)"
        );
        self.write(under_lease(statement, lease)).await
    }

    /// `running → queued`: the job is handed back. Nothing is counted, and the next worker may take
    /// it at once.
    pub async fn release(&self, lease: &Lease) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_release
             update posthog_export.runs
             set state = 'queued', queued_at = clock_timestamp(), lease_token = null, lease_expires_at = null,
                 updated_at = clock_timestamp()
             where ",
            fence!()
        );
        self.write(under_lease(statement, lease)).await
    }

    /// `running → skipped`. Once the reason is gone, the day counts as not exported.
    pub async fn skip(&self, lease: &Lease, code: ErrorCode, error: &str) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_skip
             update posthog_export.runs
             set state = 'skipped', error_code = $5, error = $6, lease_token = null, lease_expires_at = null,
                 updated_at = clock_timestamp()
             where ",
            fence!()
        );
        self.write(under_lease(statement, lease).bind(code.as_str()).bind(error))
            .await
    }

    /// `running → dead`: a permanent failure; a human decides.
    pub async fn bury(&self, lease: &Lease, code: ErrorCode, error: &str) -> Result<Buried, LedgerError> {
        let statement = concat!(
            "-- ledger_bury
             update posthog_export.runs
             set state = 'dead', error_code = $5, error = $6, attempt = attempt + 1,
                 first_failed_at = coalesce(first_failed_at, clock_timestamp()), retry_at = null,
                 lease_token = null, lease_expires_at = null, updated_at = clock_timestamp()
             where ",
            fence!(),
            " returning attempt, first_failed_at"
        );
        let buried = sqlx::query_as(statement)
            .bind_key(&lease.key)
            .bind(lease.token)
            .bind(code.as_str())
            .bind(error)
            .fetch_optional(&self.pool);
        answered(buried).await?.ok_or(LedgerError::LeaseLost)
    }

    /// Counts the failure: `running → waiting`, or `dead` when the ladder has no rung for this
    /// attempt.
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
             update posthog_export.runs
             set state = $4, attempt = $5, error_code = $6, error = $7,
                 first_failed_at = coalesce(first_failed_at, clock_timestamp()),
                 retry_at = clock_timestamp() + $8, lease_token = null, lease_expires_at = null,
                 updated_at = clock_timestamp()
             where ",
            this_run!(),
            " returning first_failed_at"
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
                .bind(if delay.is_some() { State::Waiting } else { State::Dead })
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
    async fn write(&self, statement: Statement<'_>) -> Result<(), LedgerError> {
        match answered(statement.execute(&self.pool)).await?.rows_affected() {
            1 => Ok(()),
            _ => Err(LedgerError::LeaseLost),
        }
    }
}

type Statement<'a> = Query<'a, Postgres, PgArguments>;

/// A statement whose condition is [`fence`].
fn under_lease<'a>(statement: &'static str, lease: &'a Lease) -> Statement<'a> {
    sqlx::query(statement).bind_key(&lease.key).bind(lease.token)
}
