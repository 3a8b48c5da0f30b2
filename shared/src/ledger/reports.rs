//! What people and the producer read from the ledger.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::Serialize;

use super::Ledger;
use super::error::LedgerError;
use super::state::State;
use crate::job::{Day, RunKey};

/// Absolute counts of a run, over its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events accepted
    pub sent: i64,
    /// Rows refused for good
    pub rejected: i64,
}

/// A run, as `status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct RunRow {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// The UTC day
    pub day: Day,
    /// The run's name
    pub run: String,
    /// Where it is
    pub state: State,
    /// Failures since a cursor last moved
    pub attempt: i32,
    /// Workers that died with it since a cursor last moved
    pub takeovers: i32,
    /// Who had it last
    pub worker: Option<String>,
    /// Whether it exports all three streams, all rows
    pub full: bool,
    /// A filter on the rows' `created_at`
    pub created_after: Option<DateTime<Utc>>,
    /// Only these streams
    pub events: Option<Vec<String>>,
    /// The word of the last failure
    pub error_code: Option<String>,
    /// Its text
    pub error: Option<String>,
    /// When it failed first
    pub first_failed_at: Option<DateTime<Utc>>,
    /// When it leaves its rung
    pub retry_at: Option<DateTime<Utc>>,
    /// Until when a worker may keep it
    pub lease_expires_at: Option<DateTime<Utc>>,
    /// When its message was last confirmed
    pub queued_at: DateTime<Utc>,
    /// When its cursors were last at the beginning
    pub started_at: Option<DateTime<Utc>>,
    /// When it was completed
    pub completed_at: Option<DateTime<Utc>>,
    /// Sent and rejected
    #[serde(flatten)]
    pub counts: Counts,
}

impl RunRow {
    /// Its key.
    pub fn key(&self) -> RunKey {
        RunKey::new(&self.project_id, self.day, &self.run)
    }
}

/// How far a stream of a run has come, as it stands in the ledger.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct StreamRow {
    /// `trace`, `generation` or `score`
    pub stream: String,
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

/// A row that PostHog will never accept.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct RejectRow {
    /// `trace`, `generation` or `score`
    pub stream: String,
    /// The row's id in Langfuse
    pub row_id: String,
    /// Why, one line
    pub reason: String,
}

/// Runs by state, and what they sent, of one project.
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

#[derive(sqlx::FromRow)]
struct Row {
    project_id: String,
    day: NaiveDate,
    run: String,
    state: String,
    attempt: i32,
    takeovers: i32,
    worker: Option<String>,
    events: Option<Vec<String>>,
    created_after: Option<DateTime<Utc>>,
    error_code: Option<String>,
    error: Option<String>,
    first_failed_at: Option<DateTime<Utc>>,
    retry_at: Option<DateTime<Utc>>,
    lease_expires_at: Option<DateTime<Utc>>,
    queued_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    sent: i64,
    rejected: i64,
}

impl From<Row> for RunRow {
    fn from(row: Row) -> Self {
        Self {
            project_id: row.project_id,
            day: Day(row.day),
            run: row.run,
            // The table's check constraint holds the words equal to ours.
            state: row.state.parse().unwrap_or(State::Queued),
            attempt: row.attempt,
            takeovers: row.takeovers,
            worker: row.worker,
            full: row.events.is_none() && row.created_after.is_none(),
            created_after: row.created_after,
            events: row.events,
            error_code: row.error_code,
            error: row.error,
            first_failed_at: row.first_failed_at,
            retry_at: row.retry_at,
            lease_expires_at: row.lease_expires_at,
            queued_at: row.queued_at,
            started_at: row.started_at,
            completed_at: row.completed_at,
            counts: Counts {
                sent: row.sent,
                rejected: row.rejected,
            },
        }
    }
}

impl Ledger {
    /// Runs, by project, day and run.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<RunRow>, LedgerError> {
        let rows: Vec<Row> = sqlx::query_as(
            "-- ledger_list
             select r.project_id, r.day, r.run, r.state, r.attempt, r.takeovers, r.worker, r.events, r.created_after,
                    r.error_code, r.error, r.first_failed_at, r.retry_at, r.lease_expires_at, r.queued_at, r.started_at,
                    r.completed_at, coalesce(s.sent, 0)::bigint as sent, coalesce(s.rejected, 0)::bigint as rejected
             from posthog_export.runs r
             left join lateral (select sum(sent) as sent, sum(rejected) as rejected from posthog_export.streams s
                                where s.project_id = r.project_id and s.day = r.day and s.run = r.run) s on true
             where (cardinality($1::text[]) = 0 or r.project_id = any($1))
               and ($2::text is null or r.state = $2)
               and ($3::date is null or r.day >= $3) and ($4::date is null or r.day <= $4)
             order by r.project_id, r.day, r.run",
        )
        .bind(&filter.projects)
        .bind(filter.state.map(State::as_str))
        .bind(filter.from.map(|d| d.0))
        .bind(filter.to.map(|d| d.0))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(RunRow::from).collect())
    }

    /// The streams of a run.
    pub async fn streams(&self, key: &RunKey) -> Result<Vec<StreamRow>, LedgerError> {
        Ok(sqlx::query_as(
            "-- ledger_streams
             select stream, done, cursor_time, cursor_id, sent, rejected, batches, bytes, updated_at
             from posthog_export.streams where project_id = $1 and day = $2 and run = $3
             order by array_position(array['trace', 'generation', 'score'], stream)",
        )
        .bind(&key.project_id)
        .bind(key.day.0)
        .bind(&key.run)
        .fetch_all(&self.pool)
        .await?)
    }

    /// The first rejects of a run, and how many there are.
    pub async fn rejects(&self, key: &RunKey, limit: i64) -> Result<(Vec<RejectRow>, i64), LedgerError> {
        let rows = sqlx::query_as(
            "-- ledger_rejects
             select stream, row_id, reason from posthog_export.rejects
             where project_id = $1 and day = $2 and run = $3 order by created_at, stream, row_id limit $4",
        )
        .bind(&key.project_id)
        .bind(key.day.0)
        .bind(&key.run)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let all = sqlx::query_scalar(
            "-- ledger_count_rejects
             select count(*) from posthog_export.rejects where project_id = $1 and day = $2 and run = $3",
        )
        .bind(&key.project_id)
        .bind(key.day.0)
        .bind(&key.run)
        .fetch_one(&self.pool)
        .await?;
        Ok((rows, all))
    }

    /// Runs by state and events sent, by project; all projects when none is given.
    pub async fn summaries(&self, projects: &[String]) -> Result<Vec<Summary>, LedgerError> {
        Ok(sqlx::query_as(
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
        .fetch_all(&self.pool)
        .await?)
    }
}
