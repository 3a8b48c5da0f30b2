//! Old steps: what they did becomes part of their day's `daily` run, and their rows go.
//!
//! Once a full run is completed, it covers the whole day, and nothing asks for the steps any more. A
//! day without rows has steps, too, and no other run. With 400 projects and hourly steps their rows
//! would be ten million after three years.

use super::Ledger;
use super::error::LedgerError;
use super::statement::reported;
use crate::job::Day;

/// How many steps one statement folds.
const AT_ONCE: i64 = 2_000;
/// How many statements one call makes, so that it ends soon however many steps there are.
const STATEMENTS: u32 = 20;

impl Ledger {
    /// Deletes the ended steps of days before `day` that are exported as a whole, or hold no rows.
    /// Their counts are added to those of the `daily` run, where there is one. A step that has rejects
    /// keeps its row, which leads to them. Answers how many were folded.
    pub async fn fold_steps(&self, day: Day) -> Result<u64, LedgerError> {
        let mut all = 0;
        for _ in 0..STATEMENTS {
            let folded = self.fold_some(day).await?;
            all += folded;
            if folded < AT_ONCE.unsigned_abs() {
                break;
            }
        }
        Ok(all)
    }

    async fn fold_some(&self, day: Day) -> Result<u64, LedgerError> {
        let deleted = sqlx::query(
            "-- ledger_fold_steps
             with old as (
               select r.project_id, r.day, r.run from posthog_export.runs r
               where r.run like 'step-%' and r.day < $1 and r.span_from is not null
                 and r.state in ('completed', 'discarded', 'skipped')
                 and (exists (select 1 from posthog_export.runs d
                              where d.project_id = r.project_id and d.day = r.day and d.span_from is null
                                and d.created_after is null
                                and coalesce(d.events @> array['trace', 'generation', 'score'], true)
                                and (d.state = 'completed' or d.run = 'daily' and d.state = 'discarded'))
                      or not exists (select 1 from posthog_export.streams s
                                     where s.project_id = r.project_id and s.day = r.day and s.run = r.run and s.sent > 0)
                         and not exists (select 1 from posthog_export.runs d
                                         where d.project_id = r.project_id and d.day = r.day and d.run = 'daily'))
                 and not exists (select 1 from posthog_export.rejects j
                                 where j.project_id = r.project_id and j.day = r.day and j.run = r.run)
               limit $2 for update of r skip locked),
             counts as (
               select s.project_id, s.day, s.stream, sum(s.sent) as sent, sum(s.batches) as batches, sum(s.bytes) as bytes
               from posthog_export.streams s join old using (project_id, day, run) group by 1, 2, 3),
             added as (
               update posthog_export.streams d
               set sent = d.sent + c.sent, batches = d.batches + c.batches, bytes = d.bytes + c.bytes
               from counts c
               where d.project_id = c.project_id and d.day = c.day and d.stream = c.stream and d.run = 'daily')
             delete from posthog_export.runs r using old
             where r.project_id = old.project_id and r.day = old.day and r.run = old.run",
        )
        .bind(day.0)
        .bind(AT_ONCE)
        .execute(&self.pool);
        Ok(reported(deleted).await?.rows_affected())
    }
}
