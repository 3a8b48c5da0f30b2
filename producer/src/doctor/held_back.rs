//! Looks whether long histories wait for somebody's decision.

use shared::integration;
use shared::ledger::Ledger;
use sqlx::PgPool;

use super::check::Check;
use super::config::Config;
use super::finding::Finding;
use crate::error::CommandError;
use crate::facts::{self, Effort};
use crate::histories::{decide, held_back, histories};
use crate::pauses::paused;
use crate::plan::{FirstExport, Rules};

const CHECK: Check = Check::ProjectsHeldBack;

pub(super) async fn check(config: &Config, source: &PgPool, ledger: &Ledger) -> Finding {
    match look(config, source, ledger).await {
        Ok(held) => judge(&held),
        Err(error) => Finding::error(CHECK, &error),
    }
}

async fn look(config: &Config, source: &PgPool, ledger: &Ledger) -> Result<Vec<FirstExport>, CommandError> {
    if config.horizon.backfill_days.is_some() {
        return Ok(Vec::new());
    }
    let mut wanted = integration::list(source, None).await?;
    let pauses = paused(ledger, &wanted).await?;
    wanted.retain(|stored| stored.enabled && !pauses.contains_key(&stored.project_id));
    let ids: Vec<String> = wanted.into_iter().map(|stored| stored.project_id).collect();
    let rules = Rules {
        now: ledger.now().await?,
        horizon: config.horizon,
        from: None,
        to: None,
        observations: config.observations,
    };
    let projects = facts::projects(source, Some(ledger), &rules, &ids, Effort::Least).await?;
    held_back(source, &rules, &projects).await
}

/// PURE.
fn judge(held: &[FirstExport]) -> Finding {
    if held.is_empty() {
        return Finding::ok(CHECK, "no long history waits for a decision");
    }
    let found = format!(
        "{}; no `enqueue` without a terminal publishes it",
        histories(held.iter())
    );
    let ids = held.iter().map(|export| export.project_id.clone()).collect();
    Finding::warning(CHECK, found, decide(held.iter())).of_projects(ids)
}
