//! What the runs of a day say about what PostHog must hold of it.

use chrono::{DateTime, Utc};

use crate::job::{Day, Span, Stream};
use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;
use crate::ledger::statement::{answered, reported};

/// A completed run of a day, as far as it says what PostHog must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedRun {
    /// Its name
    pub run: String,
    /// Host and fingerprint of the key
    pub target: Option<String>,
    /// Whether it was of all rows of the usual streams
    pub is_full: bool,
    /// When its cursors were last at the beginning
    pub began: DateTime<Utc>,
    /// When it was completed
    pub completed_at: DateTime<Utc>,
    /// Only rows created since then
    pub created_after: Option<DateTime<Utc>>,
    /// Only this part of the day
    pub span: Option<Span>,
    /// Whether it left out what was sent before and not touched since
    pub changed: bool,
    /// The streams that it has read to their end
    pub done: Vec<Stream>,
}

impl Ledger {
    /// The completed runs of a day, to whatever target.
    pub async fn completed_runs(&self, project_id: &str, day: Day) -> Result<Vec<CompletedRun>, LedgerError> {
        #[derive(sqlx::FromRow)]
        struct Found {
            run: String,
            target: Option<String>,
            is_full: bool,
            started_at: DateTime<Utc>,
            completed_at: DateTime<Utc>,
            created_after: Option<DateTime<Utc>>,
            span_from: Option<DateTime<Utc>>,
            span_until: Option<DateTime<Utc>>,
            changed: bool,
            done: Vec<Stream>,
        }
        let rows = sqlx::query_as::<_, Found>(
            "-- ledger_completed_runs
             select r.run, r.target, r.started_at, r.completed_at, r.created_after, r.span_from, r.span_until, r.changed,
                    r.created_after is null and r.span_from is null
                      and coalesce(r.events @> array['trace', 'generation', 'score'], true) as is_full,
                    array(select s.stream from posthog_export.streams s
                          where s.project_id = r.project_id and s.day = r.day and s.run = r.run and s.done) as done
             from posthog_export.runs r
             where r.project_id = $1 and r.day = $2 and r.state = 'completed' and r.started_at is not null
               and r.completed_at is not null",
        )
        .bind(project_id)
        .bind(day.0)
        .fetch_all(&self.pool);
        let run = |found: Found| CompletedRun {
            run: found.run,
            target: found.target,
            is_full: found.is_full,
            began: found.started_at,
            completed_at: found.completed_at,
            created_after: found.created_after,
            span: found
                .span_from
                .zip(found.span_until)
                .map(|(from, until)| Span { from, until }),
            changed: found.changed,
            done: found.done,
        };
        Ok(answered(rows).await?.into_iter().map(run).collect())
    }

    /// The rows of a day that PostHog has refused for good, each with the run in which it did.
    pub async fn rejected_rows(
        &self,
        project_id: &str,
        day: Day,
    ) -> Result<Vec<(Stream, String, String)>, LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_rejected_rows
             select distinct stream, row_id, run from posthog_export.rejects where project_id = $1 and day = $2",
        )
        .bind(project_id)
        .bind(day.0)
        .fetch_all(&self.pool);
        reported(rows).await
    }
}
