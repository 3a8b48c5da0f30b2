//! The command line: what can be asked for, and from there to each command's own module.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use shared::settings::{BadSettings, Settings};
use shared::telemetry;

use crate::commands::{
    dead_letters, declare, doctor, enqueue, integrations, migrate, projects, replay, schedule, status,
};
use crate::config;
use crate::error::CommandError;
use crate::output::Exit;

/// Exports Langfuse to PostHog: plans the days, publishes their jobs, shows and mends what went wrong.
#[derive(Parser, Debug)]
#[command(name = "producer", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  producer enqueue                 the daily run: every day that is over and not yet exported
  producer status                  what is done, what is on its way, how far behind each project is
  producer dead-letters list       what needs a human, and what to do about it

Settings come from the environment (see the README); each secret may come from a file named by NAME_FILE.
Results go to standard output, log lines to standard error.

Exit codes: 0 all is well; 1 something failed or was not confirmed; 2 wrong arguments or settings.";

#[derive(Subcommand, Debug)]
enum Command {
    /// Bring the ledger's schema `posthog_export` up to date
    #[command(after_help = "\
Example:
  LEDGER_DATABASE_URL=postgres://… producer migrate

Reads LEDGER_DATABASE_URL [default: DATABASE_URL] and nothing else. Give a direct URL, not a transaction pooler's.")]
    Migrate,
    /// Declare the broker's exchanges and queues
    #[command(after_help = "\
Example:
  AMQP_URL=amqp://… producer declare

Reads AMQP_URL and RETRY_RUNGS and nothing else. Changes nothing that is there; fails when a queue has other arguments.")]
    Declare,
    /// Publish a job for every day that is over, holds data and is not in the ledger
    #[command(after_help = ENQUEUE_EXAMPLES)]
    Enqueue(enqueue::Arguments),
    /// Run `enqueue` every day, for as long as it is let: instead of a cron job
    #[command(after_help = SCHEDULE_EXAMPLES)]
    Schedule(schedule::Arguments),
    /// Publish days again, each as a run of its own
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(replay::Arguments),
    /// Show what is completed, running, waiting, dead, skipped, and the lag
    #[command(after_help = STATUS_EXAMPLES)]
    Status(status::Arguments),
    /// Show dead letters, put them back into the queue, or give them up
    DeadLetters(DeadLetters),
    /// Look at everything a deployment needs, and say what to do
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(doctor::Arguments),
    /// Show which projects are exported or paused; pause and resume them
    Projects(Projects),
    /// Show, write or check the projects' PostHog settings
    Integrations(Integrations),
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

const ENQUEUE_EXAMPLES: &str = "\
Examples:
  producer enqueue
  producer enqueue --dry-run
  producer enqueue --day 2024-06-01 --project clx1abc
  producer enqueue --from 2024-01-01 --to 2024-03-31 --json

Without --from it begins with the first day that holds data, and goes back BACKFILL_DAYS at most; --from may go back further.
Without --to it ends with the newest day that is over.

Running it twice, or two at once, publishes no job twice. It also publishes again what seems to be lost (`healed`), what
was skipped while an integration was disabled or a project paused (`resumed`), and days whose rows arrived late (`late`).
Migrates and declares first when needed, unless --no-setup.

JSON: {now, dry_run, planned: {new, resumed, late, healed}, queues, from, to, confirmed, failed: [{id, error}],
paused: [project_id], jobs: [{id, project_id, day, run, queue, reason}]}.

Exit code: 0 when every job was confirmed by the broker, 1 when one was not (it is not recorded; run it again).";

const SCHEDULE_EXAMPLES: &str = "\
Examples:
  producer schedule
  producer schedule --at 03:15

Runs `enqueue` when it starts, which catches up with every day it has missed, and then daily at that time (UTC). Of several
replicas one is at work, the others stand by and take over when it ends. A run that fails is tried again within minutes.
Reads what `enqueue` reads. Ends with exit code 0 on SIGTERM or SIGINT.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  producer replay --project clx1abc --day 2024-06-01
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --events trace,score
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --dry-run

The same as publishing {\"project_id\": \"clx1abc\", \"day\": \"2024-06-01\"} by hand. PostHog folds the events it has already:
each has the same uuid every time. Days without data are left out. --from without --to is one day.

JSON: {dry_run, confirmed, jobs: [{id, message, confirmed, error}]}.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  producer doctor
  producer doctor --json | jq '.checks[] | select(.status == \"problem\")'

Looks at: Langfuse's database (columns, indexes, rights), the ledger (version, rights), the broker (queues and their arguments,
consumers; with AMQP_MANAGEMENT_URL policies, bindings, consumer timeout), ENCRYPTION_KEY, each enabled project's host and
key, clocks. Changes nothing. Run it where the workers run, with their settings.

JSON: {problems, warnings, checks: [{check, status: ok | unknown | warning | problem, found, advice}]}.

Exit code: 0 when there is no problem, 1 when there is one; warnings are no problem.";

const STATUS_EXAMPLES: &str = "\
Examples:
  producer status
  producer status --project clx1abc
  producer status --state dead --json

JSON: {now, projects: [{project_id, name, enabled, paused: null | {error_code, error, paused_by, paused_at}, completed, running, queued, waiting, dead, skipped, discarded,
events_sent, rows_rejected, oldest_missing_day, days_behind}], runs: […]}. The counts are runs; events_sent includes
repeated runs. `runs` is there with --project or --state: {project_id, day, run, state, attempt, takeovers, worker, full,
created_after, events, error_code, error, first_failed_at, retry_at, lease_expires_at, queued_at, started_at,
completed_at, sent, rejected}. A project is behind from its oldest day that is over, holds data and has no completed run.";

/// Runs what was asked for; says on standard error what went wrong.
pub async fn execute(cli: Cli) -> ExitCode {
    match dispatch(cli.command).await {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failed) => ExitCode::from(1),
        Err(error) => {
            // Before any setting is read there is no log; and this is for the one who typed the command.
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<BadSettings>() { 2 } else { 1 })
        }
    }
}

async fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Migrate => Ok(migrate::execute(read(config::ledger)?).await?),
        Command::Declare => Ok(declare::execute(read(declare::Config::read)?).await?),
        Command::Enqueue(arguments) => Ok(enqueue::execute(&arguments, &read(enqueue::Config::read)?).await?),
        Command::Schedule(arguments) => Ok(schedule(&arguments, read(enqueue::Config::read)?).await?),
        Command::Replay(arguments) => Ok(replay::execute(&arguments, read(replay::Config::read)?).await?),
        Command::Status(arguments) => Ok(status::execute(&arguments, read(status::Config::read)?).await?),
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
                integrations::set(&arguments, read(integrations::SetConfig::read)?).await?
            }
            integrations::Command::Check(arguments) => {
                integrations::check(&arguments, read(integrations::Config::read)?).await?
            }
        }),
    }
}

/// Commands know nothing of each other, so `schedule` is handed `enqueue` here.
async fn schedule(arguments: &schedule::Arguments, config: enqueue::Config) -> Result<Exit, CommandError> {
    let scheduler = schedule::Config {
        ledger: config.ledger.clone(),
        horizon: config.horizon,
    };
    let config = Arc::new(config);
    let enqueue = move || {
        let config = Arc::clone(&config);
        async move { enqueue::execute(&enqueue::Arguments::default(), &config).await }
    };
    schedule::execute(arguments, scheduler, enqueue).await
}

/// Reads a command's settings, and begins to log. All that is wrong with them comes in one error.
fn read<T>(what: impl FnOnce(&mut Settings) -> T) -> Result<T, BadSettings> {
    let mut settings = Settings::from_env();
    let (format, filter) = config::logging(&mut settings);
    let config = what(&mut settings);
    let shown = settings.finish()?;
    // What lapin logs when a connection ends comes with our own error where it matters, and where it ended well it misleads.
    let quiet = if filter.contains("lapin") {
        filter
    } else {
        format!("{filter},lapin=off")
    };
    telemetry::init(format, &quiet);
    tracing::debug!(settings = ?shown, "settings");
    Ok(config)
}
