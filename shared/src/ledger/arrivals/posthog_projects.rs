//! Which PostHog project a host and key belong to.

use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;
use crate::ledger::statement::answered;

impl Ledger {
    /// Which PostHog project this target is, if that is known.
    pub async fn posthog_project(&self, target: &str) -> Result<Option<i64>, LedgerError> {
        let known = sqlx::query_scalar(
            "-- ledger_posthog_project\nselect posthog_project from posthog_export.posthog_projects where target = $1",
        );
        answered(known.bind(target).fetch_optional(&self.pool)).await
    }

    /// Remembers which PostHog project this target is; `None` forgets it.
    pub async fn remember_posthog_project(&self, target: &str, project: Option<i64>) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_remember_posthog_project
             with gone as (delete from posthog_export.posthog_projects where target = $1 and $2::bigint is null)
             insert into posthog_export.posthog_projects (target, posthog_project)
             select $1, $2 where $2 is not null
             on conflict (target) do update
             set posthog_project = excluded.posthog_project, found_at = clock_timestamp()",
        )
        .bind(target)
        .bind(project)
        .execute(&self.pool);
        answered(written).await?;
        Ok(())
    }
}
