//! The projects: does the key decrypt, may the host be called, does it know the key, is the project paused?

use futures::StreamExt;
use shared::error_code::ErrorCode;
use shared::integration;
use shared::ledger::Ledger;
use shared::posthog::Posthog;
use sqlx::PgPool;

use super::Config;
use super::finding::Finding;
use crate::error::CommandError;
use crate::key_check::ask;
use crate::output::{self, count};
use crate::pauses::paused;

const AT_ONCE: usize = 8;
const KEY: &str = "encryption_key";
const PROJECTS: &str = "projects";

pub(super) async fn check(
    config: &Config,
    source: &PgPool,
    ledger: Option<&Ledger>,
    findings: &mut Vec<Finding>,
) -> Result<(), CommandError> {
    let mut stored = integration::list(source, None).await?;
    stored.retain(|stored| stored.enabled);
    if stored.is_empty() {
        let advice = "Enable one in a project's settings, or with `producer integrations set`.";
        findings.push(Finding::warning(
            PROJECTS,
            "no project has an enabled PostHog integration",
            advice,
        ));
        return Ok(());
    }
    let key = config.key.get()?;
    let readable = stored
        .iter()
        .filter(|stored| key.decrypt(&stored.encrypted_api_key).is_ok());
    let readable = readable.count();
    findings.push(if readable == stored.len() {
        Finding::ok(KEY, format!("decrypts the keys of all {}", count(readable, "project")))
    } else if readable == 0 {
        Finding::problem(
            KEY,
            format!("decrypts none of {} keys", stored.len()),
            "ENCRYPTION_KEY is not the one that Langfuse uses; take it from Langfuse's own environment.",
        )
    } else {
        let found = format!("decrypts {readable} of {} keys", stored.len());
        Finding::problem(
            KEY,
            found,
            "Save the others anew in the projects' settings; they are named below.",
        )
    });
    let posthog = Posthog::trusting(config.egress.clone(), AT_ONCE, config.posthog_ca.clone())
        .map_err(|error| CommandError::refused(format!("cannot make an HTTP client: {error}")))?;
    let bar = output::progress("asking PostHog", stored.len());
    let asked = stored.iter().map(|stored| {
        let (posthog, bar, egress) = (&posthog, &bar, &config.egress);
        async move {
            let answer = ask(posthog, stored, key, egress).await;
            bar.inc(1);
            (stored, answer)
        }
    });
    let answers: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).collect().await;
    bar.finish_and_clear();
    let mut known = 0;
    for (stored, (result, detail)) in answers {
        let found = format!("{} at {}: {result}", stored.project_id, stored.host);
        let detail = detail.unwrap_or_default();
        match result {
            "known" => known += 1,
            "cannot_tell" => findings.push(Finding::warning(
                PROJECTS,
                format!("{found}: {detail}"),
                "Fine for a proxy that serves capture only; otherwise see that the host can be reached from here.",
            )),
            "refused" => findings.push(Finding::problem(PROJECTS, found, detail)),
            code => {
                let advice = code.parse::<ErrorCode>().map_or("Read the error.", ErrorCode::advice);
                findings.push(Finding::problem(PROJECTS, format!("{found}: {detail}"), advice));
            }
        }
    }
    if known > 0 {
        findings.push(Finding::ok(
            PROJECTS,
            format!("{} known to their hosts", count(known, "key")),
        ));
    }
    if let Some(ledger) = ledger {
        for (id, pause) in paused(ledger, &stored).await? {
            let found = format!("{id} is paused since {}: {}", pause.paused_at.to_rfc3339(), pause.error);
            let advice = "Correct its PostHog settings, or `producer projects resume`.";
            findings.push(Finding::warning("projects.paused", found, advice));
        }
    }
    Ok(())
}
