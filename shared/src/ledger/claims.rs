//! The history of a run: one row for each of its claims. The rows are written by the statements that
//! take, end and forget leases, at no cost of a statement of their own.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Ledger;
use super::error::LedgerError;
use super::statement::reported;
use crate::job::{Day, RunKey};

/// How many of the first claims of a run are kept, and how many of the latest. A run that goes round
/// the ladder for weeks must not fill the table.
pub(super) const KEPT: i32 = 50;

/// Ends the claim of the lease `$4`, in a statement that calls the row of the run that it has changed
/// `changed`. What follows `ended_as =` comes from the caller.
macro_rules! end_claim {
    ($ended_as:literal) => {
        concat!(
            "told as (
               update posthog_export.claims c set ended_at = clock_timestamp(), ended_as = ",
            $ended_as,
            " from changed
               where c.project_id = $1 and c.day = $2 and c.run = $3 and c.lease_token = $4 and c.ended_at is null)"
        )
    };
}

/// Ends the claims whose holders have said nothing, in a statement that calls the row of the run that
/// it has changed `changed`. They end when their lease ran out, which the row of the run says as it was
/// before the statement.
macro_rules! lapse_claims {
    ($ended_as:literal) => {
        concat!(
            "lapsed as (
               update posthog_export.claims c
               set ended_at = case when r.lease_token = c.lease_token then least(r.lease_expires_at, clock_timestamp())
                                   else clock_timestamp() end,
                   ended_as = ",
            $ended_as,
            " from changed, posthog_export.runs r
               where c.project_id = $1 and c.day = $2 and c.run = $3 and c.ended_at is null
                 and r.project_id = $1 and r.day = $2 and r.run = $3)"
        )
    };
}

pub(super) use {end_claim, lapse_claims};

/// A claim of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ClaimRow {
    /// The run's name
    pub run: String,
    /// From 1 on
    pub number: i32,
    /// The worker that had it
    pub worker: String,
    /// Which attempt it was, from 1 on since a cursor last moved
    pub attempt: i32,
    /// When
    pub claimed_at: DateTime<Utc>,
    /// Until when; `None`: it is at work, or nobody knows
    pub ended_at: Option<DateTime<Utc>>,
    /// How; `None`: it is at work
    pub ended_as: Option<String>,
    /// The word of the failure
    pub error_code: Option<String>,
    /// Its text, or why the run was handed back
    pub error: Option<String>,
    /// All log lines of the claim carry it
    pub trace_id: Option<String>,
}

impl Ledger {
    /// The claims of a run that are kept, in their order. One whose lease ran out, and that nobody has
    /// taken over yet, is `lost` already.
    pub async fn claims(&self, key: &RunKey) -> Result<Vec<ClaimRow>, LedgerError> {
        self.claims_of(&key.project_id, key.day, Some(&key.run)).await
    }

    /// The same of all runs of a day, by run.
    pub async fn claims_of_day(&self, project_id: &str, day: Day) -> Result<Vec<ClaimRow>, LedgerError> {
        self.claims_of(project_id, day, None).await
    }

    async fn claims_of(&self, project_id: &str, day: Day, run: Option<&str>) -> Result<Vec<ClaimRow>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_claims
             select c.run, c.number, c.worker, c.attempt, c.claimed_at, c.error_code, c.error, c.trace_id,
                    coalesce(c.ended_at, case when l.ours and not l.holds then r.lease_expires_at end) as ended_at,
                    coalesce(c.ended_as, case when not l.holds then 'lost' end) as ended_as
             from posthog_export.claims c
             join posthog_export.runs r using (project_id, day, run)
             cross join lateral (
               select r.lease_token is not distinct from c.lease_token as ours,
                      r.lease_token is not distinct from c.lease_token and r.state = 'running'
                        and r.lease_expires_at > clock_timestamp() as holds) l
             where c.project_id = $1 and c.day = $2 and ($3::text is null or c.run = $3)
             order by c.run, c.number",
        )
        .bind(project_id)
        .bind(day.0)
        .bind(run);
        reported(rows.fetch_all(&self.pool)).await
    }
}
