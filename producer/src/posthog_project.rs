//! Which PostHog project an integration's events go to.

use reqwest::Url;
use shared::integration::Integration;
use shared::ledger::{Ledger, LedgerError};

use crate::posthog_app::{App, AppError, Place};

/// A project that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) place: Place,
    /// Whether the ledger does not know it yet
    is_new: bool,
}

impl Found {
    /// Remembers it, once a question to it was answered.
    pub(crate) async fn remember(&self, ledger: &Ledger, integration: &Integration) -> Result<(), LedgerError> {
        if self.is_new {
            let target = integration.target();
            ledger.remember_posthog_project(&target, self.place.project).await?;
        }
        Ok(())
    }

    /// An error where PostHog shows that the project has another key, or does not answer. Who may not see
    /// that believes the number.
    pub(crate) async fn has_key(&self, app: &App, integration: &Integration) -> Result<(), AppError> {
        match app.has_key(&self.place, &integration.api_key).await? {
            Some(false) => Err(AppError::OtherKey {
                host: self.place.app.host_str().unwrap_or_default().to_owned(),
                project: self.place.project,
            }),
            _ => Ok(()),
        }
    }

    /// Looks again where PostHog does not know the remembered project, does not let the key in, or shows
    /// another key: it may be another project by now. No error makes the number forgotten, since a
    /// proxy may give one, and somebody may have typed the number.
    pub(crate) async fn look_again(
        &self,
        app: &App,
        ledger: &Ledger,
        integration: &Integration,
    ) -> Result<(), LedgerError> {
        if self.is_new {
            return Ok(());
        }
        match app.project_with_key(&self.place.app, &integration.api_key).await {
            Ok(project) if project != self.place.project => {
                ledger.remember_posthog_project(&integration.target(), project).await
            }
            _ => Ok(()),
        }
    }
}

/// As was said, as is known, or the one that has the key.
pub(crate) async fn find(
    app: &App,
    ledger: &Ledger,
    url: &Url,
    integration: &Integration,
    said: Option<i64>,
) -> Result<Result<Found, AppError>, LedgerError> {
    let found = |project, is_new| Found {
        place: Place {
            app: url.clone(),
            project,
        },
        is_new,
    };
    if let Some(project) = said {
        let found = found(project, true);
        return Ok(found.has_key(app, integration).await.map(|()| found));
    }
    if let Some(project) = ledger.posthog_project(&integration.target()).await? {
        return Ok(Ok(found(project, false)));
    }
    let listed = app.project_with_key(url, &integration.api_key).await;
    Ok(listed.map(|project| found(project, true)))
}
