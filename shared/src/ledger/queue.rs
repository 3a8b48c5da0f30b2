//! What only the producer writes: messages that the broker has confirmed, in bulk, and until when late rows were looked for.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};

use super::{Ledger, LedgerError, event_words, interval};
use crate::job::{Job, RunKey};

/// Held by one producer at a time; ends with the transaction it lives in, so that it works through a pooler too.
#[derive(Debug)]
pub struct Lock(Transaction<'static, Postgres>);

impl Lock {
    /// Whether it is still ours: it goes with its connection.
    pub async fn is_held(&mut self) -> bool {
        let asked = sqlx::query("-- ledger_lock_is_held\nselect 1").execute(&mut *self.0);
        matches!(tokio::time::timeout(Duration::from_secs(10), asked).await, Ok(Ok(_)))
    }

    /// Lets the next one go on. A lock that is dropped is released as well, a moment later.
    pub async fn release(self) -> Result<(), LedgerError> {
        Ok(self.0.commit().await?)
    }
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

impl Ledger {
    /// Takes the lock of that name, unless somebody has it.
    pub async fn try_lock(&self, name: &str) -> Result<Option<Lock>, LedgerError> {
        let mut tx = self.pool.begin().await?;
        // The transaction does nothing but hold the lock, for as long as the publishing takes.
        sqlx::query("-- ledger_lock_may_idle\nset local idle_in_transaction_session_timeout = 0")
            .execute(&mut *tx)
            .await?;
        let taken: bool =
            sqlx::query_scalar("-- ledger_try_lock\nselect pg_try_advisory_xact_lock(hashtextextended($1, 0))")
                .bind(format!("posthog_export.{name}"))
                .fetch_one(&mut *tx)
                .await?;
        Ok(taken.then_some(Lock(tx)))
    }

    /// Records messages that the broker has confirmed, in one statement. No two jobs may have the same key. A run that is
    /// at work or finished is left as it is.
    pub async fn record_queued(&self, jobs: &[&Job]) -> Result<(), LedgerError> {
        // Postgres has no arrays of arrays of different lengths.
        let events = |job: &&Job| event_words(&job.scope).map(|words| words.join(","));
        sqlx::query(
            "-- ledger_record_queued
             insert into posthog_export.runs (project_id, day, run, events, created_after)
             select j.project_id, j.day, j.run, string_to_array(j.events, ','), j.created_after
             from unnest($1::text[], $2::date[], $3::text[], $4::text[], $5::timestamptz[])
               as j (project_id, day, run, events, created_after)
             on conflict (project_id, day, run) do update
             set state = 'queued', queued_at = clock_timestamp(), updated_at = clock_timestamp(), error_code = null, error = null
             where runs.state in ('queued', 'skipped')",
        )
        .bind(jobs.iter().map(|job| job.key.project_id.as_str()).collect::<Vec<_>>())
        .bind(jobs.iter().map(|job| job.key.day.0).collect::<Vec<_>>())
        .bind(jobs.iter().map(|job| job.key.run.as_str()).collect::<Vec<_>>())
        .bind(jobs.iter().map(events).collect::<Vec<_>>())
        .bind(jobs.iter().map(|job| job.scope.created_after).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Records that stuck runs were published again: they count as stuck for `stuck` from now on. Those that a worker has
    /// taken meanwhile are left as they are.
    pub async fn record_healed(&self, keys: &[RunKey], stuck: Duration) -> Result<(), LedgerError> {
        sqlx::query(
            "-- ledger_record_healed
             update posthog_export.runs r
             set queued_at = clock_timestamp(), updated_at = clock_timestamp(),
                 lease_expires_at = case when r.state = 'running' then clock_timestamp() else r.lease_expires_at end,
                 retry_at = case when r.state = 'waiting' then clock_timestamp() else r.retry_at end
             from unnest($1::text[], $2::date[], $3::text[]) as k (project_id, day, run)
             where r.project_id = k.project_id and r.day = k.day and r.run = k.run
               and (r.state = 'queued' or (r.state = 'running' and r.lease_expires_at < clock_timestamp() - $4)
                    or (r.state = 'waiting' and r.retry_at < clock_timestamp() - $4))",
        )
        .bind(keys.iter().map(|key| key.project_id.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.day.0).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.run.as_str()).collect::<Vec<_>>())
        .bind(interval(stuck))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// `dead → queued`, attempts anew, for a dead letter that was published again. A run that died once more since `published`
    /// has a new dead letter and stays dead.
    pub async fn record_requeued(&self, keys: &[RunKey], published: DateTime<Utc>) -> Result<(), LedgerError> {
        sqlx::query(
            "-- ledger_record_requeued
             update posthog_export.runs r
             set state = 'queued', attempt = 0, takeovers = 0, error_code = null, error = null, first_failed_at = null,
                 retry_at = null, queued_at = clock_timestamp(), updated_at = clock_timestamp()
             from unnest($1::text[], $2::date[], $3::text[]) as k (project_id, day, run)
             where r.project_id = k.project_id and r.day = k.day and r.run = k.run
               and r.state = 'dead' and r.updated_at < $4",
        )
        .bind(keys.iter().map(|key| key.project_id.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.day.0).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.run.as_str()).collect::<Vec<_>>())
        .bind(published)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Until when late rows were looked for, by project.
    pub async fn sweeps(&self) -> Result<BTreeMap<String, DateTime<Utc>>, LedgerError> {
        let rows: Vec<(String, DateTime<Utc>)> =
            sqlx::query_as("-- ledger_sweeps\nselect project_id, swept_until from posthog_export.sweeps")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().collect())
    }

    /// Remembers that late rows of these projects were looked for, and their jobs confirmed.
    pub async fn record_swept(&self, projects: &[String], until: DateTime<Utc>) -> Result<(), LedgerError> {
        sqlx::query(
            "-- ledger_record_swept
             insert into posthog_export.sweeps (project_id, swept_until) select p, $2 from unnest($1::text[]) p
             on conflict (project_id) do update set swept_until = greatest(sweeps.swept_until, excluded.swept_until)",
        )
        .bind(projects)
        .bind(until)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Remembers that a whole enqueue has ended well just now.
    pub async fn record_enqueued(&self) -> Result<(), LedgerError> {
        sqlx::query(
            "-- ledger_record_enqueued
             insert into posthog_export.last_enqueue (ended_at) values (clock_timestamp())
             on conflict (only_row) do update set ended_at = excluded.ended_at",
        )
        .execute(&self.pool)
        .await?;
        Ok(())
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
