//! The ledger: our tables, which say how far each run of each day is. A worker's writes carry the
//! token of its lease, and change nothing once another worker has the lease. All times are of the
//! database's clock.

mod arrivals;
mod audit;
mod calendar;
mod checkpoint;
mod claim;
mod claims;
mod columns;
mod dashboards;
mod dead;
mod error;
mod examined;
mod fold;
mod gauges;
mod known;
mod lease;
mod lock;
mod overview;
mod pause;
mod queue;
mod reports;
mod state;
mod statement;
mod steps;
mod sweeps;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

pub use arrivals::{Arrival, CompletedRun, Mark, NotArrived, Verdict, Wanted};
pub use audit::{AuditRights, AuditRow, Deed, DeedResult, DeedState, LeftOut, Noted, Noting};
pub use calendar::StepsOfDay;
pub use checkpoint::{Cursor, Progress, Reject, Unsaved};
pub use claim::{Asking, Claim, ClaimBegun, Claimed};
pub use claims::ClaimRow;
pub use dashboards::{DashboardKey, KnownDashboard, KnownTile};
pub use dead::Cause;
pub use error::LedgerError;
pub use examined::{Examination, Examined};
pub use gauges::Gauges;
pub use lease::{Buried, Lease, Retry};
pub use lock::Lock;
pub use overview::{ArrivalCounts, DayRun, ProjectDays, Sent, Unfinished};
pub use pause::{HUMAN, Pause};
pub use queue::Discard;
pub use reports::{Counts, Filter, RejectRow, RunRow, StreamRow, Summary};
pub use state::State;
use statement::answered;
pub use steps::FailedStep;
pub use sweeps::Sweep;

/// Our schema; `_sqlx_migrations` lives in it too.
pub const SCHEMA: &str = "posthog_export";

/// The migrations. They also create the schema.
pub fn migrator() -> Migrator {
    let mut migrator = migrator_in_schema();
    migrator.create_schema(SCHEMA);
    migrator
}

/// The migrations for a schema that exists. `create schema if not exists` needs the right to create
/// a schema even when it exists.
pub fn migrator_in_schema() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.dangerous_set_table_name(format!("{SCHEMA}._sqlx_migrations"));
    migrator
}

/// A handle to our tables.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// A handle with a pool of its own, so that a lease is renewed even while pages hang.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The pool, for the producer's own reads.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether our schema exists in the version that this program needs.
    pub async fn is_migrated(&self) -> Result<bool, LedgerError> {
        let table = sqlx::query_scalar(
            "-- ledger_is_migrated\nselect to_regclass('posthog_export._sqlx_migrations') is not null",
        );
        if !answered(table.fetch_one(&self.pool)).await? {
            return Ok(false);
        }
        let newest = sqlx::query_scalar(
            "-- ledger_version\nselect max(version) from posthog_export._sqlx_migrations where success",
        );
        let newest: Option<i64> = answered(newest.fetch_one(&self.pool)).await?;
        Ok(newest >= migrator().iter().map(|m| m.version).max())
    }

    /// Whether it takes writes: a replica does not, nor does a read-only role.
    pub async fn is_writable(&self) -> Result<bool, LedgerError> {
        let asked = async {
            let mut connection = self.pool.acquire().await?;
            let writable = "-- ledger_is_writable\nselect current_setting('transaction_read_only') = 'off'";
            let writable: bool = sqlx::query_scalar(writable).fetch_one(&mut *connection).await?;
            if !writable {
                // A session keeps the setting that it began with.
                connection.close().await?;
            }
            Ok(writable)
        };
        answered(asked).await
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<DateTime<Utc>, LedgerError> {
        let now = sqlx::query_scalar("-- ledger_now\nselect clock_timestamp()");
        answered(now.fetch_one(&self.pool)).await
    }
}
