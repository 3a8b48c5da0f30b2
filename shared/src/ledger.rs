//! Our tables: which run of which day is where. Every write of a worker carries its lease's token and changes nothing when
//! the lease is no longer its own; every time is the database's.

mod claim;
mod columns;
mod error;
mod gauges;
mod lease;
mod lock;
mod pause;
mod queue;
mod reports;
mod state;
mod statement;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

pub use claim::{Claim, ClaimBegun, Claimed};
pub use error::LedgerError;
pub use gauges::Gauges;
pub use lease::{Buried, Cursor, Lease, Progress, Reject, Retry};
pub use lock::Lock;
pub use pause::{HUMAN, Pause};
pub use queue::Discard;
pub use reports::{Counts, Filter, RejectRow, RunRow, StreamRow, Summary};
pub use state::State;
use statement::answered;

/// Our schema; `_sqlx_migrations` lives in it too.
pub const SCHEMA: &str = "posthog_export";

/// The migrations, embedded; they make the schema too.
pub fn migrator() -> Migrator {
    let mut migrator = migrator_in_schema();
    migrator.create_schema(SCHEMA);
    migrator
}

/// The migrations for a schema that is there: `create schema if not exists` asks for the right to create one even then.
pub fn migrator_in_schema() -> Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.dangerous_set_table_name(format!("{SCHEMA}._sqlx_migrations"));
    migrator
}

/// Handle to our tables.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// A handle on a pool of its own: a page that hangs must never keep a lease from being renewed.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The pool, for the producer's own reads.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether our schema is there in the version of this program.
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

    /// The database's clock.
    pub async fn now(&self) -> Result<DateTime<Utc>, LedgerError> {
        let now = sqlx::query_scalar("-- ledger_now\nselect clock_timestamp()");
        answered(now.fetch_one(&self.pool)).await
    }
}
