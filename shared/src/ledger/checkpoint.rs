//! Checkpoints: how far each stream of a run has come, and the end of a run. Only the holder of the
//! lease may write them.

use chrono::NaiveDateTime;

use super::Ledger;
use super::claims::end_claim;
use super::error::LedgerError;
use super::lease::{Lease, under_lease};
use super::statement::{fence, this_run};
use crate::job::Stream;

/// The position of a row in its stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The row's own time, UTC
    pub time: NaiveDateTime,
    /// Its id, compared as bytes (`COLLATE "C"`)
    pub id: String,
}

/// How far a stream of a run has come. Counts are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last row whose batch was accepted
    pub cursor: Option<Cursor>,
    /// No row is left
    pub done: bool,
    /// Events accepted
    pub sent: i64,
    /// Rows that can never be accepted
    pub rejected: i64,
    /// Bodies accepted
    pub batches: i64,
    /// Compressed bytes of these bodies
    pub bytes: i64,
}

/// A single row that PostHog can never accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The row's id in Langfuse
    pub row_id: String,
    /// Why, one line
    pub reason: String,
}

/// A stream that came to its end, and whose last checkpoint is not saved yet.
#[derive(Clone, Debug)]
pub struct Unsaved {
    /// Which
    pub stream: Stream,
    /// How far it came
    pub progress: Progress,
    /// The rows that PostHog refused since the last checkpoint
    pub rejects: Vec<Reject>,
}

impl Ledger {
    /// The checkpoint: saves a stream's progress and its rejects. A cursor never moves back. What
    /// PostHog has `accepted` is progress, so the counts of failures and take-overs begin again at
    /// zero.
    ///
    /// One statement, not a transaction of several. A worker that is frozen between two statements
    /// would keep the run's row locked, and no other worker could take the run over.
    pub async fn save(
        &self,
        lease: &Lease,
        stream: Stream,
        progress: &Progress,
        rejects: &[Reject],
        accepted: bool,
    ) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_save
             with fence as (
               update posthog_export.runs
               set attempt = case when $15 then 0 else attempt end,
                   takeovers = 0, updated_at = clock_timestamp()
               where ",
            fence!(),
            " returning 1),
             saved as (
               update posthog_export.streams
               set cursor_time = coalesce($6, cursor_time), cursor_id = coalesce($7, cursor_id), done = $8,
                   sent = $9, rejected = $10, batches = $11, bytes = $12, updated_at = clock_timestamp()
               from fence
               where ",
            this_run!(),
            " and stream = $5 and not done
                 and (cursor_time is null or $6::timestamp is null
                      or (cursor_time, cursor_id) <= ($6, $7 collate \"C\"))),
             rejected as (
               insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
               select $1, $2, $3, $5, r.id, r.reason
               from fence, unnest($13::text[], $14::text[]) as r (id, reason)
               on conflict do nothing)
             select 1 from fence"
        );
        let saved = under_lease(statement, lease)
            .bind(stream.as_str())
            .bind(progress.cursor.as_ref().map(|c| c.time))
            .bind(progress.cursor.as_ref().map(|c| c.id.as_str()))
            .bind(progress.done)
            .bind(progress.sent)
            .bind(progress.rejected)
            .bind(progress.batches)
            .bind(progress.bytes)
            .bind(rejects.iter().map(|r| r.row_id.as_str()).collect::<Vec<_>>())
            .bind(rejects.iter().map(|r| r.reason.as_str()).collect::<Vec<_>>())
            .bind(accepted);
        self.write(saved).await
    }

    /// `running → completed`, and with it the last checkpoint of each stream that is `ended` and not
    /// saved yet: a small day needs no other statement. Refuses, and saves nothing, while another
    /// stream is not done: a completed run must have exported everything.
    pub async fn finish(&self, lease: &Lease, ended: &[Unsaved]) -> Result<(), LedgerError> {
        let statement = concat!(
            "-- ledger_finish
             with changed as (
               update posthog_export.runs r
               set state = 'completed', completed_at = clock_timestamp(), attempt = 0, takeovers = 0, error_code = null,
                   error = null, first_failed_at = null, retry_at = null, lease_token = null, lease_expires_at = null,
                   updated_at = clock_timestamp()
               where ",
            fence!(),
            " and not exists (select 1 from posthog_export.streams s
                              where s.project_id = r.project_id and s.day = r.day and s.run = r.run and not s.done
                                and s.stream <> all($5::text[]))
               returning 1), ",
            end_claim!("'completed'"),
            ", saved as (
               update posthog_export.streams s
               set cursor_time = coalesce(e.cursor_time, s.cursor_time), cursor_id = coalesce(e.cursor_id, s.cursor_id),
                   done = true, sent = e.sent, rejected = e.rejected, batches = e.batches, bytes = e.bytes,
                   updated_at = clock_timestamp()
               from changed, unnest($5::text[], $6::timestamp[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[],
                                      $11::bigint[]) as e (stream, cursor_time, cursor_id, sent, rejected, batches, bytes)
               where s.project_id = $1 and s.day = $2 and s.run = $3 and s.stream = e.stream and not s.done),
             rejected as (
               insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
               select $1, $2, $3, r.stream, r.id, r.reason
               from changed, unnest($12::text[], $13::text[], $14::text[]) as r (stream, id, reason)
               on conflict do nothing)
             select 1 from changed"
        );
        let count = |count: fn(&Progress) -> i64| ended.iter().map(|end| count(&end.progress)).collect::<Vec<_>>();
        let cursors = || ended.iter().map(|end| end.progress.cursor.as_ref());
        let rejects = || {
            ended
                .iter()
                .flat_map(|end| end.rejects.iter().map(|reject| (end.stream, reject)))
        };
        let finished = under_lease(statement, lease)
            .bind(ended.iter().map(|end| end.stream).collect::<Vec<_>>())
            .bind(cursors().map(|cursor| cursor.map(|c| c.time)).collect::<Vec<_>>())
            .bind(
                cursors()
                    .map(|cursor| cursor.map(|c| c.id.as_str()))
                    .collect::<Vec<_>>(),
            )
            .bind(count(|progress| progress.sent))
            .bind(count(|progress| progress.rejected))
            .bind(count(|progress| progress.batches))
            .bind(count(|progress| progress.bytes))
            .bind(rejects().map(|(stream, _)| stream).collect::<Vec<_>>())
            .bind(rejects().map(|(_, reject)| reject.row_id.as_str()).collect::<Vec<_>>())
            .bind(rejects().map(|(_, reject)| reject.reason.as_str()).collect::<Vec<_>>());
        self.write(finished).await
    }
}
