//! `integrations check`: asks each host whether it knows the key. PostHog's capture endpoint
//! answers 200 to a key that it does not know, and drops the events.

use serde::Serialize;
use shared::integration::{self, StoredIntegration};

use super::{CheckArguments, Config};
use crate::error::CommandError;
use crate::key_check::{self, KeyAnswer};
use crate::output::{self, Exit, line};
use crate::servers;

#[derive(Serialize)]
struct Checked<'a> {
    project_id: &'a str,
    name: &'a str,
    host: &'a str,
    result: &'static str,
    detail: Option<String>,
}

impl<'a> Checked<'a> {
    fn of(stored: &'a StoredIntegration, answer: &'a KeyAnswer) -> Self {
        Self {
            project_id: &stored.project_id,
            name: &stored.project_name,
            host: &stored.host,
            result: answer.word(),
            detail: answer.detail(),
        }
    }

    fn row(&self) -> [String; 5] {
        [
            self.project_id.to_owned(),
            self.name.to_owned(),
            self.host.to_owned(),
            self.result.to_owned(),
            self.detail.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

/// Executes `check`.
pub async fn execute(arguments: &CheckArguments, config: Config) -> Result<Exit, CommandError> {
    let key = config.key.get()?;
    let source = servers::source(&config.source).await?;
    let mut wanted = integration::list(&source, arguments.project.as_deref()).await?;
    match &arguments.project {
        None => wanted.retain(|stored| stored.enabled),
        Some(project) if wanted.is_empty() => {
            return Err(CommandError::refused(format!(
                "project `{project}` has no PostHog integration"
            )));
        }
        Some(_) => {}
    }
    let answers = key_check::ask(&wanted, key, &config.egress, &config.ca).await?;
    let checked = wanted.iter().zip(&answers);
    let checked: Vec<Checked<'_>> = checked.map(|(stored, answer)| Checked::of(stored, answer)).collect();
    if arguments.json {
        output::json(&serde_json::json!({ "checks": checked }));
    } else if checked.is_empty() {
        line("No integration is enabled.");
    } else {
        let rows = checked.iter().map(Checked::row);
        output::table(["PROJECT", "NAME", "HOST", "RESULT", "DETAIL"], rows);
    }
    let well = answers.iter().all(KeyAnswer::is_usable);
    Ok(Exit::of(well))
}
