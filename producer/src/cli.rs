//! The command line: the table of what can be typed. Each command has a module of its own.

mod help;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use shared::settings::{BadSettings, Settings};
use shared::telemetry;

use crate::commands::{
    console, dashboards, dead_letters, declare, doctor, enqueue, integrations, migrate, projects, replay, schedule,
    status, verify,
};
use crate::config;
use crate::error::CommandError;
use crate::output::{self, Exit};

/// Plans and publishes the jobs that export Langfuse to PostHog; shows and mends what went wrong
#[derive(Parser, Debug)]
#[command(name = "producer", version = shared::version::VERSION, after_help = help::PRODUCER, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create or update the ledger's schema `posthog_export`
    #[command(after_help = help::MIGRATE)]
    Migrate(migrate::Arguments),
    /// Declare the broker's exchanges and queues
    #[command(after_help = help::DECLARE)]
    Declare,
    /// Publish a job for every day that is over, holds data and is not in the ledger
    #[command(after_help = help::ENQUEUE)]
    Enqueue(enqueue::Arguments),
    /// Keep running, and enqueue once a day; use it instead of a cron job
    #[command(after_help = help::SCHEDULE)]
    Schedule(schedule::Arguments),
    /// Export days again, each as a new run
    #[command(after_help = help::REPLAY)]
    Replay(replay::Arguments),
    /// Show how many runs are in each state, and which days of each project are missing
    #[command(after_help = status::EXAMPLES)]
    Status(status::Arguments),
    /// Ask PostHog whether it holds what was exported, and send again what it misses
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Arguments),
    /// Make the dashboard "AI metrics" in PostHog; update, show or delete it
    #[command(after_help = help::DASHBOARDS)]
    Dashboards(Dashboards),
    /// Show the export in a browser
    #[command(after_help = console::EXAMPLES)]
    Console(console::Arguments),
    /// Show dead letters, put them back into the queue, or give them up
    #[command(after_help = help::DEAD_LETTERS)]
    DeadLetters(DeadLetters),
    /// Check everything that a deployment needs, and say what to do
    #[command(after_help = help::DOCTOR)]
    Doctor(doctor::Arguments),
    /// Show which projects are exported or paused; pause and resume them
    #[command(after_help = help::PROJECTS)]
    Projects(Projects),
    /// Show, change or check the projects' PostHog settings
    #[command(after_help = help::INTEGRATIONS)]
    Integrations(Integrations),
}

#[derive(Args, Debug)]
struct Dashboards {
    #[command(subcommand)]
    command: dashboards::Command,
}

#[derive(Args, Debug)]
struct DeadLetters {
    #[command(subcommand)]
    command: dead_letters::Command,
}

#[derive(Args, Debug)]
struct Projects {
    #[command(subcommand)]
    command: projects::Command,
}

#[derive(Args, Debug)]
struct Integrations {
    #[command(subcommand)]
    command: integrations::Command,
}

/// Does what was typed. Says on standard error what went wrong.
pub async fn execute(cli: Cli) -> ExitCode {
    match dispatch(cli.command).await {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failed) => ExitCode::from(1),
        Err(error) => {
            // Not a log line: there is no log before the settings are read.
            // An error of a command has its cause in its text.
            output::end(&error.to_string());
            let of_command = error.downcast_ref::<CommandError>();
            let bad_input = error.is::<BadSettings>() || of_command.is_some_and(CommandError::is_bad_input);
            ExitCode::from(if bad_input { 2 } else { 1 })
        }
    }
}

async fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Migrate(arguments) => Ok(migrate::execute(&arguments, read(migrate::Config::read)?).await?),
        Command::Declare => Ok(declare::execute(read(declare::Config::read)?).await?),
        Command::Enqueue(arguments) => Ok(enqueue::execute(&arguments, &read(enqueue::Config::read)?).await?),
        Command::Schedule(arguments) => {
            let both = |settings: &mut Settings| {
                let enqueue = enqueue::Config::read(settings);
                (enqueue, settings.apart(verify::Config::read_where_wanted))
            };
            let (enqueue, verify) = read(both)?;
            let verify = verify.unwrap_or_else(|BadSettings(faults)| {
                let faults = faults.join("; ");
                tracing::error!(
                    faults,
                    "what arrives in PostHog is not verified until this is mended: see doctor"
                );
                None
            });
            Ok(schedule(&arguments, enqueue, verify).await?)
        }
        Command::Replay(arguments) => Ok(replay::execute(&arguments, read(replay::Config::read)?).await?),
        Command::Status(arguments) => Ok(status::execute(&arguments, read(status::Config::read)?).await?),
        Command::Verify(arguments) => {
            let config = read(|settings| verify::Config::read(arguments.repair, settings))?;
            Ok(verify::execute(&arguments, &config).await?)
        }
        Command::Dashboards(Dashboards { command }) => {
            Ok(dashboards::execute(&command, &read(dashboards::Config::read)?).await?)
        }
        Command::Console(arguments) => {
            let config = read(|settings| console::Config::read(arguments.allow_actions, settings))?;
            Ok(console::execute(arguments, config).await?)
        }
        Command::DeadLetters(DeadLetters { command }) => {
            Ok(dead_letters::execute(&command, read(dead_letters::Config::read)?).await?)
        }
        Command::Doctor(arguments) => Ok(doctor::execute(&arguments, read(doctor::Config::read)?).await?),
        Command::Projects(Projects { command }) => {
            Ok(projects::execute(&command, read(projects::Config::read)?).await?)
        }
        Command::Integrations(Integrations { command }) => Ok(match command {
            integrations::Command::List(arguments) => {
                integrations::list(&arguments, read(integrations::Config::read)?).await?
            }
            integrations::Command::Set(arguments) => {
                integrations::set(
                    &arguments,
                    read(|settings| integrations::SetConfig::read(&arguments, settings))?,
                )
                .await?
            }
            integrations::Command::Check(arguments) => {
                integrations::check(&arguments, read(integrations::Config::read)?).await?
            }
        }),
    }
}

/// How long `schedule` verifies in an hour; it begins with no day after that.
const VERIFYING: Duration = Duration::from_secs(30 * 60);

/// Commands do not import each other, so `schedule` is given `enqueue` and `verify` here.
async fn schedule(
    arguments: &schedule::Arguments,
    config: enqueue::Config,
    verifying: Option<verify::Config>,
) -> Result<Exit, CommandError> {
    let verifying = Arc::new(verifying);
    let scheduler = schedule::Config {
        ledger: config.ledger.clone(),
        horizon: config.horizon,
        steps: config.steps,
    };
    let config = Arc::new(config);
    let all = enqueue::Arguments {
        yes: arguments.yes,
        unattended: true,
        ..enqueue::Arguments::default()
    };
    let enqueue = move |what| {
        let config = Arc::clone(&config);
        let arguments = enqueue::Arguments {
            steps: what == schedule::What::Steps,
            ..all.clone()
        };
        async move { enqueue::execute(&arguments, &config).await }
    };
    let verify = move || {
        let verifying = verifying.clone();
        async move {
            match &*verifying {
                Some(config) => verify::execute_unattended(VERIFYING, config).await,
                None => Ok(()),
            }
        }
    };
    schedule::execute(arguments, scheduler, enqueue, verify).await
}

/// Reads a command's settings and starts the log. One error names all settings that are wrong.
fn read<T>(what: impl FnOnce(&mut Settings) -> T) -> Result<T, BadSettings> {
    let mut settings = Settings::from_env();
    let (format, filter) = config::logging(&mut settings);
    let config = what(&mut settings);
    let shown = settings.finish()?;
    // lapin also logs connections that were closed on purpose. Where a failure matters, our own
    // error carries its text.
    let quiet = if filter.contains("lapin") {
        filter
    } else {
        format!("{filter},lapin=off")
    };
    telemetry::init(format, &quiet);
    tracing::debug!(settings = ?shown.values, "settings");
    for note in shown.notes {
        tracing::info!("{note}");
    }
    Ok(config)
}
