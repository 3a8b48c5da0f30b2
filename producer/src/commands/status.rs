//! `status`: shows how many runs are in each state, and how far behind each project is.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use shared::integration::{self, StoredIntegration};
use shared::job::{DAILY, Day};
use shared::langfuse::known_projects;
use shared::ledger::{Filter, HUMAN, Pause, RunRow, State, Summary};
use shared::settings::Settings;
use sqlx::PgPool;

use crate::config::{self, Horizon, Server};
use crate::error::CommandError;
use crate::facts;
use crate::output::{self, Exit, cell, count, line, moment, shorten};
use crate::pauses::paused;
use crate::plan::{Project, Rules};
use crate::servers;

/// Arguments of `status`.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Only this project, and list its runs; may be repeated
    #[arg(long = "project", value_name = "ID")]
    pub projects: Vec<String>,
    /// List the runs in this state: completed, running, queued, waiting, dead, skipped, discarded
    #[arg(long)]
    pub state: Option<State>,
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
    projects: Vec<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<RunRow>>,
}

/// One project. The names in its JSON are stable.
#[derive(Serialize)]
struct Line {
    project_id: String,
    name: Option<String>,
    enabled: bool,
    paused: Option<Pause>,
    completed: i64,
    running: i64,
    queued: i64,
    waiting: i64,
    dead: i64,
    skipped: i64,
    discarded: i64,
    events_sent: i64,
    rows_rejected: i64,
    oldest_missing_day: Option<Day>,
    days_behind: i64,
    /// How many days are missing
    missing_days: usize,
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
    let wanted = |id: &String| arguments.projects.is_empty() || arguments.projects.contains(id);
    let mut integrations = integration::list(&source, None).await?;
    integrations.retain(|found| wanted(&found.project_id));
    let enabled: Vec<String> = integrations
        .iter()
        .filter(|found| found.enabled)
        .map(|found| found.project_id.clone())
        .collect();
    let projects = facts::projects(&source, Some(&ledger), &rules, &enabled).await?;
    let mut missing: BTreeMap<&str, BTreeSet<Day>> = projects
        .iter()
        .map(|project| (project.id.as_str(), missing(project, &rules)))
        .collect();

    let mut summaries: BTreeMap<String, Summary> = ledger
        .summaries(&arguments.projects)
        .await?
        .into_iter()
        .map(|summary| (summary.project_id.clone(), summary))
        .collect();
    refuse_unknown(arguments, &source, &integrations, &summaries).await?;
    for found in &integrations {
        summaries.entry(found.project_id.clone()).or_default();
    }
    forget_given_up(&source, &mut summaries).await?;
    let mut pauses = paused(&ledger, &integrations).await?;
    let named = |id: &str| integrations.iter().find(|found| found.project_id == id);
    let lines = summaries.into_iter().map(|(id, summary)| {
        let integration = named(&id);
        let name = integration.map(|found| found.project_name.clone());
        let enabled = integration.is_some_and(|found| found.enabled);
        let missing = missing.remove(id.as_str()).unwrap_or_default();
        let line = Line::new(&rules, &missing, &id, name, enabled, &summary);
        Line {
            paused: pauses.remove(&id),
            ..line
        }
    });
    let lines: Vec<Line> = lines.collect();

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
    let report = Report {
        now: rules.now,
        projects: lines,
        runs,
    };
    if arguments.json {
        output::json(&report);
    } else {
        say(&report);
    }
    Ok(Exit::Done)
}

/// Leaves out the projects that Langfuse does not have, once a human has discarded all their runs.
async fn forget_given_up(source: &PgPool, summaries: &mut BTreeMap<String, Summary>) -> Result<(), CommandError> {
    let given_up: Vec<String> = summaries
        .values()
        .filter(|summary| is_given_up(summary))
        .map(|summary| summary.project_id.clone())
        .collect();
    let known = known_projects(source, &given_up).await?;
    summaries.retain(|id, _| !given_up.contains(id) || known.contains(id));
    Ok(())
}

/// Whether there are runs, and every one is discarded. PURE.
fn is_given_up(summary: &Summary) -> bool {
    let others = [
        summary.completed,
        summary.running,
        summary.queued,
        summary.waiting,
        summary.dead,
        summary.skipped,
    ];
    summary.discarded > 0 && others.iter().all(|runs| *runs == 0)
}

/// Refuses a project that neither Langfuse's database nor the ledger has.
async fn refuse_unknown(
    arguments: &Arguments,
    source: &PgPool,
    integrations: &[StoredIntegration],
    summaries: &BTreeMap<String, Summary>,
) -> Result<(), CommandError> {
    let strange =
        |id: &&String| !summaries.contains_key(*id) && !integrations.iter().any(|found| found.project_id == **id);
    let strange: Vec<String> = arguments.projects.iter().filter(strange).cloned().collect();
    if strange.is_empty() {
        return Ok(());
    }
    let known = known_projects(source, &strange).await?;
    CommandError::refuse_unknown(
        &strange,
        |id| known.iter().any(|found| found == id),
        |unknown| format!("neither Langfuse's database nor the ledger has a project {unknown}"),
    )
}

