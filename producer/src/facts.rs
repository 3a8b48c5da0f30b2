//! Reads what the plan is made of, from Langfuse's database and the ledger.

pub(crate) mod counts;
mod days;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use shared::integration::IntegrationFault;
use shared::job::Day;
use shared::langfuse::{Days, created_between, created_from, known_projects, visible_until};
use shared::ledger::{Filter, Ledger, RunRow, Sweep};
use sqlx::PgPool;

use crate::error::CommandError;
use crate::output::progress;
use crate::plan::{Arrived, Project, Rules, missing_days, sweep_from};
use days::Asked;

/// Refuses a project that Langfuse's database does not have.
pub(crate) async fn check_project(source: &PgPool, id: &str) -> Result<(), CommandError> {
    if known_projects(source, &[id.to_owned()]).await?.is_empty() {
        let unknown = IntegrationFault::UnknownProject(id.to_owned());
        return Err(CommandError::refused(unknown.to_string()));
    }
    Ok(())
}

/// How much may be read to find days that hold nothing but scores, where other projects have many
/// scores on the same days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Every day is found.
    Whole,
    /// Only what arrived since the last whole enqueue is read. A project with many scores that no
    /// enqueue has looked at may have more such days.
    Bounded,
    /// Such days are not looked for.
    Least,
}

/// Reads each enabled project: its runs, and which of its missing days hold data. Without a ledger
/// every day is missing.
pub(crate) async fn projects(
    source: &PgPool,
    ledger: Option<&Ledger>,
    rules: &Rules,
    enabled: &[String],
    effort: Effort,
) -> Result<Vec<Project>, CommandError> {
    let mut all_runs = Vec::with_capacity(enabled.len());
    let mut asked = Vec::with_capacity(enabled.len());
    let mut sweeps = match ledger {
        Some(ledger) => ledger.sweeps().await?,
        None => BTreeMap::new(),
    };
    let bar = progress("looking for days to export", enabled.len());
    for id in enabled {
        let runs = match ledger {
            Some(ledger) => {
                let all_days = Filter {
                    projects: vec![id.clone()],
                    ..Filter::default()
                };
                ledger.list(&all_days).await?
            }
            None => Vec::new(),
        };
        let of_traces = Asked::of_traces(source, id, missing_days(&runs, rules.window()), rules.observations).await?;
        let sweep = sweeps.remove(id);
        asked.push(of_traces.after(sweep, &runs, effort, rules.now));
        all_runs.push(runs);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if effort != Effort::Least {
        days::of_scores(source, &mut asked, rules.now).await?;
    }
    let project = |(asked, runs): (Asked, Vec<RunRow>)| Project {
        id: asked.project_id,
        runs,
        days_with_data: asked.found,
    };
    Ok(asked.into_iter().zip(all_runs).map(project).collect())
}

/// The days of a range that hold data of a project, with or without other observations.
pub(crate) async fn days_with_data(
    source: &PgPool,
    project: &str,
    range: Days,
    observations: bool,
    now: DateTime<Utc>,
) -> Result<BTreeSet<Day>, CommandError> {
    let mut asked = [Asked::of_traces(source, project, vec![range], observations).await?];
    days::of_scores(source, &mut asked, now).await?;
    let [asked] = asked;
    Ok(asked.found)
}

/// Every row created before this moment is visible to statements that begin now.
pub(crate) async fn sweep_until(source: &PgPool, rules: &Rules) -> Result<DateTime<Utc>, CommandError> {
    Ok(visible_until(source).await?.min(rules.now))
}

/// Which days rows arrived for. Looks only at rows that were created since the projects were last
/// swept.
pub(crate) async fn late(
    source: &PgPool,
    swept: &BTreeMap<String, Sweep>,
    rules: &Rules,
    projects: &[Project],
) -> Result<Arrived, CommandError> {
    let from = |project: &Project| {
        sweep_from(
            &project.runs,
            swept.get(&project.id).map(|sweep| sweep.until),
            rules.observations,
        )
    };
    let exported: Vec<(String, DateTime<Utc>)> = projects
        .iter()
        .filter_map(|project| Some((project.id.clone(), from(project)?)))
        .collect();
    let mut arrived = Arrived::default();
    let Some(mut since) = exported.iter().map(|(_, since)| *since).min() else {
        return Ok(arrived);
    };
    let ids: Vec<String> = exported.into_iter().map(|(id, _)| id).collect();
    // One statement for each day of creation, so that each ends within its time limit.
    let steps = usize::try_from((rules.now - since).num_days()).unwrap_or(0) + 2;
    let bar = progress("looking for late rows", steps);
    while since < rules.now {
        let step = since.checked_add_signed(TimeDelta::days(1));
        let until = step.map_or(rules.now, |step| step.min(rules.now));
        arrived.add(created_between(source, &ids, since, until, rules.observations).await?);
        bar.inc(1);
        since = until;
    }
    arrived.ahead = created_from(source, &ids, rules.now, rules.observations).await?;
    bar.finish_and_clear();
    Ok(arrived)
}
