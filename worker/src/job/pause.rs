//! A project whose key or host is wrong is paused after its first job has failed: the others end as `skipped` instead of
//! dead, and come back once the settings have changed or a human says so.

use shared::integration::IntegrationFault;

use crate::app::App;
use crate::job::error::{Disposition, JobError};

/// Whether the job's project may be worked on, with its settings as they are now.
///
/// # Errors
/// [`IntegrationFault::Paused`], or the ledger's.
pub async fn check(app: &App, project_id: &str, settings: Option<&str>) -> Result<(), JobError> {
    let Some(settings) = settings else { return Ok(()) };
    match app.ledger.pause_of(project_id, settings).await? {
        None => Ok(()),
        Some(pause) => {
            let why = format!(
                "since {}, by {}: {}",
                pause.paused_at.to_rfc3339(),
                pause.paused_by,
                pause.error
            );
            Err(IntegrationFault::Paused(why).into())
        }
    }
}

/// After a job's failure, before it is settled. When the ledger does not take it the next job meets the same failure, and
/// pauses.
pub async fn after(app: &App, project_id: &str, settings: Option<&str>, error: &JobError) {
    let permanent = error.disposition() == Disposition::Bury;
    let code = error.code().filter(|code| permanent && code.pauses_project());
    let (Some(code), Some(settings)) = (code, settings) else {
        return;
    };
    let text = error.to_string();
    match app
        .ledger
        .pause_after(project_id, settings, code, &text, &app.worker)
        .await
    {
        Ok(()) => tracing::warn!(%code, reason = %text, "the project is paused until its PostHog settings change"),
        Err(error) => tracing::warn!(%error, "the project could not be paused"),
    }
}
