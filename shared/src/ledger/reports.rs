//! What the producer and people read of the ledger.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::Serialize;

use super::Ledger;
use super::checkpoint::{Cursor, Progress};
use super::error::LedgerError;
use super::state::State;
use super::statement::{BindKey, answered, key_columns, reported, this_run};
use crate::job::{Day, Job, RunKey, STEP_PREFIX, Scope, Span, Stream};

/// The counts of a run, over all its streams and slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Counts {
    /// Events accepted
    pub sent: i64,
    /// Rows refused for good
    pub rejected: i64,
}

/// A run, as `status` shows it.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct RunRow {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// The UTC day
    #[sqlx(try_from = "NaiveDate")]
    pub day: Day,
    /// The run's name
    pub run: String,
    /// Its state
    pub state: State,
    /// Failures since a cursor last moved
    pub attempt: i32,
    /// Workers that died with it, since a cursor last moved
    pub takeovers: i32,
    /// The worker that had it last
    pub worker: Option<String>,
    /// Whether it exports all rows of the usual streams ([`Scope::is_full`])
    pub full: bool,
    /// Only rows created since then
    pub created_after: Option<DateTime<Utc>>,
    /// Without what completed runs of the day have sent
    pub changed: bool,
    /// Only rows from this moment of the day on
    pub span_from: Option<DateTime<Utc>>,
    /// Only rows before this moment of the day
    pub span_until: Option<DateTime<Utc>>,
    /// These streams; `None`: the usual ones
    pub events: Option<Vec<Stream>>,
    /// The word of the last failure
    pub error_code: Option<String>,
    /// Its text
    pub error: Option<String>,
    /// When it failed first
    pub first_failed_at: Option<DateTime<Utc>>,
    /// When its wait on a rung ends
    pub retry_at: Option<DateTime<Utc>>,
    /// When a worker's lease ends
    pub lease_expires_at: Option<DateTime<Utc>>,
    /// When its message was last confirmed
    pub queued_at: DateTime<Utc>,
    /// When a worker last began it at the first row
    pub started_at: Option<DateTime<Utc>>,
    /// When it was completed
    pub completed_at: Option<DateTime<Utc>>,
    /// When its row was last written: of a dead run, when it died
    #[serde(skip)]
    pub updated_at: DateTime<Utc>,
    /// Events sent and rows rejected
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub counts: Counts,
}

impl RunRow {
    /// Its key.
    pub fn key(&self) -> RunKey {
        RunKey::new(&self.project_id, self.day, &self.run)
    }

    /// Whether it is a step.
    pub fn is_step(&self) -> bool {
        self.run.starts_with(STEP_PREFIX)
    }

    /// The part of the day that it exports; `None`: all of it.
    pub fn span(&self) -> Option<Span> {
        let (from, until) = self.span_from.zip(self.span_until)?;
        Some(Span { from, until })
    }

    /// Which rows of its day it exports.
    pub fn scope(&self) -> Scope {
        Scope {
            events: self.events.as_ref().map(|events| events.iter().copied().collect()),
            created_after: self.created_after,
            changed: self.changed,
            span: self.span(),
        }
    }

    /// The job of this run.
    pub fn job(&self) -> Job {
        Job {
            key: self.key(),
            scope: self.scope(),
        }
    }
}

/// How far a stream of a run has come.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct StreamRow {
    /// Which stream
    pub stream: Stream,
    /// No row is left
    pub done: bool,
    /// Time of the last row whose batch was accepted
    pub cursor_time: Option<NaiveDateTime>,
    /// Its id
    pub cursor_id: Option<String>,
    /// Events accepted
    pub sent: i64,
    /// Rows refused for good
    pub rejected: i64,
    /// Bodies accepted
    pub batches: i64,
    /// Compressed bytes of these
    pub bytes: i64,
    /// The last checkpoint
    pub updated_at: DateTime<Utc>,
}

impl StreamRow {
    /// The stream, and how far it has come.
    pub fn progress(self) -> (Stream, Progress) {
        let progress = Progress {
            cursor: self
                .cursor_time
                .zip(self.cursor_id)
                .map(|(time, id)| Cursor { time, id }),
            done: self.done,
            sent: self.sent,
            rejected: self.rejected,
            batches: self.batches,
            bytes: self.bytes,
        };
        (self.stream, progress)
    }
}

/// A row that PostHog will never accept.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct RejectRow {
    /// Which stream
    pub stream: Stream,
    /// The row's id in Langfuse
    pub row_id: String,
    /// Why, one line
    pub reason: String,
}

/// How many runs a project has in each state, and what they sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Summary {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// Runs `completed`
    pub completed: i64,
    /// Runs `running`
    pub running: i64,
    /// Runs `queued`
    pub queued: i64,
    /// Runs `waiting`
    pub waiting: i64,
    /// Runs `dead`
    pub dead: i64,
    /// Runs `skipped`
    pub skipped: i64,
    /// Runs `discarded`
    pub discarded: i64,
    /// Events accepted, those of repeated runs included
    pub sent: i64,
    /// Rows refused for good
    pub rejected: i64,
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these projects; all when empty
    pub projects: Vec<String>,
    /// Only this state
    pub state: Option<State>,
    /// From this day on
    pub from: Option<Day>,
    /// To this day, included
    pub to: Option<Day>,
}

