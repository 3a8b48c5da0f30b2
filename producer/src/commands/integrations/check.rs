//! `integrations check`: asks each host whether it knows the key, since capture answers 200 to one it does not.

use futures::StreamExt;
use serde::Serialize;
use shared::integration;
use shared::posthog::Posthog;

use super::{CheckArguments, Config};
use crate::error::CommandError;
use crate::key_check::ask;
use crate::output::{self, Outcome, line};
use crate::servers;

/// Hosts asked at once.
const CHECKS_AT_ONCE: usize = 8;

#[derive(Serialize)]
struct Checked<'a> {
    project_id: &'a str,
    name: &'a str,
    host: &'a str,
    result: &'static str,
    detail: Option<String>,
}

/// Runs `check`.
pub async fn run(arguments: &CheckArguments, config: Config) -> Result<Outcome, CommandError> {
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
    let posthog = Posthog::trusting(config.egress.clone(), CHECKS_AT_ONCE, config.ca.clone())
        .map_err(|error| CommandError::refused(format!("cannot make an HTTP client: {error}")))?;
    let bar = output::progress("asking PostHog", wanted.len());
    let checks = wanted.iter().map(|stored| {
        let (posthog, bar, egress) = (&posthog, &bar, &config.egress);
        async move {
            let (result, detail) = ask(posthog, stored, key, egress).await;
            bar.inc(1);
            Checked {
                project_id: &stored.project_id,
                name: &stored.project_name,
                host: &stored.host,
                result,
                detail,
            }
        }
    });
    let checked: Vec<Checked<'_>> = futures::stream::iter(checks).buffered(CHECKS_AT_ONCE).collect().await;
    bar.finish_and_clear();
    let well = checked
        .iter()
        .all(|check| matches!(check.result, "known" | "cannot_tell"));
    if arguments.json {
        output::json(&serde_json::json!({ "checks": checked }));
    } else if checked.is_empty() {
        line("No integration is enabled.");
    } else {
        let rows = checked.iter().map(|check| {
            [
                check.project_id.to_owned(),
                check.name.to_owned(),
                check.host.to_owned(),
                check.result.to_owned(),
                check.detail.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        });
        line(output::table(["PROJECT", "NAME", "HOST", "RESULT", "DETAIL"], rows));
    }
    Ok(if well { Outcome::Done } else { Outcome::Failed })
}
