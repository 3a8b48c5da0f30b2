//! `status`: shows how many runs are in each state, and how far behind each project is.

mod days;
mod known;
mod line;
mod runs;
mod say;
mod today;
mod totals;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use shared::integration::{self, StoredIntegration};
use shared::ledger::{Filter, Ledger, RunRow, State, Summary};
use shared::settings::Settings;
use sqlx::PgPool;

use crate::config::{self, Horizon, Server};
use crate::error::CommandError;
use crate::facts::{self, Effort};
use crate::histories;
use crate::newest::{Newest, newest};
use crate::output::{self, Exit};
use crate::pauses::paused;
use crate::plan::Rules;
use crate::servers;

use days::DayLine;
use known::{forget_given_up, refuse_unknown};
use line::{Line, Missing};
use totals::Totals;

/// Arguments of `status`.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Only this project, and list its runs; may be repeated
    #[arg(long = "project", value_name = "ID")]
    pub projects: Vec<String>,
    /// List the runs in this state: completed, running, queued, waiting, dead, skipped, discarded
    #[arg(long)]
    pub state: Option<State>,
    /// List every project, also those that need nobody
    #[arg(long)]
    pub all: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `status` reads from the environment.
#[derive(Debug)]
pub struct Config {
    source: Server,
    ledger: Server,
    horizon: Horizon,
    observations: bool,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            horizon: config::horizon(settings),
            observations: config::observations(settings),
        }
    }
}

#[derive(Serialize)]
struct Report {
    now: DateTime<Utc>,
    totals: Totals,
    /// The newest row of any project that is shown, or the newest score of any project
    newest_row_at: Option<DateTime<Utc>>,
    projects: Vec<Line>,
    /// With `--project`, and without `--state`: what became of each day
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<Vec<DayLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<RunRow>>,
    #[serde(skip)]
    newest: Newest,
}

/// Executes the command.
pub async fn execute(arguments: &Arguments, config: Config) -> Result<Exit, CommandError> {
    let source = servers::source(&config.source).await?;
    let ledger = servers::ledger(&config.ledger).await?;
    let rules = Rules {
        now: ledger.now().await?,
        horizon: config.horizon,
        from: None,
        to: None,
        observations: config.observations,
    };
    let (projects, newest) = lines(arguments, &rules, &source, &ledger).await?;
    let runs = if arguments.projects.is_empty() && arguments.state.is_none() {
        None
    } else {
        let filter = Filter {
            projects: arguments.projects.clone(),
            state: arguments.state,
            ..Filter::default()
        };
        Some(ledger.list(&filter).await?)
    };
    let whole_days = runs.as_ref().filter(|_| arguments.state.is_none());
    let report = Report {
        now: rules.now,
        totals: Totals::of(&projects),
        newest_row_at: newest.of_all,
        projects,
        days: whole_days.map(|runs| days::days(runs)),
        runs,
        newest,
    };
    if arguments.json {
        output::json(&report);
    } else {
        say::say(&report, arguments.all || !arguments.projects.is_empty());
    }
    Ok(Exit::Done)
}

async fn lines(
    arguments: &Arguments,
    rules: &Rules,
    source: &PgPool,
    ledger: &Ledger,
) -> Result<(Vec<Line>, Newest), CommandError> {
    let wanted = |id: &String| arguments.projects.is_empty() || arguments.projects.contains(id);
    let mut integrations = integration::list(source, None).await?;
    integrations.retain(|found| wanted(&found.project_id));
    let enabled: Vec<String> = integrations
        .iter()
        .filter(|found| found.enabled)
        .map(|found| found.project_id.clone())
        .collect();
    let mut projects = facts::projects(source, Some(ledger), rules, &enabled, Effort::Bounded).await?;
    let mut missing: BTreeMap<String, Missing> = projects
        .iter()
        .map(|project| (project.id.clone(), Missing::of(project, rules)))
        .collect();
    let mut pauses = paused(ledger, &integrations).await?;
    projects.retain(|project| !pauses.contains_key(&project.id));
    let held_back: BTreeMap<String, usize> = histories::held_back(source, rules, &projects)
        .await?
        .into_iter()
        .map(|export| (export.project_id, export.days.len()))
        .collect();
    let mut summaries: BTreeMap<String, Summary> = ledger
        .summaries(&arguments.projects)
        .await?
        .into_iter()
        .map(|summary| (summary.project_id.clone(), summary))
        .collect();
    refuse_unknown(&arguments.projects, source, &integrations, &summaries).await?;
    for found in &integrations {
        summaries.entry(found.project_id.clone()).or_default();
    }
    forget_given_up(source, &mut summaries).await?;
    let shown: Vec<String> = summaries.keys().cloned().collect();
    let newest = newest(source, &shown, rules.now).await?;
    let mut of_today = today::read(ledger, rules.now).await?;
    let named: BTreeMap<&str, &StoredIntegration> = integrations
        .iter()
        .map(|found| (found.project_id.as_str(), found))
        .collect();
    let lines = summaries.into_iter().map(|(id, summary)| {
        let missing = missing.remove(&id).unwrap_or_default();
        Line {
            paused: pauses.remove(&id),
            newest_row_at: newest.by_project.get(&id).copied(),
            today: of_today.remove(&id),
            days_held_back: held_back.get(&id).copied().unwrap_or(0),
            ..Line::new(rules, &missing, &id, named.get(id.as_str()).copied(), &summary)
        }
        .judged()
    });
    let lines = lines.collect();
    Ok((lines, newest))
}
