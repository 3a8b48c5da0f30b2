//! The steps of a day, and when steps were last asked for.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::Ledger;
use super::error::LedgerError;
use super::state::State;
use super::statement::{answered, reported};
use crate::freshness::{LastSteps, Steps};
use crate::job::{Day, Span};

/// The last step of a project and a day that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct FailedStep {
    /// Langfuse's `projects.id`
    #[serde(skip)]
    pub project_id: String,
    /// The run's name
    pub run: String,
    /// Its state
    pub state: State,
    /// The first moment behind its part of the day
    #[sqlx(rename = "span_until")]
    pub until: DateTime<Utc>,
    /// The word of the failure
    pub error_code: String,
    /// Its text
    pub error: Option<String>,
}

impl Ledger {
    /// The steps of this day, by project. Reads the rows of the day's steps and no others.
    pub async fn steps(&self, day: Day) -> Result<Vec<Steps>, LedgerError> {
        type Row = (String, bool, DateTime<Utc>, Vec<DateTime<Utc>>, Vec<DateTime<Utc>>);
        let rows = sqlx::query_as(
            "-- ledger_steps
             select r.project_id, exists (select 1 from posthog_export.paused p where p.project_id = r.project_id),
                    max(r.span_until),
                    coalesce(array_agg(r.span_from order by r.run) filter (where r.state = 'completed'), '{}'),
                    coalesce(array_agg(r.span_until order by r.run) filter (where r.state = 'completed'), '{}')
             from posthog_export.runs r
             where r.day = $1 and r.run like 'step-%' and r.span_until is not null
             group by r.project_id",
        )
        .bind(day.0)
        .fetch_all(&self.pool);
        let steps = |(project_id, paused, asked_until, from, until): Row| Steps {
            project_id,
            paused,
            asked_until,
            completed: from
                .into_iter()
                .zip(until)
                .map(|(from, until)| Span { from, until })
                .collect(),
        };
        Ok(answered(rows).await?.into_iter().map(steps).collect())
    }

    /// The last step of each project that failed on this day, and did not end well since.
    pub async fn failed_steps(&self, day: Day) -> Result<Vec<FailedStep>, LedgerError> {
        let failed = sqlx::query_as(
            "-- ledger_failed_steps
             select distinct on (project_id) project_id, run, state, span_until, error_code, error
             from posthog_export.runs
             where day = $1 and run like 'step-%' and span_until is not null
               and state not in ('completed', 'skipped') and error_code is not null
             order by project_id, span_until desc, updated_at desc",
        )
        .bind(day.0)
        .fetch_all(&self.pool);
        reported(failed).await
    }

    /// When the steps of all projects were last asked for; `None` where the day is exported once.
    pub async fn last_steps(&self) -> Result<Option<LastSteps>, LedgerError> {
        let row = sqlx::query_as(
            "-- ledger_last_steps\nselect asked_at, every_seconds, lag_seconds from posthog_export.last_steps",
        );
        let row: Option<(DateTime<Utc>, i32, i32)> = answered(row.fetch_optional(&self.pool)).await?;
        Ok(row.map(|(asked, every, lag)| LastSteps {
            asked,
            every: TimeDelta::seconds(i64::from(every)),
            lag: TimeDelta::seconds(i64::from(lag)),
        }))
    }

    /// Records that the steps of all projects were asked for, up to the last border that had passed at
    /// this moment, with these settings.
    pub async fn record_steps(&self, asked: DateTime<Utc>, every: Duration, lag: Duration) -> Result<(), LedgerError> {
        let seconds = |length: Duration| i32::try_from(length.as_secs()).unwrap_or(i32::MAX);
        let written = sqlx::query(
            "-- ledger_record_steps
             insert into posthog_export.last_steps (asked_at, every_seconds, lag_seconds) values ($1, $2, $3)
             on conflict (only_row) do update
             set asked_at = excluded.asked_at, every_seconds = excluded.every_seconds, lag_seconds = excluded.lag_seconds",
        )
        .bind(asked)
        .bind(seconds(every))
        .bind(seconds(lag))
        .execute(&self.pool);
        reported(written).await?;
        Ok(())
    }

    /// Records that no steps are asked for any more: the day is exported once.
    pub async fn forget_steps(&self) -> Result<(), LedgerError> {
        let written = sqlx::query("-- ledger_forget_steps\ndelete from posthog_export.last_steps").execute(&self.pool);
        reported(written).await?;
        Ok(())
    }
}
