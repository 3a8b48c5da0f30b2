//! What people and the producer read from the ledger.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Serialize, Serializer};

use super::{Ledger, LedgerError};
use crate::job::{Day, RunKey};

/// The states of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Its message is in a queue
    Queued,
    /// A worker has it
    Running,
    /// On a rung of the retry ladder
    Waiting,
    /// Every event was accepted
    Completed,
    /// In the dead-letter queue
    Dead,
    /// Integration disabled; absent once that ends
    Skipped,
    /// Given up by a human
    Discarded,
}

impl State {
    /// All, in the order of a table.
    pub const ALL: [State; 7] = [
        State::Completed,
        State::Running,
        State::Queued,
        State::Waiting,
        State::Dead,
        State::Skipped,
        State::Discarded,
    ];

    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Completed => "completed",
            State::Dead => "dead",
            State::Skipped => "skipped",
            State::Discarded => "discarded",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
                format!("`{word}` is none of {}", known.join(", "))
            })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

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
}
