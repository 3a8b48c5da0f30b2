//! What the metrics show of the ledger. Every worker reads it all the time, so no statement may
//! become slower as the ledger grows: each reads the first entry of an index, or a small table.

use chrono::{DateTime, Utc};

use super::Ledger;
use super::error::LedgerError;
use super::statement::answered;

/// The ledger at a glance.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Gauges {
    /// The database's clock
    pub now: DateTime<Utc>,
    /// The end of the oldest unfinished day that was asked for on the following day, as the
    /// producer does
    pub daily_since: Option<DateTime<Utc>>,
    /// When the oldest other unfinished run was asked for: a project's history, and most replays.
    /// Steps and `settled` runs are in neither
    pub backfill_since: Option<DateTime<Utc>>,
    /// When the oldest unfinished `settled` run was asked for
    pub settled_since: Option<DateTime<Utc>>,
    /// When a run was completed last
    pub last_completed: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Reads the gauges. A run is unfinished when it is `queued`, `running` or `waiting`. Dead runs
    /// have a metric of their own: the depth of the dead-letter queue. A step is no day, and what
    /// `settled` exports was exported before: neither makes a day late.
    pub async fn gauges(&self) -> Result<Gauges, LedgerError> {
        let gauges = sqlx::query_as(
            "-- ledger_gauges
             select clock_timestamp() as now,
               (select min(day) + 1 from posthog_export.runs
                where state in ('queued', 'running', 'waiting') and (asked_at at time zone 'UTC')::date <= day + 1
                  and run <> 'settled' and run not like 'step-%'
               )::timestamp at time zone 'UTC' as daily_since,
               (select min(asked_at) from posthog_export.runs
                where state in ('queued', 'running', 'waiting') and (asked_at at time zone 'UTC')::date > day + 1
                  and run <> 'settled' and run not like 'step-%'
               ) as backfill_since,
               (select min(asked_at) from posthog_export.runs
                where state in ('queued', 'running', 'waiting') and run = 'settled') as settled_since,
               (select max(completed_at) from posthog_export.runs where state = 'completed') as last_completed",
        );
        answered(gauges.fetch_one(&self.pool)).await
    }

    /// When the producer last looked at every day of every project, with all its messages
    /// confirmed.
    pub async fn last_enqueued(&self) -> Result<Option<DateTime<Utc>>, LedgerError> {
        let ended = sqlx::query_scalar("-- ledger_last_enqueued\nselect ended_at from posthog_export.last_enqueue");
        answered(ended.fetch_optional(&self.pool)).await
    }

    /// How many projects are paused, by the error code that led to it; `None`: by a person.
    pub async fn paused_projects(&self) -> Result<Vec<(Option<String>, i64)>, LedgerError> {
        let paused = sqlx::query_as(
            "-- ledger_paused_projects
             select error_code, count(*) from posthog_export.paused group by error_code",
        );
        answered(paused.fetch_all(&self.pool)).await
    }
}
