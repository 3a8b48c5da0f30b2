//! What the console reads of one project: its days, and its newest runs.

use chrono::NaiveDate;

use super::Ledger;
use super::arrivals::Verdict;
use super::error::LedgerError;
use super::reports::{Counts, RunRow, run_rows};
use super::state::State;
use super::statement::reported;
use crate::job::Day;

/// The steps of a day of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepsOfDay {
    /// The UTC day
    pub day: Day,
    /// The state of each
    pub states: Vec<State>,
    /// What all of them sent and rejected
    pub counts: Counts,
}

impl Ledger {
    /// What the runs of each day sent and rejected.
    pub async fn counts_by_day(&self, project_id: &str, from: Day, to: Day) -> Result<Vec<(Day, Counts)>, LedgerError> {
        let rows = sqlx::query_as::<_, (NaiveDate, i64, i64)>(
            "-- ledger_counts_by_day
             select day, sum(sent)::bigint, sum(rejected)::bigint from posthog_export.streams
             where project_id = $1 and day between $2 and $3 group by day order by day",
        )
        .bind(project_id)
        .bind(from.0)
        .bind(to.0);
        let counts = |(day, sent, rejected)| (Day(day), Counts { sent, rejected });
        Ok(reported(rows.fetch_all(&self.pool))
            .await?
            .into_iter()
            .map(counts)
            .collect())
    }

    /// The verdict on each day that has one.
    pub async fn verdicts_by_day(
        &self,
        project_id: &str,
        from: Day,
        to: Day,
    ) -> Result<Vec<(Day, Verdict)>, LedgerError> {
        let rows = sqlx::query_as::<_, (NaiveDate, Verdict)>(
            "-- ledger_verdicts_by_day
             select day, verdict from posthog_export.arrivals where project_id = $1 and day between $2 and $3",
        )
        .bind(project_id)
        .bind(from.0)
        .bind(to.0);
        let verdicts = reported(rows.fetch_all(&self.pool)).await?;
        Ok(verdicts.into_iter().map(|(day, verdict)| (Day(day), verdict)).collect())
    }

    /// The first and the last day that has a run; `None`: there is none.
    pub async fn first_and_last_day(&self, project_id: &str) -> Result<Option<(Day, Day)>, LedgerError> {
        let days = sqlx::query_as::<_, (Option<NaiveDate>, Option<NaiveDate>)>(
            "-- ledger_first_and_last_day
             select (select min(day) from posthog_export.runs where project_id = $1),
                    (select max(day) from posthog_export.runs where project_id = $1)",
        );
        let (first, last) = reported(days.bind(project_id).fetch_one(&self.pool)).await?;
        Ok(first.zip(last).map(|(first, last)| (Day(first), Day(last))))
    }

    /// The runs of the newest days, or of one day; without steps.
    pub async fn newest_runs(
        &self,
        project_id: &str,
        day: Option<Day>,
        limit: i64,
    ) -> Result<Vec<RunRow>, LedgerError> {
        // Two statements, so that each has a plan of its own.
        let rows = match day {
            Some(day) => sqlx::query_as(run_rows!(
                "-- ledger_runs_of_day",
                "r.project_id = $1 and r.day = $3 and r.run not like 'step-%' order by r.run limit $2"
            ))
            .bind(project_id)
            .bind(limit)
            .bind(day.0),
            None => sqlx::query_as(run_rows!(
                "-- ledger_newest_runs",
                "r.project_id = $1 and r.run not like 'step-%' order by r.day desc, r.run desc limit $2"
            ))
            .bind(project_id)
            .bind(limit),
        };
        reported(rows.fetch_all(&self.pool)).await
    }

    /// The steps of a day.
    pub async fn steps_of_day(&self, project_id: &str, day: Day, limit: i64) -> Result<Vec<RunRow>, LedgerError> {
        let rows = sqlx::query_as(run_rows!(
            "-- ledger_steps_of_day",
            "r.project_id = $1 and r.day = $2 and r.run like 'step-%' order by r.span_from desc, r.run limit $3"
        ));
        reported(rows.bind(project_id).bind(day.0).bind(limit).fetch_all(&self.pool)).await
    }

    /// What became of the steps of each day from this one on, the newest days first.
    pub async fn steps_by_day(&self, project_id: &str, from: Day, limit: i64) -> Result<Vec<StepsOfDay>, LedgerError> {
        let rows = sqlx::query_as::<_, (NaiveDate, Vec<State>, i64, i64)>(
            "-- ledger_steps_by_day
             select r.day, array_agg(r.state), coalesce(sum(s.sent), 0)::bigint, coalesce(sum(s.rejected), 0)::bigint
             from posthog_export.runs r
             left join lateral (select sum(sent) as sent, sum(rejected) as rejected from posthog_export.streams s
                                where s.project_id = r.project_id and s.day = r.day and s.run = r.run) s on true
             where r.project_id = $1 and r.day >= $2 and r.run like 'step-%'
             group by r.day order by r.day desc limit $3",
        )
        .bind(project_id)
        .bind(from.0)
        .bind(limit);
        let steps = |(day, states, sent, rejected)| StepsOfDay {
            day: Day(day),
            states,
            counts: Counts { sent, rejected },
        };
        Ok(reported(rows.fetch_all(&self.pool))
            .await?
            .into_iter()
            .map(steps)
            .collect())
    }

    /// The runs of a project that are neither completed nor discarded, the oldest days first; without
    /// steps, unless somebody published one by hand and it is dead.
    pub async fn unfinished_of(&self, project_id: &str, limit: i64) -> Result<Vec<RunRow>, LedgerError> {
        let rows = sqlx::query_as(run_rows!(
            "-- ledger_unfinished_of",
            "r.project_id = $1 and r.state in ('running', 'queued', 'waiting', 'dead', 'skipped') and r.state <> 'completed'
             and (r.run not like 'step-%' or r.state = 'dead') order by r.day, r.run limit $2"
        ));
        reported(rows.bind(project_id).bind(limit).fetch_all(&self.pool)).await
    }
}
