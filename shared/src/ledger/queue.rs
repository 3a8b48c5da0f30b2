//! Writes that need no lease: that messages were confirmed, and that runs were given up.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Ledger;
use super::claims::lapse_claims;
use super::error::LedgerError;
use super::lease::Buried;
use super::state::given_up;
use super::statement::{
    BindKey, BindScope, answered, event_words, insert_run, interval, key_columns, reported, this_run,
};
use crate::error_code::ErrorCode;
use crate::job::{Job, RunKey, Span};

/// Which runs may be given up together with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Only a dead run. A run in any other state has continued since.
    Dead,
    /// Any run that is neither finished nor running. The broker gave its message up, and the ledger
    /// does not know that.
    WhateverRests,
}

impl Ledger {
    /// Records messages that the broker has confirmed, in one statement. No two jobs may have the
    /// same key. A run that is running, waiting or finished stays as it is.
    pub async fn record_queued(&self, jobs: &[&Job]) -> Result<(), LedgerError> {
        let (projects, days, runs) = key_columns(jobs.iter().map(|job| &job.key));
        // Postgres has no array of arrays of different lengths.
        let scopes = jobs.iter().map(|job| &job.scope);
        let events = |scope| event_words(scope).map(|words| words.join(","));
        let written = sqlx::query(
            "-- ledger_record_queued
             insert into posthog_export.runs
               (project_id, day, run, events, created_after, changed, span_from, span_until)
             select j.project_id, j.day, j.run, string_to_array(j.events, ','), j.created_after, j.changed, j.span_from,
                    j.span_until
             from unnest($1::text[], $2::date[], $3::text[], $4::text[], $5::timestamptz[], $6::bool[], $7::timestamptz[],
                         $8::timestamptz[])
               as j (project_id, day, run, events, created_after, changed, span_from, span_until)
             on conflict (project_id, day, run) do update
             set state = 'queued', queued_at = clock_timestamp(), updated_at = clock_timestamp(), error_code = null,
                 error = null, events = excluded.events,
                 changed = excluded.changed,
                 asked_at = case when runs.state = 'skipped' then clock_timestamp() else runs.asked_at end
             where runs.state in ('queued', 'skipped')",
        )
        .bind(&projects)
        .bind(&days)
        .bind(&runs)
        .bind(scopes.clone().map(events).collect::<Vec<_>>())
        .bind(scopes.clone().map(|scope| scope.created_after).collect::<Vec<_>>())
        .bind(scopes.clone().map(|scope| scope.changed).collect::<Vec<_>>())
        .bind(scopes.clone().map(|scope| scope.span.map(|span| span.from)).collect::<Vec<_>>())
        .bind(scopes.map(|scope| scope.span.map(|span| span.until)).collect::<Vec<_>>())
        .execute(&self.pool);
        reported(written).await?;
        Ok(())
    }

    /// Records a run that a worker has given to a message. A worker may have claimed it meanwhile;
    /// then its row stays as it is.
    pub async fn record_given(&self, Job { key, scope }: &Job) -> Result<(), LedgerError> {
        let statement = concat!("-- ledger_record_given\n", insert_run!("queued"), "nothing");
        let written = sqlx::query(statement).bind_key(key).bind_scope(scope);
        answered(written.execute(&self.pool)).await?;
        Ok(())
    }

