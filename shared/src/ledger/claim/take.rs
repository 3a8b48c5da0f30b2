//! What a claim writes once it is decided: the lease, the streams, and its own row.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use super::Asking;
use super::decide::Start;
use crate::job::{RunKey, Scope, Stream};
use crate::ledger::checkpoint::Progress;
use crate::ledger::claims::{KEPT, lapse_claims};
use crate::ledger::lease::Lease;
use crate::ledger::reports::StreamRow;
use crate::ledger::statement::{BindKey, interval, this_run};

/// The cursors begin again at the first row.
pub(super) async fn forget_progress(tx: &mut PgConnection, key: &RunKey) -> Result<(), sqlx::Error> {
    for statement in [
        concat!(
            "-- ledger_forget_streams\ndelete from posthog_export.streams where ",
            this_run!()
        ),
        concat!(
            "-- ledger_forget_rejects\ndelete from posthog_export.rejects where ",
            this_run!()
        ),
    ] {
        sqlx::query(statement).bind_key(key).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Takes the lease, opens the streams that the run has not begun, and writes the claim down. Answers the
/// checkpoint of each stream.
pub(super) async fn take(
    tx: &mut PgConnection,
    Lease { key, token }: &Lease,
    scope: &Scope,
    Asking {
        worker,
        length,
        target,
        visible_until,
        trace_id,
    }: Asking<'_>,
    Start {
        attempt,
        takeovers,
        anew,
    }: Start,
) -> Result<BTreeMap<Stream, Progress>, sqlx::Error> {
    let statement = concat!(
        "-- ledger_claim_take
         with changed as (
           update posthog_export.runs
           set state = 'running', lease_token = $4, lease_expires_at = clock_timestamp() + $5, worker = $6,
               target = coalesce($7, target), attempt = $8, takeovers = $9, retry_at = null, completed_at = null,
               asked_at = case when state in ('dead', 'skipped') then clock_timestamp() else asked_at end,
               started_at = case when $10 or started_at is null then least(clock_timestamp(), $12)
                                 else least(started_at, $12) end,
               span_from = $13, span_until = $14, created_after = $15,
               updated_at = clock_timestamp()
           where ",
        this_run!(),
        " returning 1), ",
        lapse_claims!(
            "case when r.state = 'running' and r.lease_token = c.lease_token then 'taken_over' else 'lost' end"
        ),
        ", claimed as (
           insert into posthog_export.claims (project_id, day, run, number, lease_token, worker, attempt, trace_id)
           select $1, $2, $3, coalesce(max(number), 0) + 1, $4, $6, $8 + 1, $16::text
           from posthog_export.claims where ",
        this_run!(),
        "), forgotten as (
           delete from posthog_export.claims
           where ",
        this_run!(),
        " and number > $17 and number <= (select max(number) + 1 - $17 from posthog_export.claims where ",
        this_run!(),
        ")), opened as (
           insert into posthog_export.streams (project_id, day, run, stream)
           select $1, $2, $3, unnest($11::text[]) on conflict do nothing
           returning stream, cursor_time, cursor_id, done, sent, rejected, batches, bytes, updated_at)
         select stream, cursor_time, cursor_id, done, sent, rejected, batches, bytes, updated_at
         from posthog_export.streams where ",
        this_run!(),
        " union all select * from opened"
    );
    let saved: Vec<StreamRow> = sqlx::query_as(statement)
        .bind_key(key)
        .bind(token)
        .bind(interval(length))
        .bind(worker)
        .bind(target)
        .bind(attempt)
        .bind(takeovers)
        .bind(anew)
        .bind(scope.streams().collect::<Vec<_>>())
        .bind(visible_until)
        .bind(scope.span.map(|span| span.from))
        .bind(scope.span.map(|span| span.until))
        .bind(scope.created_after)
        .bind(trace_id)
        .bind(KEPT)
        .fetch_all(tx)
        .await?;
    Ok(saved.into_iter().map(StreamRow::progress).collect())
}
