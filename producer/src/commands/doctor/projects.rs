//! Checks each enabled project: can its key be decrypted, may its host be called, does the host
//! know the key, is the project paused?

use shared::integration::{self, EncryptionKey, StoredIntegration};
use shared::ledger::Ledger;
use sqlx::PgPool;

use super::Config;
use super::check::Check;
use super::finding::Finding;
use crate::error::CommandError;
use crate::key_check::{self, KeyAnswer};
use crate::output::count;
use crate::pauses::paused;

pub(super) async fn check(config: &Config, source: &PgPool, ledger: Option<&Ledger>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = look(config, source, ledger, &mut findings).await {
        let advice = "Mend what is said above, and look again.";
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
        let advice = "Enable one in a project's settings, or with `producer integrations set`.";
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
    findings.extend(
        enabled
            .iter()
            .zip(&answers)
            .filter_map(|(stored, answer)| judge(stored, answer)),
    );
    let known = answers.iter().filter(|answer| **answer == KeyAnswer::Known).count();
    if known > 0 {
        let found = format!("{} known to their hosts", count(known, "key"));
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
        for (id, pause) in paused(ledger, enabled).await? {
            let found = format!("{id} is paused since {}: {}", pause.paused_at.to_rfc3339(), pause.error);
            let advice = "Correct its PostHog settings, or `producer projects resume`.";
            findings.push(Finding::warning(Check::ProjectsPaused, found, advice));
        }
    }
    Ok(())
}

fn decrypted(stored: &StoredIntegration, key: &EncryptionKey) -> bool {
    key.decrypt(&stored.encrypted_api_key).is_ok()
}

/// Whether ENCRYPTION_KEY is the one that the projects' keys were encrypted with. PURE.
fn decrypts(projects: &[StoredIntegration], key: &EncryptionKey) -> Finding {
    const CHECK: Check = Check::EncryptionKey;
    let all = projects.len();
    match projects.iter().filter(|stored| decrypted(stored, key)).count() {
        number if number == all => Finding::ok(CHECK, format!("decrypts the keys of all {}", count(all, "project"))),
        0 => Finding::problem(
            CHECK,
            format!("decrypts none of {}", count(all, "key")),
            "ENCRYPTION_KEY is not the one that Langfuse uses; take it from Langfuse's own environment.",
        ),
        number => Finding::problem(
            CHECK,
            format!("decrypts {number} of {all} keys"),
            "Save the others anew in the projects' settings; they are named below.",
        ),
    }
}

/// What to report about one project's key; nothing when its host knows it. PURE.
fn judge(stored: &StoredIntegration, answer: &KeyAnswer) -> Option<Finding> {
    let found = format!("{} at {}: {}", stored.project_id, stored.host, answer.word());
    let detail = answer.detail().unwrap_or_default();
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
        KeyAnswer::NotAsked(unusable) => Some(Finding::problem(
            Check::Projects,
            format!("{found}: {detail}"),
            unusable.code.mend(),
        )),
    }
}