/// The days that are over, hold data and have no completed full run. A day that was given up does
/// not count. PURE.
fn missing(project: &Project, rules: &Rules) -> BTreeSet<Day> {
    let full = || project.runs.iter().filter(|run| run.full);
    let given_up = |run: &RunRow| run.state == State::Discarded && run.run == DAILY;
    let satisfied: BTreeSet<Day> = full()
        .filter(|run| run.state == State::Completed || given_up(run))
        .map(|run| run.day)
        .collect();
    let open = full().filter(|run| run.state != State::Discarded).map(|run| run.day);
    let last = rules.newest_over();
    let days = project.days_with_data.iter().copied().chain(open);
    days.filter(|day| *day <= last && !satisfied.contains(day)).collect()
}

impl Line {
    fn new(
        rules: &Rules,
        missing: &BTreeSet<Day>,
        id: &str,
        name: Option<String>,
        enabled: bool,
        summary: &Summary,
    ) -> Self {
        let oldest_missing_day = missing.first().copied();
        Self {
            project_id: id.to_owned(),
            name,
            enabled,
            paused: None,
            completed: summary.completed,
            running: summary.running,
            queued: summary.queued,
            waiting: summary.waiting,
            dead: summary.dead,
            skipped: summary.skipped,
            discarded: summary.discarded,
            events_sent: summary.sent,
            rows_rejected: summary.rejected,
            days_behind: oldest_missing_day.map_or(0, |day| (rules.newest_over().0 - day.0).num_days() + 1),
            oldest_missing_day,
            missing_days: missing.len(),
        }
    }

    /// How many days are missing, and the oldest.
    fn lag(&self) -> String {
        match self.oldest_missing_day {
            None => "up to date".to_owned(),
            Some(day) if self.missing_days == 1 => format!("1 day missing: {day}"),
            Some(day) => format!("{} missing, oldest {day}", count(self.missing_days, "day")),
        }
    }

    fn row(&self) -> [String; 11] {
        let pause = self.paused.as_ref();
        let behind = match pause {
            _ if !self.enabled => "disabled".to_owned(),
            Some(pause) => {
                let cause = pause.error_code.as_deref().unwrap_or(HUMAN);
                format!("PAUSED ({cause}), {}", self.lag())
            }
            None => self.lag(),
        };
        [
            self.project_id.clone(),
            cell(self.name.as_ref()),
            self.completed.to_string(),
            self.running.to_string(),
            self.queued.to_string(),
            self.waiting.to_string(),
            self.dead.to_string(),
            self.skipped.to_string(),
            self.events_sent.to_string(),
            self.rows_rejected.to_string(),
            behind,
        ]
    }
}

fn say(report: &Report) {
    if report.projects.is_empty() {
        line("No project has a PostHog integration or a run in the ledger.");
        return;
    }
    let header = [
        "PROJECT",
        "NAME",
        "COMPLETED",
        "RUNNING",
        "QUEUED",
        "WAITING",
        "DEAD",
        "SKIPPED",
        "EVENTS",
        "REJECTED",
        "LAG",
    ];
    output::table(header, report.projects.iter().map(Line::row));
    let Some(runs) = &report.runs else { return };
    line("");
    if runs.is_empty() {
        line("No runs.");
        return;
    }
    let header = [
        "DAY", "RUN", "STATE", "ATTEMPT", "EVENTS", "REJECTED", "SINCE", "CAUSE", "ERROR",
    ];
    let row = |run: &RunRow| {
        let since = match run.state {
            State::Completed => run.completed_at,
            State::Running => run.started_at,
            State::Waiting => run.retry_at,
            State::Queued | State::Skipped | State::Discarded => Some(run.queued_at),
            State::Dead => run.first_failed_at,
        };
        [
            format!("{}/{}", run.project_id, run.day),
            run.run.clone(),
            run.state.to_string(),
            run.attempt.to_string(),
            run.counts.sent.to_string(),
            run.counts.rejected.to_string(),
            cell(since.map(moment)),
            cell(run.error_code.as_ref()),
            shorten(run.error.as_deref().unwrap_or("-"), 80),
        ]
    };
    output::table(header, runs.iter().map(row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_days_that_are_missing_and_not_the_calendar_between() {
        let rules = Rules {
            now: "2026-06-10T12:00:00Z".parse().unwrap(),
            horizon: Horizon {
                lag: std::time::Duration::ZERO,
                backfill_days: None,
            },
            from: None,
            to: None,
            observations: false,
        };
        let lag = |days: &[&str]| {
            let project = Project {
                days_with_data: days.iter().map(|day| day.parse().unwrap()).collect(),
                ..Project::default()
            };
            let days = missing(&project, &rules);
            let line = Line::new(&rules, &days, "p", None, true, &Summary::default());
            (line.lag(), line.days_behind)
        };
        assert_eq!(lag(&["2023-11-18"]), ("1 day missing: 2023-11-18".to_owned(), 935));
        let two = ("2 days missing, oldest 2026-06-01".to_owned(), 9);
        assert_eq!(lag(&["2026-06-08", "2026-06-01"]), two);
        assert_eq!(lag(&[]), ("up to date".to_owned(), 0));
    }
}
