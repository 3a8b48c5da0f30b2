//! Everything about one run, for the human who looks at it; and what a human gives up.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Serialize;

use super::{Ledger, LedgerError, event_words};
use crate::job::{Job, RunKey};

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

/// What may be given up together with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Only a run that is dead: in any other state it has gone on since.
    Dead,
    /// Whatever is neither finished nor at work: the broker gave the message up, and the ledger was not told.
    WhateverRests,
}

impl Ledger {
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

    /// `→ discarded`: a human gave the run up. Recorded even if the run had no row, so that nothing brings it back. A run that
    /// is finished or at work is left alone; answers whether it was discarded.
    pub async fn discard(&self, Job { key, scope }: &Job, what: Discard) -> Result<bool, LedgerError> {
        let written = sqlx::query(
            "-- ledger_discard
             insert into posthog_export.runs as r (project_id, day, run, events, created_after, state)
             values ($1, $2, $3, $4, $5, 'discarded')
             on conflict (project_id, day, run) do update
             set state = 'discarded', retry_at = null, lease_token = null, lease_expires_at = null,
                 updated_at = clock_timestamp()
             where r.state = 'dead'
                or $6 and (r.state in ('queued', 'waiting', 'skipped')
                           or r.state = 'running' and r.lease_expires_at < clock_timestamp())",
        )
        .bind(&key.project_id)
        .bind(key.day.0)
        .bind(&key.run)
        .bind(event_words(scope))
        .bind(scope.created_after)
        .bind(what == Discard::WhateverRests)
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }
}
