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

    /// Remembers which PostHog project this target is.
    pub async fn remember_posthog_project(&self, target: &str, project: i64) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_remember_posthog_project
             insert into posthog_export.posthog_projects (target, posthog_project) values ($1, $2)
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