    /// Records that the messages of stuck runs were published again. They count as stuck again only
    /// after `stuck`. A run that a worker has taken in the meantime stays as it is.
    pub async fn record_healed(&self, keys: &[RunKey], stuck: Duration) -> Result<(), LedgerError> {
        let (projects, days, runs) = key_columns(keys);
        let written = sqlx::query(
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
        .bind(&projects)
        .bind(&days)
        .bind(&runs)
        .bind(interval(stuck))
        .execute(&self.pool);
        reported(written).await?;
        Ok(())
    }

    /// `dead → queued`, for dead letters that were published again at `published`. The attempts
    /// begin again at zero. A run that has died since then has a new dead letter, and stays dead.
    pub async fn record_requeued(&self, keys: &[RunKey], published: DateTime<Utc>) -> Result<(), LedgerError> {
        let (projects, days, runs) = key_columns(keys);
        let written = sqlx::query(
            "-- ledger_record_requeued
             update posthog_export.runs r
             set state = 'queued', attempt = 0, takeovers = 0, error_code = null, error = null, first_failed_at = null,
                 retry_at = null, queued_at = clock_timestamp(), updated_at = clock_timestamp()
             from unnest($1::text[], $2::date[], $3::text[]) as k (project_id, day, run)
             where r.project_id = k.project_id and r.day = k.day and r.run = k.run
               and r.state = 'dead' and r.updated_at < $4",
        )
        .bind(&projects)
        .bind(&days)
        .bind(&runs)
        .bind(published)
        .execute(&self.pool);
        reported(written).await?;
        Ok(())
    }

    /// `→ dead` without a lease, for a run whose message failed before each claim; a step is `discarded`. A run that is
    /// running or finished stays as it is.
    pub async fn bury_at_rest(
        &self,
        key: &RunKey,
        code: ErrorCode,
        error: &str,
        buried: Buried,
    ) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_bury_at_rest
             with changed as (
             update posthog_export.runs
             set state = $8, error_code = $4, error = $5, attempt = $6,
                 first_failed_at = coalesce(first_failed_at, $7, clock_timestamp()), retry_at = null,
                 lease_token = null, lease_expires_at = null, updated_at = clock_timestamp()
             where ",
            this_run!(),
            " and (state in ('queued', 'waiting', 'skipped')
                   or state = 'running' and lease_expires_at < clock_timestamp())
             returning 1), ",
            lapse_claims!("'lost'"),
            " select 1 from changed"
        );
        let written = sqlx::query(statement)
            .bind_key(key)
            .bind(code.as_str())
            .bind(error)
            .bind(buried.attempt)
            .bind(buried.first_failed_at)
            .bind(given_up(key))
            .execute(&self.pool);
        answered(written).await?;
        Ok(())
    }

    /// `→ discarded` for a step of a day that is over, while nobody works on it: what the claim would
    /// do. Answers whether it was.
    pub async fn supersede(&self, key: &RunKey) -> Result<bool, LedgerError> {
        if !key.is_step() {
            return Ok(false);
        }
        let statement = concat!(
            "-- ledger_supersede
             update posthog_export.runs
             set state = 'discarded', retry_at = null, updated_at = clock_timestamp()
             where ",
            this_run!(),
            " and state in ('queued', 'waiting', 'skipped') and $4 <= clock_timestamp()"
        );
        let written = sqlx::query(statement).bind_key(key).bind(Span::of(key.day).until);
        Ok(answered(written.execute(&self.pool)).await?.rows_affected() == 1)
    }

    /// Records that a whole enqueue has just ended well.
    pub async fn record_enqueued(&self) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_record_enqueued
             insert into posthog_export.last_enqueue (ended_at) values (clock_timestamp())
             on conflict (only_row) do update set ended_at = excluded.ended_at",
        )
        .execute(&self.pool);
        reported(written).await?;
        Ok(())
    }

    /// `→ discarded`: a person gave the run up. A run without a row gets one, so that nothing
    /// brings it back. A run that is finished or running stays as it is. Returns whether it was
    /// discarded.
    pub async fn discard(&self, Job { key, scope }: &Job, what: Discard) -> Result<bool, LedgerError> {
        let statement = concat!(
            "-- ledger_discard\nwith changed as (",
            insert_run!("discarded"),
            "update
             set state = 'discarded', retry_at = null, lease_token = null, lease_expires_at = null,
                 updated_at = clock_timestamp()
             where r.state = 'dead'
                or $9 and (r.state in ('queued', 'waiting', 'skipped')
                           or r.state = 'running' and r.lease_expires_at < clock_timestamp())
             returning 1), ",
            lapse_claims!("'lost'"),
            " select 1 from changed"
        );
        let written = sqlx::query(statement)
            .bind_key(key)
            .bind_scope(scope)
            .bind(what == Discard::WhateverRests)
            .execute(&self.pool);
        Ok(reported(written).await?.rows_affected() == 1)
    }
}
