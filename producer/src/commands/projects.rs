//! `projects`: shows which projects are exported or paused, and why. Pauses and resumes them.

use clap::{Args, Subcommand};
use serde::Serialize;
use shared::error_code::ErrorCode;
use shared::integration;
use shared::ledger::{Ledger, Pause};
use shared::settings::Settings;
use sqlx::PgPool;

use crate::config::{self, Server};
use crate::error::CommandError;
use crate::output::{self, Exit, cell, count, line, moment, shorten};
use crate::pauses::{self, A_PERSON, paused};
use crate::servers;

/// What to do with the projects.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show every project that has a PostHog integration or is paused
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArguments),
    /// Stop exporting projects until they are resumed
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(PauseArguments),
    /// Export paused projects again
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(ResumeArguments),
}

const LIST_EXAMPLES: &str = "\
Examples:
  producer projects list
  producer projects list --paused --json

A worker pauses a project after a failure that all its jobs would have: unauthorized,
endpoint_refused, host_not_allowed, key_undecryptable, bad_host. Such a pause ends when the
project's PostHog settings are saved again, or when a person resumes the project. A pause by a
person ends only when a person resumes the project. When the integration was removed, the next
`enqueue` deletes the pause.

No jobs are published for a paused project. Jobs that are already in the queue end as `skipped`; the
first `enqueue` after the pause publishes them again.

JSON: {\"projects\": [{project_id, name, enabled,
paused: null | {error_code, error, paused_by, paused_at}}]}.";

const PAUSE_EXAMPLES: &str = "\
Examples:
  producer projects pause clx1abc --reason 'moves to another PostHog on Monday'

It pauses all of the projects that are named, or none of them. Their jobs in the queue end as
`skipped`; the first `enqueue` after `producer projects resume` publishes them again.

Exit code: 1 when Langfuse has no such project.

JSON: {\"paused\": [project_id]}.";

const RESUME_EXAMPLES: &str = "\
Examples:
  producer projects resume clx1abc
  producer projects resume --error-code endpoint_refused
  producer projects resume --all

The next `producer enqueue` publishes again what was skipped.

Exit code: 1 when a project that is named is not paused.

JSON: {\"resumed\": [project_id]}.";

/// Arguments of `list`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArguments {
    /// Only paused projects
    #[arg(long)]
    pub paused: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `pause`.
#[derive(Args, Clone, Debug)]
pub struct PauseArguments {
    /// These projects (Langfuse's ids)
    #[arg(value_name = "ID", required = true)]
    pub projects: Vec<String>,
    /// Why; `projects list` and the workers' log show it
    #[arg(long, default_value = "by hand")]
    pub reason: String,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `resume`.
#[derive(Args, Clone, Debug, Default)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["projects", "error_code", "all"])))]
pub struct ResumeArguments {
    /// These projects (Langfuse's ids)
    #[arg(value_name = "ID")]
    pub projects: Vec<String>,
    /// Projects that were paused because of this error
    #[arg(long, value_name = "CODE")]
    pub error_code: Option<ErrorCode>,
    /// All paused projects, also those that a person paused
    #[arg(long)]
    pub all: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What the commands read from the environment.
#[derive(Debug)]
pub struct Config {
    source: Server,
    ledger: Server,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            source: config::source(settings),
            ledger: config::ledger(settings),
        }
    }
}

/// Executes the command.
pub async fn execute(command: &Command, config: Config) -> Result<Exit, CommandError> {
    let ledger = servers::ledger(&config.ledger).await?;
    match command {
        Command::List(arguments) => list(arguments, &servers::source(&config.source).await?, &ledger).await?,
        Command::Pause(arguments) => pause(arguments, &servers::source(&config.source).await?, &ledger).await?,
        Command::Resume(arguments) => resume(arguments, &ledger).await?,
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Listed {
    project_id: String,
    name: Option<String>,
    enabled: bool,
    paused: Option<Pause>,
}

async fn list(arguments: &ListArguments, source: &PgPool, ledger: &Ledger) -> Result<(), CommandError> {
    let integrations = integration::list(source, None).await?;
    let mut pauses = paused(ledger, &integrations).await?;
    let mut projects: Vec<Listed> = integrations
        .into_iter()
        .map(|stored| Listed {
            paused: pauses.remove(&stored.project_id),
            project_id: stored.project_id,
            name: Some(stored.project_name),
            enabled: stored.enabled,
        })
        .collect();
    projects.extend(pauses.into_iter().map(|(project_id, pause)| Listed {
        project_id,
        name: None,
        enabled: false,
        paused: Some(pause),
    }));
    projects.retain(|project| !arguments.paused || project.paused.is_some());
    if arguments.json {
        output::json(&serde_json::json!({ "projects": projects }));
    } else if projects.is_empty() {
        line(if arguments.paused {
            "No project is paused."
        } else {
            "No project has a PostHog integration."
        });
    } else {
        let row = |project: &Listed| {
            let pause = project.paused.as_ref();
            [
                project.project_id.clone(),
                cell(project.name.as_ref()),
                if project.enabled { "yes" } else { "no" }.to_owned(),
                cell(pause.map(|pause| moment(pause.paused_at))),
                cell(pause.map(|pause| pause.error_code.as_deref().unwrap_or(A_PERSON))),
                shorten(pause.map_or("-", |pause| &pause.error), 100),
            ]
        };
        let header = ["PROJECT", "NAME", "ENABLED", "PAUSED SINCE", "BECAUSE OF", "WHY"];
        output::table(header, projects.iter().map(row));
    }
    Ok(())
}

async fn pause(arguments: &PauseArguments, source: &PgPool, ledger: &Ledger) -> Result<(), CommandError> {
    let known = pauses::pause(source, ledger, &arguments.projects, &arguments.reason).await?;
    if arguments.json {
        output::json(&serde_json::json!({ "paused": known }));
    } else {
        line(format!(
            "{} paused: {}.",
            count(known.len(), "project"),
            known.join(", ")
        ));
    }
    Ok(())
}

async fn resume(arguments: &ResumeArguments, ledger: &Ledger) -> Result<(), CommandError> {
    let known = ledger.pauses().await?;
    let code = arguments.error_code.map(ErrorCode::as_str);
    let chosen: Vec<String> = if arguments.projects.is_empty() {
        let wanted = |pause: &&Pause| arguments.all || pause.error_code.as_deref() == code;
        known
            .values()
            .filter(wanted)
            .map(|pause| pause.project_id.clone())
            .collect()
    } else {
        arguments.projects.clone()
    };
    let resumed = pauses::resume(ledger, &known, &chosen).await?;
    if arguments.json {
        output::json(&serde_json::json!({ "resumed": resumed }));
    } else if resumed.is_empty() {
        line("No such project is paused.");
    } else {
        line(format!(
            "{} resumed: {}. `producer enqueue` brings back what was skipped.",
            count(resumed.len(), "project"),
            resumed.join(", ")
        ));
    }
    Ok(())
}
