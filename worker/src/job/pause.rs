//! A project whose key or host is wrong is paused when its first job fails. Its other jobs end as
//! `skipped` instead of dead, and come back once the settings have changed or a person resumes the
//! project.

use shared::integration::IntegrationFault;

use crate::app::App;
use crate::job::error::{Disposition, JobError};

/// Fails when the project is paused under its present settings.
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

/// Pauses the project when every other job of it would fail in the same way. Called after a
/// failure, before it is settled. If the ledger does not take the pause, the next job meets the
/// same failure and pauses the project.
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
