//! The dead runs, by cause.

use chrono::{DateTime, Utc};

use super::Ledger;
use super::error::LedgerError;
use super::reports::{RunRow, run_rows};
use super::statement::reported;
use crate::job::RunKey;

/// A cause, and how many runs it left dead.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Cause {
    /// The word of the failure; `None`: there is none in the ledger
    pub error_code: Option<String>,
    /// Dead runs
    pub runs: i64,
    /// Projects that have one
    pub projects: i64,
    /// The earliest first failure
    pub oldest: Option<DateTime<Utc>>,
    /// The latest
    pub newest: Option<DateTime<Utc>>,
}

impl Ledger {
    /// The causes of all dead runs, the most frequent first.
    pub async fn dead_causes(&self) -> Result<Vec<Cause>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_dead_causes
             select error_code, count(*) as runs, count(distinct project_id) as projects, min(first_failed_at) as oldest,
                    max(first_failed_at) as newest
             from posthog_export.runs where state = 'dead' and state <> 'completed'
             group by error_code order by runs desc, error_code",
        );
        reported(rows.fetch_all(&self.pool)).await
    }

    /// Dead runs by project and day, at most `limit`: those of one cause where one is given, and those
    /// behind one run.
    pub async fn dead_runs(
        &self,
        cause: Option<&str>,
        behind: Option<&RunKey>,
        limit: i64,
    ) -> Result<Vec<RunRow>, LedgerError> {
        let rows = sqlx::query_as(run_rows!(
            "-- ledger_dead_runs",
            "r.state = 'dead' and r.state <> 'completed'
               and ($2::text is null or coalesce(r.error_code, 'unknown') = $2)
               and ($3::text is null or (r.project_id, r.day, r.run) > ($3, $4::date, $5))
             order by r.project_id, r.day, r.run limit $1"
        ));
        let rows = rows
            .bind(limit)
            .bind(cause)
            .bind(behind.map(|key| &key.project_id))
            .bind(behind.map(|key| key.day.0))
            .bind(behind.map(|key| &key.run));
        reported(rows.fetch_all(&self.pool)).await
    }
}
