//! Days that miss events in PostHog, of projects that are switched off or gone: nobody can send them
//! again, so nobody is called for them. They come back with the project.

use shared::integration;
use shared::ledger::Ledger;
use sqlx::PgPool;

use crate::error::CommandError;

/// Looks which projects are switched on. A failure is only said: the next enqueue or verify looks again.
pub(crate) async fn look(source: &PgPool, ledger: &Ledger) {
    let changed = async {
        let stored = integration::list(source, None).await?;
        let on = stored.into_iter().filter(|stored| stored.enabled);
        let on: Vec<String> = on.map(|stored| stored.project_id).collect();
        Ok::<_, CommandError>(ledger.set_aside(&on).await?)
    };
    match changed.await {
        Ok(changed) => {
            for (project, aside) in changed {
                if aside {
                    tracing::info!(
                        project,
                        "the project is switched off or gone: its days that miss events are set aside"
                    );
                } else {
                    tracing::info!(
                        project,
                        "the project is switched on again, and with it its days that miss events"
                    );
                }
            }
        }
        Err(error) => tracing::warn!(%error, "days of projects that are gone were not set aside; trying again later"),
    }
}
