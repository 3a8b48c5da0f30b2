//! Which pauses of projects still hold, and how people make and end them. A pause after a failure
//! ends when the project's PostHog settings are saved anew.

use std::collections::BTreeMap;

use shared::integration::StoredIntegration;
use shared::langfuse::known_projects;
use shared::ledger::{HUMAN, Ledger, Pause};
use sqlx::PgPool;

use crate::error::CommandError;

/// What pages and tables call the cause of a pause that no failure led to. In JSON and in the
/// ledger it is [`HUMAN`].
pub(crate) const A_PERSON: &str = "a person";

/// Who made the pause, for people: a worker's name, or a person.
pub(crate) fn by(pause: &Pause) -> &str {
    if pause.paused_by == HUMAN {
        A_PERSON
    } else {
        &pause.paused_by
    }
}

/// Reads the pauses that hold now, by project.
pub(crate) async fn paused(
    ledger: &Ledger,
    integrations: &[StoredIntegration],
) -> Result<BTreeMap<String, Pause>, CommandError> {
    Ok(holding(ledger.pauses().await?, integrations))
}

/// Leaves out the pauses whose settings have been saved anew since. PURE.
pub(crate) fn holding(
    mut pauses: BTreeMap<String, Pause>,
    integrations: &[StoredIntegration],
) -> BTreeMap<String, Pause> {
    for stored in integrations {
        if pauses
            .get(&stored.project_id)
            .is_some_and(|pause| !pause.holds(&stored.fingerprint()))
        {
            pauses.remove(&stored.project_id);
        }
    }
    pauses
}

/// The pauses to delete, because they hold nothing back any more. PURE.
///
/// A pause after a failure is over when the settings were saved anew or the integration was
/// switched off. Any pause is over when the project has no integration. Workers do not meet such
/// projects again, so nobody else would delete their pauses, and the metric would count them for
/// ever.
pub(crate) fn over(pauses: &BTreeMap<String, Pause>, integrations: &[StoredIntegration]) -> Vec<Pause> {
    let is_over = |pause: &&Pause| {
        let mut all = integrations.iter();
        match all.find(|stored| stored.project_id == pause.project_id) {
            None => true,
            Some(stored) => pause.settings.is_some() && (!stored.enabled || !pause.holds(&stored.fingerprint())),
        }
    };
    pauses.values().filter(is_over).cloned().collect()
}

/// Pauses projects because a person says so, all of them or none. Answers which.
pub(crate) async fn pause(
    source: &PgPool,
    ledger: &Ledger,
    projects: &[String],
    reason: &str,
) -> Result<Vec<String>, CommandError> {
    let known = known_projects(source, projects).await?;
    CommandError::refuse_unknown(
        projects,
        |id| known.iter().any(|found| found == id),
        |unknown| format!("Langfuse's database has no project {unknown}; nothing was paused"),
    )?;
    ledger.pause_by_hand(&known, reason).await?;
    Ok(known)
}

/// Ends the pauses of projects, all of them or none; `pauses` are those that there are. Answers which
/// ended.
pub(crate) async fn resume(
    ledger: &Ledger,
    pauses: &BTreeMap<String, Pause>,
    projects: &[String],
) -> Result<Vec<String>, CommandError> {
    CommandError::refuse_unknown(
        projects,
        |id| pauses.contains_key(id),
        |unknown| format!("not paused: {unknown}; nothing was resumed (see `producer projects list --paused`)"),
    )?;
    Ok(ledger.resume(projects, true).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(host: &str) -> StoredIntegration {
        StoredIntegration {
            project_id: "p".into(),
            project_name: "P".into(),
            encrypted_api_key: "00:11:22".into(),
            host: host.into(),
            enabled: true,
        }
    }

    fn pause(settings: Option<String>) -> BTreeMap<String, Pause> {
        let pause = Pause {
            project_id: "p".into(),
            settings,
            error_code: None,
            error: String::new(),
            paused_by: HUMAN.into(),
            paused_at: chrono::DateTime::UNIX_EPOCH,
        };
        BTreeMap::from([("p".to_owned(), pause)])
    }

    #[test]
    fn a_failures_pause_ends_with_its_settings_and_a_humans_does_not() {
        let (wrong, right) = (stored("https://a"), stored("https://b"));
        let after_failure = || pause(Some(wrong.fingerprint()));
        assert_eq!(holding(after_failure(), std::slice::from_ref(&wrong)).len(), 1);
        assert_eq!(holding(after_failure(), std::slice::from_ref(&right)).len(), 0);
        assert_eq!(holding(pause(None), &[right]).len(), 1);
        assert_eq!(holding(after_failure(), &[]).len(), 1);
    }

    #[test]
    fn a_pause_is_over_when_nothing_is_left_that_it_holds_back() {
        let (wrong, right) = (stored("https://a"), stored("https://b"));
        let off = StoredIntegration {
            enabled: false,
            ..wrong.clone()
        };
        for (settings, integration, is_over) in [
            (Some(&wrong), Some(&wrong), false),
            (Some(&wrong), Some(&right), true),
            (Some(&wrong), Some(&off), true),
            (Some(&wrong), None, true),
            (None, Some(&right), false),
            (None, Some(&off), false),
            (None, None, true),
        ] {
            let pauses = pause(settings.map(StoredIntegration::fingerprint));
            let integrations: Vec<_> = integration.cloned().into_iter().collect();
            assert_eq!(over(&pauses, &integrations).len(), usize::from(is_over), "{pauses:?}");
        }
    }
}
