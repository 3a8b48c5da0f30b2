//! The claim: may this worker work on a run now? One transaction reads the rows of the run's day
//! under a lock, decides by the table in `decide.rs`, and writes.

mod decide;
mod take;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Transaction;
use sqlx::postgres::{PgConnection, Postgres};

use decide::{Decision, Found, decide, is_over};
use take::{forget_progress, take};

use super::Ledger;
use super::checkpoint::Progress;
use super::claims::lapse_claims;
use super::error::LedgerError;
use super::lease::Lease;
use super::state::{State, given_up};
use super::statement::{BindKey, BindScope, answered, insert_run, this_run};
use crate::coverage::{Coverage, Covering};
use crate::error_code::ErrorCode;
use crate::job::{RunKey, Scope, Span, Stream};

/// The claim's answer.
#[derive(Debug)]
pub enum Claim {
    /// Work on it.
    Run(Claimed),
    /// It is completed, or a person discarded it: ack.
    Done(State),
    /// It is a step of a day that is over: it is `discarded` now, and its day's `daily` run sends what
    /// it did not. Ack.
    Superseded,
    /// It is `waiting`, and its time has not come: back to a rung, nothing counted.
    NotYet {
        /// Until `retry_at`
        wait: Duration,
    },
    /// Another worker holds its lease, or that of another run of the same day: back to the shortest
    /// rung, nothing counted.
    LeaseHeld {
        /// The worker and its run, for the log
        by: String,
    },
    /// It was taken over too often without progress. It is `dead` now, or `discarded` where it is a step.
    KillsWorkers {
        /// How many workers died with it
        takeovers: i32,
    },
    /// The day has not ended, by the database's clock. Nothing was written.
    DayNotOver {
        /// The database's clock
        now: DateTime<Utc>,
    },
}

/// A run that is ours now.
#[derive(Debug)]
pub struct Claimed {
    /// Carried by every write
    pub lease: Lease,
    /// The checkpoint of each stream of the job
    pub streams: BTreeMap<Stream, Progress>,
    /// Failures so far, since a cursor last moved
    pub attempt: i32,
    /// Take-overs since a cursor last moved, this one included
    pub takeovers: i32,
    /// Whether it was taken over from a worker whose lease ran out
    pub taken_over: bool,
    /// What other completed runs have sent to the same target; only for a scope with `changed`
    pub coverage: Option<Coverage>,
}

/// Who asks for a run, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The worker's name
    pub worker: &'a str,
    /// How long the lease lasts
    pub length: Duration,
    /// Where the events would go, when that is known
    pub target: Option<&'a str>,
    /// Until when the source has all rows, when it is a replica
    pub visible_until: Option<DateTime<Utc>>,
    /// The trace of the message, for the run's history
    pub trace_id: Option<&'a str>,
}

impl Ledger {
    /// Begins the transaction of a claim. When this fails, no lease was asked for.
    pub async fn begin_claim(&self) -> Result<ClaimBegun, LedgerError> {
        Ok(ClaimBegun(answered(self.pool.begin()).await?))
    }
}

