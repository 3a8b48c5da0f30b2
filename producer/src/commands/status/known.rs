//! Which projects `status` shows: those that Langfuse or the ledger knows.

use std::collections::BTreeMap;

use shared::integration::StoredIntegration;
use shared::langfuse::known_projects;
use shared::ledger::Summary;
use sqlx::PgPool;

use crate::error::CommandError;

/// Leaves out the projects that Langfuse does not have, once a person has discarded all their runs.
pub(super) async fn forget_given_up(
    source: &PgPool,
    summaries: &mut BTreeMap<String, Summary>,
) -> Result<(), CommandError> {
    let given_up: Vec<String> = summaries
        .values()
        .filter(|summary| is_given_up(summary))
        .map(|summary| summary.project_id.clone())
        .collect();
    let known = known_projects(source, &given_up).await?;
    summaries.retain(|id, _| !given_up.contains(id) || known.contains(id));
    Ok(())
}

/// Whether there are runs, and every one is discarded. PURE.
fn is_given_up(summary: &Summary) -> bool {
    let others = [
        summary.completed,
        summary.running,
        summary.queued,
        summary.waiting,
        summary.dead,
        summary.skipped,
    ];
    summary.discarded > 0 && others.iter().all(|runs| *runs == 0)
}

/// Refuses a project that neither Langfuse's database nor the ledger has.
pub(super) async fn refuse_unknown(
    asked: &[String],
    source: &PgPool,
    integrations: &[StoredIntegration],
    summaries: &BTreeMap<String, Summary>,
) -> Result<(), CommandError> {
    let strange =
        |id: &&String| !summaries.contains_key(*id) && !integrations.iter().any(|found| found.project_id == **id);
    let strange: Vec<String> = asked.iter().filter(strange).cloned().collect();
    if strange.is_empty() {
        return Ok(());
    }
    let known = known_projects(source, &strange).await?;
    CommandError::refuse_unknown(
        &strange,
        |id| known.iter().any(|found| found == id),
        |unknown| format!("neither Langfuse's database nor the ledger has a project {unknown}"),
    )
}
