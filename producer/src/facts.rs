//! Reads what the plan is made of, from Langfuse's database and the ledger.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use shared::integration::IntegrationFault;
use shared::job::Day;
use shared::langfuse::{
    Newest, created_between, data_range, days_with_traces, known_projects, projects_with_scores, visible_until,
};
use shared::ledger::{Filter, Ledger};
use sqlx::PgPool;

use crate::error::CommandError;
use crate::output::progress;
use crate::plan::{Project, Rules, missing_days, sweep_from};

/// How many days one statement looks at, so that it ends within its time limit.
const DAYS_AT_ONCE: usize = 200;

/// Refuses a project that Langfuse's database does not have.
pub(crate) async fn check_project(source: &PgPool, id: &str) -> Result<(), CommandError> {
    if known_projects(source, &[id.to_owned()]).await?.is_empty() {
        let unknown = IntegrationFault::UnknownProject(id.to_owned());
        return Err(CommandError::refused(unknown.to_string()));
    }
    Ok(())
}

/// Reads each enabled project: its runs, and which of its missing days hold data. Without a ledger
/// every day is missing.
pub(crate) async fn projects(
    source: &PgPool,
    ledger: Option<&Ledger>,
    rules: &Rules,
    enabled: &[String],
) -> Result<Vec<Project>, CommandError> {
    let mut projects = Vec::with_capacity(enabled.len());
    // Days without a trace or a generation, and the projects whose days they are.
    let mut without_traces: BTreeMap<Day, Vec<String>> = BTreeMap::new();
    let bar = progress("looking for days to export", enabled.len());
    for id in enabled {
        let mut project = Project {
            id: id.clone(),
            ..Project::default()
        };
        if let Some(ledger) = ledger {
            let all_days = Filter {
                projects: vec![id.clone()],
                ..Filter::default()
            };
            project.runs = ledger.list(&all_days).await?;
        }
        if let Some((first, last)) = data_range(source, id).await? {
            let (from, to) = rules.window(first);
            let missing = missing_days(&project.runs, (from, to.min(last)));
            for days in missing.chunks(DAYS_AT_ONCE) {
                project.days_with_data.extend(days_with_traces(source, id, days).await?);
            }
            for day in missing {
                if !project.days_with_data.contains(&day) {
                    without_traces.entry(day).or_default().push(id.clone());
                }
            }
        }
        projects.push(project);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bar = progress("looking for scores", without_traces.len());
    for (day, asking) in without_traces {
        let scored: BTreeSet<String> = projects_with_scores(source, day, &asking).await?.into_iter().collect();
        for project in projects.iter_mut().filter(|project| scored.contains(&project.id)) {
            project.days_with_data.insert(day);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(projects)
}

/// Every row created before this moment is visible to statements that begin now.
pub(crate) async fn sweep_until(source: &PgPool, rules: &Rules) -> Result<DateTime<Utc>, CommandError> {
    Ok(visible_until(source).await?.min(rules.now))
}

/// When the newest row of each day was created. Looks only at rows that were created since the
/// projects were last swept.
pub(crate) async fn late(
    source: &PgPool,
    ledger: &Ledger,
    rules: &Rules,
    projects: &[Project],
) -> Result<Newest, CommandError> {
    let swept = ledger.sweeps().await?;
    let from = |project: &Project| sweep_from(&project.runs, swept.get(&project.id).copied());
    let exported: Vec<(String, DateTime<Utc>)> = projects
        .iter()
        .filter_map(|project| Some((project.id.clone(), from(project)?)))
        .collect();
    let mut newest = Newest::new();
    let Some(mut since) = exported.iter().map(|(_, since)| *since).min() else {
        return Ok(newest);
    };
    let ids: Vec<String> = exported.into_iter().map(|(id, _)| id).collect();
    // One statement for each day of creation, so that each ends within its time limit. The last one
    // reaches into the future, for rows from clocks that are ahead of ours.
    let step = TimeDelta::days(1);
    let steps = usize::try_from((rules.now - since).num_days()).unwrap_or(0) + 1;
    let bar = progress("looking for late rows", steps);
    loop {
        let last = since + step >= rules.now;
        let until = if last { rules.now + step } else { since + step };
        for (day, created_at) in created_between(source, &ids, since, until).await? {
            newest
                .entry(day)
                .and_modify(|known| *known = created_at.max(*known))
                .or_insert(created_at);
        }
        bar.inc(1);
        if last {
            bar.finish_and_clear();
            return Ok(newest);
        }
        since = until;
    }
}