/// The transaction of a claim.
#[derive(Debug)]
pub struct ClaimBegun(Transaction<'static, Postgres>);

impl ClaimBegun {
    /// Asks for the `wanted` lease of a run that exports `scope`. When the answer is lost ([`LedgerError::Unreachable`]), the
    /// lease may be ours all the same: release it.
    pub async fn claim(self, scope: &Scope, wanted: &Lease, asking: Asking<'_>) -> Result<Claim, LedgerError> {
        let Self(mut tx) = self;
        let key = &wanted.key;
        let claimed = async {
            let (now, found) = lock_rows(&mut tx, key).await?;
            if !is_over(key, scope, now) {
                return Ok(Claim::DayNotOver { now });
            }
            let claim = match decide(key, &found, asking.target, now) {
                Decision::Superseded => {
                    supersede(&mut tx, key, scope).await?;
                    Claim::Superseded
                }
                Decision::Done(state) => Claim::Done(state),
                Decision::NotYet(wait) => Claim::NotYet { wait },
                Decision::LeaseHeld(by) => Claim::LeaseHeld { by },
                Decision::KillsWorkers(takeovers) => {
                    give_up(&mut tx, key, takeovers).await?;
                    Claim::KillsWorkers { takeovers }
                }
                Decision::Run(mut start) => {
                    let mine = found.iter().find(|row| row.run == key.run);
                    // Two messages of one name may ask for other rows, when the ledger was not told of
                    // the first. What the row says was read must be what this message reads.
                    start.anew |= mine.is_some_and(|row| !row.is_of(scope));
                    match mine {
                        None => insert(&mut tx, key, scope).await?,
                        Some(_) if start.anew => forget_progress(&mut tx, key).await?,
                        Some(_) => {}
                    }
                    Claim::Run(Claimed {
                        lease: wanted.clone(),
                        streams: take(&mut tx, wanted, scope, asking, start).await?,
                        attempt: start.attempt,
                        takeovers: start.takeovers,
                        taken_over: mine.is_some_and(|row| row.state == State::Running),
                        coverage: match asking.target.filter(|_| scope.changed) {
                            Some(target) => Some(coverage(&mut tx, key, target).await?),
                            None => None,
                        },
                    })
                }
            };
            tx.commit().await?;
            Ok(claim)
        };
        answered(claimed).await
    }
}

/// Locks and reads the rows of a project's day, and the clock. Only one claim at a time may do so:
/// two runs of the same day must see each other's lease.
async fn lock_rows(tx: &mut PgConnection, key: &RunKey) -> Result<(DateTime<Utc>, Vec<Found>), sqlx::Error> {
    // The lock's number is a hash. Two days may have the same; then their claims wait for each
    // other. The clock is read once the lock is held. The rows need a statement of their own: this
    // one sees what was there before it waited.
    let now = sqlx::query_scalar(
        "-- ledger_claim_lock
         with held as materialized (select pg_advisory_xact_lock(hashtextextended($1, 0)))
         select clock_timestamp() from held",
    )
    .bind(format!("posthog_export.claim/{}/{}", key.project_id, key.day))
    .fetch_one(&mut *tx)
    .await?;
    let found = sqlx::query_as(
        "-- ledger_claim_rows
         select run, state, attempt, takeovers, lease_expires_at, worker, retry_at, target, span_from, span_until,
                created_after
         from posthog_export.runs where project_id = $1 and day = $2 order by run for update",
    )
    .bind(&key.project_id)
    .bind(key.day.0)
    .fetch_all(tx)
    .await?;
    Ok((now, found))
}

/// The row of a run that had none. The producer may have made it in the meantime.
async fn insert(tx: &mut PgConnection, key: &RunKey, scope: &Scope) -> Result<(), sqlx::Error> {
    let statement = concat!("-- ledger_claim_insert\n", insert_run!("queued"), "nothing");
    sqlx::query(statement)
        .bind_key(key)
        .bind_scope(scope)
        .execute(tx)
        .await?;
    Ok(())
}

async fn give_up(tx: &mut PgConnection, key: &RunKey, takeovers: i32) -> Result<(), sqlx::Error> {
    let statement = concat!(
        "-- ledger_claim_give_up
         with changed as (
         update posthog_export.runs
         set state = $7, takeovers = $4, error_code = $5, error = $6, retry_at = null, lease_token = null,
             lease_expires_at = null, first_failed_at = coalesce(first_failed_at, clock_timestamp()),
             updated_at = clock_timestamp()
         where ",
        this_run!(),
        " returning 1), ",
        lapse_claims!("'lost'"),
        " select 1 from changed"
    );
    sqlx::query(statement)
        .bind_key(key)
        .bind(takeovers)
        .bind(ErrorCode::KillsWorkers.as_str())
        .bind(format!("{takeovers} workers ended with this run before a cursor moved"))
        .bind(given_up(key))
        .execute(tx)
        .await?;
    Ok(())
}

/// Discards a step whose day is over: its `daily` run sends what the step did not.
async fn supersede(tx: &mut PgConnection, key: &RunKey, scope: &Scope) -> Result<(), sqlx::Error> {
    let statement = concat!(
        "-- ledger_claim_supersede\nwith changed as (",
        insert_run!("discarded"),
        "update
         set state = 'discarded', retry_at = null, lease_token = null, lease_expires_at = null,
             updated_at = clock_timestamp()
         returning 1), ",
        lapse_claims!("'lost'"),
        " select 1 from changed"
    );
    sqlx::query(statement)
        .bind_key(key)
        .bind_scope(scope)
        .execute(tx)
        .await?;
    Ok(())
}

/// What the other completed runs of a day have sent to a target.
async fn coverage(tx: &mut PgConnection, key: &RunKey, target: &str) -> Result<Coverage, sqlx::Error> {
    type Found = (DateTime<Utc>, Option<DateTime<Utc>>, Option<DateTime<Utc>>, Vec<Stream>);
    let runs: Vec<Found> = sqlx::query_as(
        "-- ledger_claim_coverage
         select r.started_at, r.span_from, r.span_until,
                array(select s.stream from posthog_export.streams s
                      where s.project_id = r.project_id and s.day = r.day and s.run = r.run and s.done)
         from posthog_export.runs r
         where r.project_id = $1 and r.day = $2 and r.run <> $3 and r.state = 'completed' and r.target = $4
           and r.created_after is null and r.started_at is not null",
    )
    .bind_key(key)
    .bind(target)
    .fetch_all(tx)
    .await?;
    let whole = Span::of(key.day);
    let covering = runs.into_iter().map(|(began, from, until, done)| Covering {
        began,
        from: from.unwrap_or(whole.from).naive_utc(),
        until: until.unwrap_or(whole.until).naive_utc(),
        done: done.into_iter().collect(),
    });
    Ok(Coverage::of(covering.collect()))
}