/// Selects the columns of a [`RunRow`] from `runs r`; its condition follows.
macro_rules! run_rows {
    ($name:literal, $condition:literal) => {
        concat!(
            $name,
            "
             select r.project_id, r.day, r.run, r.state, r.attempt, r.takeovers, r.worker, r.events, r.created_after,
                    r.changed, r.span_from, r.span_until,
                    r.created_after is null and r.span_from is null and coalesce(r.events @> array['trace', 'generation', 'score'], true) as \"full\",
                    r.error_code, r.error, r.first_failed_at, r.retry_at, r.lease_expires_at, r.queued_at, r.started_at,
                    r.completed_at, r.updated_at, coalesce(s.sent, 0)::bigint as sent,
                    coalesce(s.rejected, 0)::bigint as rejected
             from posthog_export.runs r
             left join lateral (select sum(sent) as sent, sum(rejected) as rejected from posthog_export.streams s
                                where s.project_id = r.project_id and s.day = r.day and s.run = r.run) s on true
             where ",
            $condition
        )
    };
}

pub(super) use run_rows;

impl Ledger {
    /// Runs, by project, day and run.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<RunRow>, LedgerError> {
        let rows = sqlx::query_as(run_rows!(
            "-- ledger_list",
            "(cardinality($1::text[]) = 0 or r.project_id = any($1))
               and ($2::text is null or r.state = $2)
               and ($3::date is null or r.day >= $3) and ($4::date is null or r.day <= $4)
             order by r.project_id, r.day, r.run"
        ))
        .bind(&filter.projects)
        .bind(filter.state)
        .bind(filter.from.map(|d| d.0))
        .bind(filter.to.map(|d| d.0))
        .fetch_all(&self.pool);
        reported(rows).await
    }

    /// The runs with these keys, as far as there are rows.
    pub async fn find(&self, keys: &[RunKey]) -> Result<Vec<RunRow>, LedgerError> {
        let (projects, days, runs) = key_columns(keys);
        let rows = sqlx::query_as(run_rows!(
            "-- ledger_find",
            "(r.project_id, r.day, r.run) in (select * from unnest($1::text[], $2::date[], $3::text[]))"
        ))
        .bind(&projects)
        .bind(&days)
        .bind(&runs)
        .fetch_all(&self.pool);
        reported(rows).await
    }

    /// The streams of a run.
    pub async fn streams(&self, key: &RunKey) -> Result<Vec<StreamRow>, LedgerError> {
        let statement = concat!(
            "-- ledger_streams
             select stream, done, cursor_time, cursor_id, sent, rejected, batches, bytes, updated_at
             from posthog_export.streams where ",
            this_run!(),
            " order by array_position(array['trace', 'generation', 'score', 'observation'], stream)"
        );
        answered(sqlx::query_as(statement).bind_key(key).fetch_all(&self.pool)).await
    }

    /// Host and fingerprint of the key that a run went to last.
    pub async fn target(&self, key: &RunKey) -> Result<Option<String>, LedgerError> {
        let statement = concat!(
            "-- ledger_target\nselect target from posthog_export.runs where ",
            this_run!()
        );
        let target = sqlx::query_scalar(statement).bind_key(key);
        let found: Option<Option<String>> = answered(target.fetch_optional(&self.pool)).await?;
        Ok(found.flatten())
    }

    /// The first rejects of a run, and how many there are.
    pub async fn rejects(&self, key: &RunKey, limit: i64) -> Result<(Vec<RejectRow>, i64), LedgerError> {
        let first = concat!(
            "-- ledger_rejects
             select stream, row_id, reason from posthog_export.rejects where ",
            this_run!(),
            " order by created_at, stream, row_id limit $4"
        );
        let count = concat!(
            "-- ledger_count_rejects
             select count(*) from posthog_export.rejects where ",
            this_run!()
        );
        let first = sqlx::query_as(first).bind_key(key).bind(limit);
        let count = sqlx::query_scalar(count).bind_key(key);
        Ok((
            reported(first.fetch_all(&self.pool)).await?,
            reported(count.fetch_one(&self.pool)).await?,
        ))
    }

    /// Runs by state and events sent, by project; all projects when none is given.
    pub async fn summaries(&self, projects: &[String]) -> Result<Vec<Summary>, LedgerError> {
        let summaries = sqlx::query_as(
            "-- ledger_summaries
             with r as (
               select project_id,
                      count(*) filter (where state = 'completed') as completed,
                      count(*) filter (where state = 'running') as running,
                      count(*) filter (where state = 'queued') as queued,
                      count(*) filter (where state = 'waiting') as waiting,
                      count(*) filter (where state = 'dead') as dead,
                      count(*) filter (where state = 'skipped') as skipped,
                      count(*) filter (where state = 'discarded') as discarded
               from posthog_export.runs where cardinality($1::text[]) = 0 or project_id = any($1) group by 1),
             s as (
               select project_id, sum(sent)::bigint as sent, sum(rejected)::bigint as rejected
               from posthog_export.streams where cardinality($1::text[]) = 0 or project_id = any($1) group by 1)
             select r.*, coalesce(s.sent, 0) as sent, coalesce(s.rejected, 0) as rejected
             from r left join s using (project_id) order by project_id",
        )
        .bind(projects)
        .fetch_all(&self.pool);
        reported(summaries).await
    }
}
