//! What the ledger knows of a day's size.

use chrono::NaiveDate;

use super::Ledger;
use super::error::LedgerError;
use super::statement::reported;
use crate::job::{Day, Stream};

impl Ledger {
    /// How many rows of these streams the last whole run of each day read, where there was one.
    pub async fn events_by_day(
        &self,
        project_id: &str,
        from: Day,
        to: Day,
        streams: &[Stream],
    ) -> Result<Vec<(Day, i64)>, LedgerError> {
        let rows = sqlx::query_as::<_, (NaiveDate, i64)>(
            "-- ledger_events_by_day
             select distinct on (r.day) r.day, s.events
             from posthog_export.runs r
             cross join lateral (
               select coalesce(sum(sent + rejected), 0)::bigint as events, count(*) as streams
               from posthog_export.streams
               where project_id = r.project_id and day = r.day and run = r.run and stream = any($4)) s
             where r.project_id = $1 and r.day between $2 and $3 and r.state = 'completed'
               and r.created_after is null and r.span_from is null and not r.changed and s.streams = cardinality($4)
             order by r.day, r.completed_at desc",
        )
        .bind(project_id)
        .bind(from.0)
        .bind(to.0)
        .bind(streams);
        let known = reported(rows.fetch_all(&self.pool)).await?;
        Ok(known.into_iter().map(|(day, events)| (Day(day), events)).collect())
    }
}
