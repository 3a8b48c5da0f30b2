//! `status`: shows how many runs are in each state, and how far behind each project is.

mod days;
mod history;
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
use shared::job::Day;
use shared::ledger::{Arrival, Filter, Ledger, RunRow, State, Summary};
use shared::settings::Settings;
use sqlx::PgPool;

use crate::config::{self, Horizon, Server};
use crate::error::CommandError;
use crate::facts::{self, Effort};
use crate::histories;
use crate::missing::Missing;
use crate::newest::{Newest, newest};
use crate::output::{self, Exit};
use crate::pauses::paused;
use crate::plan::Rules;
use crate::servers;

use days::DayLine;
use history::ClaimLine;
use known::{forget_given_up, refuse_unknown};
use line::Line;
use totals::Totals;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  producer status
  producer status --all
  producer status --project clx1abc
  producer status --project clx1abc --day 2026-06-01
  producer status --state dead --json

First come the totals, then the projects that need attention: those with a dead letter, those that
are paused because of their key or host, those whose long history is held back, and those of which
PostHog does not hold what was exported, as `producer verify` found. Up to 20 projects are all
listed; with more projects, --all lists the others, too.

A day is missing when it is over, holds data and has no completed run. `days_behind` counts the days
of the calendar since the oldest missing one. The counts are runs. `events_sent` counts an event
again for each run that sent it.

NEWEST ROW is the age of a project's newest trace or observation.

With EXPORT_EVERY the totals and each project also say until when today is exported, in UTC. A step
that failed is named until a later one has sent what it did not. With --project the steps of a day
are one line, and the daily run of a day that has settled is `completed, settled`. FAILURES counts
the attempts of a run that failed since it last got on.

With --day come the runs of that day only, and the history of each: which worker had it, from when
to when, how that ended and why, and the trace id that its log lines carry. Of a run with many
claims the first 50 and the latest 50 are kept.

Exit code: 0 when everything could be read, whatever it says; 1 when not, or when nobody knows a
project that was named.

JSON: {now, totals: {projects, need_somebody, behind, paused, up_to_date, disabled, completed,
running, queued, waiting, dead, skipped, discarded, events_sent, rows_rejected, oldest_missing_day,
missing_days, days_without_job, days_held_back, days_not_arrived, today: null | {projects,
exported_until, furthest_behind, with_failed_step}}, newest_row_at, projects: [{project_id, name,
enabled, paused: null | {error_code, error, paused_by, paused_at}, standing: needs_somebody | behind
| paused | up_to_date | disabled, completed, running, queued, waiting, dead, skipped, discarded,
events_sent, rows_rejected, oldest_missing_day, days_behind, missing_days, days_without_job,
days_held_back, days_not_arrived, oldest_not_arrived_day, days_set_aside, days_verified,
days_unknown, newest_row_at, today: null | {exported_until, failed_step: null | {run, state, until,
error_code, error}}}], days: […], runs: […], arrivals: […]}. `projects` has all of them. `arrivals`,
the days of `producer verify --json`, comes only with --project. `days` comes only with --project
and without --state: {project_id, day, standing: settled | exported | on_its_way | dead | given_up |
in_part, steps: null | {completed, on_their_way, discarded, skipped, events_sent, rows_rejected}}.
`runs` comes only with --project or --state: {project_id, day, run, state, attempt, takeovers,
worker, full, created_after, changed, span_from, span_until, events, error_code, error,
first_failed_at, retry_at, lease_expires_at, queued_at, started_at, completed_at, sent, rejected}.
`claims` comes only with --day: {project_id, day, run, number, worker, attempt, claimed_at,
ended_at, ended_as: null | completed | handed_back | waiting | skipped | dead | discarded |
taken_over | lost, error_code, error, trace_id}.";

/// Arguments of `status`.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Only this project, and list its runs; may be repeated
    #[arg(long = "project", value_name = "ID")]
    pub projects: Vec<String>,
    /// Only the runs of this day, with the history of each
    #[arg(long, value_name = "YYYY-MM-DD", requires = "projects")]
    pub day: Option<Day>,
    /// List the runs in this state: completed, running, queued, waiting, dead, skipped, discarded
    #[arg(long)]
    pub state: Option<State>,
    /// List every project, also those that need no attention
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
    /// What is known of each day in PostHog
    #[serde(skip_serializing_if = "Option::is_none")]
    arrivals: Option<Vec<Arrival>>,
    /// With `--day`: the claims of its runs
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Vec<ClaimLine>>,
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
    let mut arrivals = ledger.arrivals(&arguments.projects).await?;
    let (projects, newest) = lines(arguments, &rules, &source, &ledger, &arrivals).await?;
    let runs = if arguments.projects.is_empty() && arguments.state.is_none() {
        None
    } else {
        let filter = Filter {
            projects: arguments.projects.clone(),
            state: arguments.state,
            from: arguments.day,
            to: arguments.day,
        };
        Some(ledger.list(&filter).await?)
    };
    arrivals.retain(|arrival| arguments.day.is_none_or(|day| arrival.day == day));
    let whole_days = runs.as_ref().filter(|_| arguments.state.is_none());
    let report = Report {
        now: rules.now,
        totals: Totals::of(&projects),
        newest_row_at: newest.of_all,
        projects,
        days: whole_days.map(|runs| days::days(runs)),
        runs,
        arrivals: (!arguments.projects.is_empty()).then_some(arrivals),
        claims: history::read(&ledger, &arguments.projects, arguments.day).await?,
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
    arrivals: &[Arrival],
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
        .map(|project| {
            let missing = Missing::of(&project.runs, &project.days_with_data, rules.newest_over());
            (project.id.clone(), missing)
        })
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
    let mut arrived: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        arrived.entry(&arrival.project_id).or_default().push(arrival);
    }
    let lines = summaries.into_iter().map(|(id, summary)| {
        let of_project = arrived.remove(id.as_str()).unwrap_or_default();
        let missing = missing.remove(&id).unwrap_or_default();
        Line {
            paused: pauses.remove(&id),
            newest_row_at: newest.by_project.get(&id).copied(),
            today: of_today.remove(&id),
            days_held_back: held_back.get(&id).copied().unwrap_or(0),
            ..Line::new(rules, &missing, &id, named.get(id.as_str()).copied(), &summary)
        }
        .arrived(&of_project)
        .judged()
    });
    let lines = lines.collect();
    Ok((lines, newest))
}
