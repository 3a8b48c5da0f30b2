//! Which days are to be verified.

use chrono::{DateTime, NaiveDate, Utc};

use crate::job::Day;
use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;
use crate::ledger::statement::reported;

/// Which days to verify.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Only these projects; all when empty
    pub projects: &'a [String],
    /// First day
    pub from: Day,
    /// Last day, included
    pub to: Day,
    /// Where only what is due is verified: also earlier days whose last run was completed since then
    pub exported_since: DateTime<Utc>,
    /// Also days that are not due to be looked at again
    pub all: bool,
    /// Also those that miss events, whenever that was found
    pub missing: bool,
    /// The last day that has settled. A later one is not due: what changed of it is still to be sent
    pub settled: Day,
}

impl Ledger {
    /// The exported days that are to be verified: first those that were never looked at, oldest first,
    /// then those whose last look is longest ago. Days before `from` that were never looked at come
    /// last, oldest first: a history of years keeps no alert waiting.
    ///
    /// By itself a day is due an hour after its last run was completed. While nothing is known of it,
    /// or not everything is there yet, it is due again after 1, 3, and then each 12 hours, and when the
    /// export is a day old. A day that misses events is due again each day, also where it lies before
    /// `from`.
    pub async fn days_to_verify(&self, wanted: &Wanted<'_>) -> Result<Vec<(String, Day)>, LedgerError> {
        let rows = sqlx::query_as::<_, (String, NaiveDate)>(
            "-- ledger_days_to_verify
             with looked_for as (
               select project_id, day from posthog_export.runs where $4 and day between $1 and $2
               -- By the index of completed_at: a day of that time was completed after its beginning.
               union select project_id, day from posthog_export.runs
                     where not $4 and state = 'completed' and day <= $2
                       and completed_at > least($7, $1::date::timestamp at time zone 'UTC')
                       and (day >= $1 or completed_at > $7)
               union select project_id, day from posthog_export.arrivals
                     where not $4 and verdict = 'missing' and not set_aside),
             days as (
               select project_id, day, max(completed_at) filter (where state = 'completed') as completed_at,
                      bool_or(state in ('queued', 'running', 'waiting')) as moving
               from looked_for join posthog_export.runs using (project_id, day)
               where cardinality($3::text[]) = 0 or project_id = any($3)
               group by project_id, day
               having bool_or(state = 'completed' and created_after is null and span_from is null
                              and coalesce(events @> array['trace', 'generation', 'score'], true)))
             select d.project_id, d.day
             from days d left join posthog_export.arrivals a on a.project_id = d.project_id and a.day = d.day
             where $4 or $5 and a.verdict = 'missing'
                or not d.moving and not coalesce(a.set_aside, false) and d.completed_at < clock_timestamp() - interval '1 hour'
                   and (d.day <= $6 or a.verdict = 'missing')
                   and (a.verdict is null or coalesce(a.seen_completed_at, a.run_completed_at) < d.completed_at
                        or (a.verdict = 'not_yet' or a.verdict = 'missing' and a.failure is not null)
                           and a.looked_at < d.completed_at + interval '24 hours'
                           and d.completed_at + interval '24 hours' < clock_timestamp()
                        or a.looked_at + case
                             when a.verdict in ('not_yet', 'unknown') or a.verdict = 'missing' and a.failure is not null
                               then (array['1 hour', '1 hour', '3 hours', '12 hours'])[least(a.looks, 3) + 1]::interval
                             when a.verdict = 'missing' then interval '24 hours' end < clock_timestamp())
             order by a.verdict is null and d.day < $1 and not $4, a.looked_at nulls first, d.day, d.project_id",
        )
        .bind(wanted.from.0)
        .bind(wanted.to.0)
        .bind(wanted.projects)
        .bind(wanted.all)
        .bind(wanted.missing)
        .bind(wanted.settled.0)
        .bind(wanted.exported_since)
        .fetch_all(&self.pool);
        let days = reported(rows).await?;
        Ok(days.into_iter().map(|(project, day)| (project, Day(day))).collect())
    }
}
