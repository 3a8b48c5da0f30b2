//! Paused projects. No job of them is exported, because their key or host is wrong or because a
//! person said so.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Ledger;
use super::error::LedgerError;
use super::statement::answered;
use crate::error_code::ErrorCode;

/// A pause of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Pause {
    /// Langfuse's `projects.id`
    #[serde(skip)]
    pub project_id: String,
    /// Fingerprint of the settings that were wrong; `None`: a person's pause, which only a person
    /// ends
    #[serde(skip)]
    pub settings: Option<String>,
    /// The failure that led to it; `None` for a person's pause
    pub error_code: Option<String>,
    /// The failure's text, or the person's reason
    pub error: String,
    /// A worker's name, or `human`
    pub paused_by: String,
    /// Since when
    pub paused_at: DateTime<Utc>,
}

/// The column `paused_by` of a person's pause.
pub const HUMAN: &str = "human";

impl Pause {
    /// Whether the project is still paused, now that it has these settings. PURE.
    pub fn holds(&self, settings: &str) -> bool {
        self.settings.as_deref().is_none_or(|wrong| wrong == settings)
    }
}

impl Ledger {
    /// The pause of a project that has these settings. A pause because of other settings is over:
    /// it is deleted.
    pub async fn pause_of(&self, project_id: &str, settings: &str) -> Result<Option<Pause>, LedgerError> {
        let holding = sqlx::query_as(
            "-- ledger_pause_of
             with over as (delete from posthog_export.paused where project_id = $1 and settings <> $2)
             select project_id, settings, error_code, error, paused_by, paused_at from posthog_export.paused
             where project_id = $1 and (settings is null or settings = $2)",
        )
        .bind(project_id)
        .bind(settings)
        .fetch_optional(&self.pool);
        answered(holding).await
    }

    /// Every pause, by project. Some may be over, because the settings have changed since.
    pub async fn pauses(&self) -> Result<BTreeMap<String, Pause>, LedgerError> {
        let pauses = sqlx::query_as(
            "-- ledger_pauses
             select project_id, settings, error_code, error, paused_by, paused_at from posthog_export.paused",
        )
        .fetch_all(&self.pool);
        let by_project = |pause: Pause| (pause.project_id.clone(), pause);
        Ok(answered(pauses).await?.into_iter().map(by_project).collect())
    }

    /// Pauses a project because of a failure that these settings led to. A person's pause stays as
    /// it is.
    pub async fn pause_after(
        &self,
        project_id: &str,
        settings: &str,
        code: ErrorCode,
        error: &str,
        worker: &str,
    ) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_pause_after
             insert into posthog_export.paused as p (project_id, settings, error_code, error, paused_by)
             values ($1, $2, $3, $4, $5)
             on conflict (project_id) do update
             set settings = excluded.settings, error_code = excluded.error_code, error = excluded.error,
                 paused_by = excluded.paused_by, paused_at = clock_timestamp()
             where p.settings <> excluded.settings",
        )
        .bind(project_id)
        .bind(settings)
        .bind(code.as_str())
        .bind(error)
        .bind(worker)
        .execute(&self.pool);
        answered(written).await?;
        Ok(())
    }

    /// Pauses projects because a person says so.
    pub async fn pause_by_hand(&self, projects: &[String], reason: &str) -> Result<(), LedgerError> {
        let written = sqlx::query(
            "-- ledger_pause_by_hand
             insert into posthog_export.paused (project_id, error, paused_by) select p, $2, $3 from unnest($1::text[]) p
             on conflict (project_id) do update
             set settings = null, error_code = null, error = excluded.error, paused_by = excluded.paused_by,
                 paused_at = clock_timestamp()",
        )
        .bind(projects)
        .bind(reason)
        .bind(HUMAN)
        .execute(&self.pool);
        answered(written).await?;
        Ok(())
    }

    /// Deletes these pauses, unless a worker or a person has made another of the same project since
    /// they were read. Returns the projects of the deleted ones.
    pub async fn forget_pauses(&self, over: &[Pause]) -> Result<Vec<String>, LedgerError> {
        let forgotten = sqlx::query_scalar(
            "-- ledger_forget_pauses
             delete from posthog_export.paused p using unnest($1::text[], $2::text[]) as o (project_id, settings)
             where p.project_id = o.project_id and p.settings is not distinct from o.settings returning p.project_id",
        )
        .bind(over.iter().map(|pause| pause.project_id.as_str()).collect::<Vec<_>>())
        .bind(over.iter().map(|pause| pause.settings.as_deref()).collect::<Vec<_>>())
        .fetch_all(&self.pool);
        answered(forgotten).await
    }

    /// Ends this pause, unless another one has taken its place. Says whether it did.
    pub async fn end_pause(&self, pause: &Pause) -> Result<bool, LedgerError> {
        let ended = sqlx::query(
            "-- ledger_end_pause
             delete from posthog_export.paused where project_id = $1 and paused_at = $2",
        )
        .bind(&pause.project_id)
        .bind(pause.paused_at)
        .execute(&self.pool);
        Ok(answered(ended).await?.rows_affected() > 0)
    }

    /// Ends the pauses of these projects; those that a person made only with `by_hand`. Returns the
    /// projects that were paused.
    pub async fn resume(&self, projects: &[String], by_hand: bool) -> Result<Vec<String>, LedgerError> {
        let resumed = sqlx::query_scalar(
            "-- ledger_resume
             delete from posthog_export.paused where project_id = any($1) and ($2 or settings is not null)
             returning project_id",
        )
        .bind(projects)
        .bind(by_hand)
        .fetch_all(&self.pool);
        let mut resumed: Vec<String> = answered(resumed).await?;
        resumed.sort_unstable();
        Ok(resumed)
    }
}
