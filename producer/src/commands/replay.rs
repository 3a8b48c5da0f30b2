//! `replay`: exports days again. Publishes a job with a new run for each day that holds data.

use clap::Args;
use serde::Serialize;
use shared::job::Stream;
use shared::ledger::Ledger;
use shared::message::Message;
use shared::settings::Settings;
use shared::topology::Lane;
use sqlx::PgPool;

use crate::config::{self, Server};
use crate::day_range::DayRange;
use crate::error::CommandError;
use crate::output::{self, Exit, agree, count, line};
use crate::plan::Planned;
use crate::publish::Published;
use crate::replays::{self, Hindrance};
use crate::report::{Failure, say_failed};
use crate::servers;

/// Arguments of `replay`.
#[derive(Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("days").required(true).args(["day", "from"])))]
pub struct Arguments {
    /// The project (Langfuse's id)
    #[arg(long, value_name = "ID")]
    pub project: String,
    /// Which days
    #[command(flatten)]
    pub days: DayRange,
    /// Only these kinds of events: trace, generation, score, observation [default: those of EVENTS]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub events: Vec<Stream>,
    /// Show what would be published, and publish nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `replay` reads from the environment.
#[derive(Debug)]
pub struct Config {
    source: Server,
    ledger: Server,
    broker: Server,
    observations: bool,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
            broker: config::broker(settings),
            observations: config::observations(settings),
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    confirmed: usize,
    jobs: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    message: Message,
    confirmed: bool,
    error: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(planned: &Planned, failed: &'a [Failure], dry_run: bool) -> Self {
        let id = planned.key().to_string();
        let failure = failed.iter().find(|failure| failure.id == id);
        Self {
            message: Message::from(&planned.job),
            confirmed: failure.is_none() && !dry_run,
            error: failure.map(|failure| failure.error.as_str()),
            id,
        }
    }
}

/// Executes the command.
pub async fn execute(arguments: &Arguments, config: Config) -> Result<Exit, CommandError> {
    let source = servers::source(&config.source).await?;
    let ledger = servers::ledger(&config.ledger).await?;
    warn(
        &arguments.project,
        &replays::hindrance(&source, &ledger, &arguments.project).await?,
    );
    let jobs = plan(arguments, config.observations, &source, &ledger).await?;
    let published = if arguments.dry_run || jobs.is_empty() {
        Published::default()
    } else {
        if !arguments.json {
            line(format!(
                "Publishing {} to {}.",
                count(jobs.len(), "job"),
                Lane::Jobs.queue()
            ));
        }
        replays::send(&config.broker, &ledger, &jobs).await?
    };
    say(arguments, &jobs, &published);
    say_failed(&published.failed, "not confirmed by the broker, and not recorded");
    Ok(Exit::of(published.failed.is_empty()))
}

/// Only warns when the jobs would not be exported now: a person can mend that before a worker takes
/// them.
fn warn(project: &str, hindrance: &Hindrance) {
    if let Some(pause) = &hindrance.pause {
        tracing::warn!(
            project,
            error = pause.error,
            "the project is paused: its jobs will be skipped until `producer projects resume`"
        );
    }
    match hindrance.enabled {
        None => tracing::warn!(
            project,
            "the project has no PostHog integration: its jobs will end as dead letters; `producer integrations set` writes one"
        ),
        Some(false) => {
            tracing::warn!(
                project,
                "the project's PostHog integration is disabled: its jobs will be skipped"
            );
        }
        Some(true) => {}
    }
}

async fn plan(
    arguments: &Arguments,
    observations: bool,
    source: &PgPool,
    ledger: &Ledger,
) -> Result<Vec<Planned>, CommandError> {
    let scope = replays::scope(&arguments.events, observations);
    let (from, to) = arguments.days.bounds()?;
    let Some(from) = from else {
        return Err(CommandError::argument(
            "say which days to replay: --day, or --from and --to",
        ));
    };
    let to = to.unwrap_or(from);
    let now = ledger.now().await?;
    replays::must_be_over(to, now)?;
    let (days, empty) = replays::days(source, &arguments.project, (from, to), &scope, now).await?;
    if empty > 0 {
        tracing::info!("{}", without_data(empty));
    }
    Ok(replays::jobs(&arguments.project, days, &scope))
}

/// PURE.
fn without_data(days: usize) -> String {
    let (holds, needs) = (agree(days, "holds", "hold"), agree(days, "needs", "need"));
    format!("{} of the range {holds} no data and {needs} no job", count(days, "day"))
}

fn say(arguments: &Arguments, jobs: &[Planned], published: &Published) {
    let lines = jobs
        .iter()
        .map(|planned| Line::of(planned, &published.failed, arguments.dry_run));
    let lines: Vec<Line<'_>> = lines.collect();
    if arguments.json {
        output::json(&Report {
            dry_run: arguments.dry_run,
            confirmed: published.confirmed,
            jobs: lines,
        });
        return;
    }
    if lines.is_empty() {
        line("Nothing to replay: no day of the range holds data.");
    }
    for Line { id, error, .. } in lines {
        let ended = match error {
            _ if arguments.dry_run => "would be published",
            Some(_) => "NOT confirmed",
            None => "published",
        };
        line(format!("{id}  {ended}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_day_holds_and_two_days_hold() {
        assert_eq!(without_data(1), "1 day of the range holds no data and needs no job");
        assert_eq!(without_data(2), "2 days of the range hold no data and need no job");
    }
}
