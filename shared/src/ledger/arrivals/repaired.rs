//! The mark of a verdict whose missing events were sent again.

use chrono::{DateTime, Utc};

use super::Arrival;
use crate::job::Day;
use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;
use crate::ledger::state::State;
use crate::ledger::statement::answered;

/// Whether a verdict's missing events may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// They may, and the verdict is marked
    Set(DateTime<Utc>),
    /// A run of the day is on its way, and may bring them
    OnItsWay {
        /// Its name
        run: String,
        /// `queued`, `running` or `waiting`
        state: State,
    },
    /// Somebody else has sent them, or judged the day anew
    Taken,
}

impl Ledger {
    /// Marks a verdict before its missing events are published again. Of two that try it at the same
    /// time, one does; nobody does while a run of the day is on its way.
    pub async fn mark_repaired(&self, arrival: &Arrival) -> Result<Mark, LedgerError> {
        let marked = sqlx::query_scalar(
            "-- ledger_mark_repaired
             update posthog_export.arrivals set repaired_at = clock_timestamp()
             where project_id = $1 and day = $2 and verdict = 'missing' and checked_at = $3
               and repaired_at is not distinct from $4
               and not exists (select from posthog_export.runs r where r.project_id = $1 and r.day = $2
                               and r.state in ('queued', 'running', 'waiting'))
             returning repaired_at",
        )
        .bind(&arrival.project_id)
        .bind(arrival.day.0)
        .bind(arrival.checked_at)
        .bind(arrival.repaired_at)
        .fetch_optional(&self.pool);
        if let Some(at) = answered(marked).await? {
            return Ok(Mark::Set(at));
        }
        let on_its_way = self.on_its_way(&arrival.project_id, arrival.day).await?;
        Ok(on_its_way.map_or(Mark::Taken, |(run, state)| Mark::OnItsWay { run, state }))
    }

    async fn on_its_way(&self, project_id: &str, day: Day) -> Result<Option<(String, State)>, LedgerError> {
        let found = sqlx::query_as(
            "-- ledger_day_on_its_way
             select run, state from posthog_export.runs
             where project_id = $1 and day = $2 and state in ('queued', 'running', 'waiting') order by run limit 1",
        )
        .bind(project_id)
        .bind(day.0)
        .fetch_optional(&self.pool);
        answered(found).await
    }

    /// Takes back the mark that was set `at`: nothing was published.
    pub async fn unmark_repaired(&self, arrival: &Arrival, at: DateTime<Utc>) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_unmark_repaired
             update posthog_export.arrivals set repaired_at = $4
             where project_id = $1 and day = $2 and repaired_at = $3",
        )
        .bind(&arrival.project_id)
        .bind(arrival.day.0)
        .bind(at)
        .bind(arrival.repaired_at)
        .execute(&self.pool);
        answered(written).await?;
        Ok(())
    }
}
