//! `enqueue --steps`: publishes the parts of today that are over, also those whose message seems to be
//! lost. It reads today's runs only, and leaves everything else to the nightly enqueue.

use std::collections::BTreeMap;

use shared::integration;
use shared::job::Day;
use shared::ledger::{Filter, RunRow};

use super::first::LongFirst;
use super::report::{Left, Report};
use super::{Arguments, Config, LOCK, Opened, enabled};
use crate::error::CommandError;
use crate::lock;
use crate::output::Exit;
use crate::pauses;
use crate::plan::{Planned, Rules, heal, plan_steps};
use crate::publish::{Published, publish};
use crate::steps::Steps;

pub(super) async fn execute(arguments: &Arguments, config: &Config, steps: &Steps) -> Result<Exit, CommandError> {
    let opened = Opened::new(arguments, config).await?;
    let ledger = &opened.ledger;
    // The nightly enqueue may be at work, or another producer at the same border. It then finds the
    // steps in the ledger, as this one finds those of the other.
    let lock = if arguments.dry_run {
        None
    } else {
        Some(lock::take(ledger, LOCK).await?)
    };
    let rules = Rules {
        now: ledger.now().await?,
        horizon: config.horizon,
        from: None,
        to: None,
        observations: config.observations,
    };
    let (jobs, left) = look(&opened, &rules, steps, &arguments.projects).await?;
    let mut report = Report::new(&rules, &jobs, left, LongFirst::default(), arguments.dry_run);
    report.announce(arguments.json);
    if !arguments.dry_run {
        report.published(send(&opened, &jobs).await?);
        if report.all_confirmed() && arguments.projects.is_empty() {
            ledger.record_steps(rules.now, steps.every(), steps.lag()).await?;
        }
    }
    if let Some(lock) = lock {
        lock.release().await?;
    }
    opened.broker.close().await;
    report.finish(arguments.json);
    Ok(Exit::of(report.all_confirmed()))
}

async fn look(
    opened: &Opened,
    rules: &Rules,
    steps: &Steps,
    asked: &[String],
) -> Result<(Vec<Planned>, Left), CommandError> {
    let integrations = integration::list(&opened.source, None).await?;
    let known = if opened.migrated {
        pauses::paused(&opened.ledger, &integrations).await?
    } else {
        BTreeMap::new()
    };
    let ids = enabled(integrations, asked)?
        .into_iter()
        .map(|stored| stored.project_id);
    let (paused, projects): (Vec<String>, Vec<String>) = ids.partition(|id| known.contains_key(id));
    let today = Day::of(rules.now);
    let mut runs = Vec::new();
    // Without a project the filter would mean all of them.
    if opened.migrated && !projects.is_empty() {
        let of_today = Filter {
            projects: projects.clone(),
            state: None,
            from: Some(today),
            to: Some(today),
        };
        runs = opened.ledger.list(&of_today).await?;
    }
    let mut jobs = plan_steps(steps, rules.now, rules.observations, &projects, &runs);
    // The nightly enqueue would come too late for them.
    runs.retain(RunRow::is_step);
    if !runs.is_empty() {
        jobs.extend(heal(&runs, rules.now, opened.queues_are_empty().await?));
    }
    Ok((jobs, Left::of_today(paused, projects.len(), steps.next(rules.now))))
}

async fn send(opened: &Opened, jobs: &[Planned]) -> Result<Published, CommandError> {
    if jobs.is_empty() {
        return Ok(Published::default());
    }
    publish(&opened.broker.publisher().await?, &opened.ledger, jobs).await
}
