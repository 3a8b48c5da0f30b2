//! Checks each enabled project: can its key be decrypted, may its host be called, does the host
//! know the key, is the project paused?

use std::collections::BTreeMap;

use shared::ingestion::ingestion_url;
use shared::integration::{self, EncryptionKey, StoredIntegration};
use shared::ledger::{Ledger, Pause};
use sqlx::PgPool;

use super::check::Check;
use super::config::Config;
use super::finding::Finding;
use crate::error::CommandError;
use crate::hosts;
use crate::key_check::{self, KeyAnswer};
use crate::output::count;
use crate::pauses::paused;

pub(super) async fn check(config: &Config, source: &PgPool, ledger: Option<&Ledger>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = look(config, source, ledger, &mut findings).await {
        let advice = "Mend what the error says, and run `producer doctor` again.";
        findings.push(Finding::problem(Check::Projects, error.to_string(), advice));
    }
    findings
}

async fn look(
    config: &Config,
    source: &PgPool,
    ledger: Option<&Ledger>,
    findings: &mut Vec<Finding>,
) -> Result<(), CommandError> {
    let mut enabled = integration::list(source, None).await?;
    enabled.retain(|stored| stored.enabled);
    if enabled.is_empty() {
        let advice = "Run `producer integrations set` for each project that shall be exported.";
        let found = "no project has an enabled PostHog integration";
        findings.push(Finding::warning(Check::Projects, found, advice));
        return Ok(());
    }
    let key = config.key.get()?;
    findings.push(decrypts(&enabled, key));
    if !enabled.iter().any(|stored| decrypted(stored, key)) {
        // That one finding is about all projects. No host can be asked.
        return paused_ones(ledger, &enabled, findings).await;
    }
    let answers = key_check::ask(&enabled, key, &config.egress, &config.posthog_ca).await?;
    findings.extend(judge(&enabled, &answers));
    let known = answers.iter().filter(|answer| **answer == KeyAnswer::Known).count();
    if known > 0 {
        let found = format!("{} known to PostHog", count(known, "key"));
        findings.push(Finding::ok(Check::Projects, found));
    }
    paused_ones(ledger, &enabled, findings).await
}

async fn paused_ones(
    ledger: Option<&Ledger>,
    enabled: &[StoredIntegration],
    findings: &mut Vec<Finding>,
) -> Result<(), CommandError> {
    if let Some(ledger) = ledger {
        findings.extend(judge_pauses(paused(ledger, enabled).await?.into_values()));
    }
    Ok(())
}

/// One finding for each cause of pauses. PURE.
fn judge_pauses(pauses: impl Iterator<Item = Pause>) -> Vec<Finding> {
    let mut causes: BTreeMap<String, Vec<Pause>> = BTreeMap::new();
    for pause in pauses {
        let cause = pause.error_code.clone().unwrap_or_else(|| pause.error.clone());
        causes.entry(cause).or_default().push(pause);
    }
    let finding = |pauses: Vec<Pause>| {
        let first = pauses.iter().min_by_key(|pause| pause.paused_at)?;
        let (id, since) = (&first.project_id, first.paused_at.to_rfc3339());
        let found = match pauses.len() {
            1 => format!("{id} is paused since {since}: {}", first.error),
            number => format!(
                "{number} projects are paused, the first is {id} since {since}: {}",
                first.error
            ),
        };
        let advice = "Correct their PostHog settings, or `producer projects resume`.";
        let ids = pauses.iter().map(|pause| pause.project_id.clone()).collect();
        Some(Finding::warning(Check::ProjectsPaused, found, advice).of_projects(ids))
    };
    causes.into_values().filter_map(finding).collect()
}

fn decrypted(stored: &StoredIntegration, key: &EncryptionKey) -> bool {
    key.decrypt(&stored.encrypted_api_key).is_ok()
}

/// Whether ENCRYPTION_KEY is the one that the projects' keys were encrypted with. PURE.
fn decrypts(projects: &[StoredIntegration], key: &EncryptionKey) -> Finding {
    const CHECK: Check = Check::EncryptionKey;
    let all = projects.len();
    match projects.iter().filter(|stored| decrypted(stored, key)).count() {
        number if number == all => Finding::ok(CHECK, format!("decrypts {}", count(all, "key"))),
        0 => Finding::problem(
            CHECK,
            match all {
                1 => "does not decrypt the project's key".to_owned(),
                _ => format!("decrypts none of {}", count(all, "key")),
            },
            "ENCRYPTION_KEY is not the one that Langfuse uses; take it from Langfuse's own environment.",
        ),
        number => Finding::problem(
            CHECK,
            format!("decrypts {number} of {all} keys"),
            "Save the others anew with `producer integrations set`; they are named below.",
        ),
    }
}

/// The host that is called, however it was typed.
fn called(stored: &StoredIntegration) -> String {
    ingestion_url(&stored.host).map_or_else(|_| stored.host.clone(), |url| url.to_string())
}

/// What to report about the projects' keys: one finding for each cause. PURE.
fn judge(projects: &[StoredIntegration], answers: &[KeyAnswer]) -> Vec<Finding> {
    let mut causes: BTreeMap<(&str, String), Vec<(&StoredIntegration, &KeyAnswer)>> = BTreeMap::new();
    for (stored, answer) in projects.iter().zip(answers) {
        // What a host says is the host's; what the settings are is nobody's in particular.
        let whose = match answer {
            KeyAnswer::Known | KeyAnswer::NotAsked(_) => String::new(),
            KeyAnswer::Refused => called(stored),
            KeyAnswer::CannotTell(detail) | KeyAnswer::NoAnswer(detail) => format!("{} {detail}", called(stored)),
        };
        causes.entry((answer.word(), whose)).or_default().push((stored, answer));
    }
    let finding = |same: Vec<(&StoredIntegration, &KeyAnswer)>| {
        let (first, answer) = *same.first()?;
        let ids = same.iter().map(|(stored, _)| stored.project_id.clone()).collect();
        Some(cause(first, answer, same.len())?.of_projects(ids))
    };
    causes.into_values().filter_map(finding).collect()
}

/// The finding about so many projects, of which this is the first; nothing when its host knows the
/// key. PURE.
fn cause(first: &StoredIntegration, answer: &KeyAnswer, projects: usize) -> Option<Finding> {
    let (id, host, word) = (&first.project_id, hosts::shown(&first.host), answer.word());
    let detail = answer.detail().unwrap_or_default();
    let found = match projects {
        1 => format!("{id} at {host}: {word}"),
        _ => format!("{projects} projects at {host}, the first is {id}: {word}"),
    };
    match answer {
        KeyAnswer::Known => None,
        KeyAnswer::CannotTell(_) => Some(Finding::warning(
            Check::Projects,
            format!("{found}: {detail}"),
            "Fine for a proxy that serves capture only; otherwise see that the host is PostHog's ingestion host.",
        )),
        KeyAnswer::NoAnswer(_) => Some(Finding::warning(
            Check::Projects,
            format!("{found}: {detail}"),
            "See that the host can be reached from here.",
        )),
        KeyAnswer::Refused => Some(Finding::problem(Check::Projects, found, detail)),
        KeyAnswer::NotAsked(unusable) => {
            let found = match projects {
                1 => format!("{found}: {detail}"),
                _ => format!("{projects} projects: {word}; the first is {id} at {host}: {detail}"),
            };
            Some(Finding::problem(Check::Projects, found, unusable.code.mend()))
        }
    }
}
