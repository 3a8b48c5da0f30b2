//! The command line: the table of what can be typed. Each command has a module of its own.

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
#[command(name = "producer", version = shared::version::VERSION, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  producer enqueue                 every day: publish jobs for the days that are not yet exported
  producer status                  see what is done, and which days of each project are missing
  producer replay --project clx1abc --day 2024-06-01
                                   export a day again
  producer dead-letters list       see which jobs need a human, and what to do about each

The settings are environment variables; docs/CONFIGURATION.md lists them. A secret may also be in a
file: set NAME_FILE to its path instead of NAME. Results go to standard output, log lines to
standard error.

Exit code: 0 all is well; 1 something failed or was not confirmed; 2 wrong arguments or settings.";

#[derive(Subcommand, Debug)]
enum Command {
    /// Create or update the ledger's schema `posthog_export`
    #[command(after_help = MIGRATE_EXAMPLES)]
    Migrate,
    /// Declare the broker's exchanges and queues
    #[command(after_help = DECLARE_EXAMPLES)]
    Declare,
    /// Publish a job for every day that is over, holds data and is not in the ledger
    #[command(after_help = ENQUEUE_EXAMPLES)]
    Enqueue(enqueue::Arguments),
    /// Keep running, and enqueue once a day; use it instead of a cron job
    #[command(after_help = SCHEDULE_EXAMPLES)]
    Schedule(schedule::Arguments),
    /// Export days again, each as a new run
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(replay::Arguments),
    /// Show how many runs are in each state, and which days of each project are missing
    #[command(after_help = status::EXAMPLES)]
    Status(status::Arguments),
    /// Ask PostHog whether it holds what was exported, and send again what it misses
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Arguments),
    /// Make the dashboard "AI metrics" in PostHog; update, show or delete it
    Dashboards(Dashboards),
    /// Show the export in a browser
    #[command(after_help = console::EXAMPLES)]
    Console(console::Arguments),
    /// Show dead letters, put them back into the queue, or give them up
    DeadLetters(DeadLetters),
    /// Check everything that a deployment needs, and say what to do
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(doctor::Arguments),
    /// Show which projects are exported or paused; pause and resume them
    Projects(Projects),
    /// Show, change or check the projects' PostHog settings
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

const MIGRATE_EXAMPLES: &str = "\
Example:
  LEDGER_DATABASE_URL=postgres://… producer migrate

Reads only LEDGER_DATABASE_URL [default: DATABASE_URL]. The URL must lead to PostgreSQL itself, not
to a transaction pooler: the lock that migrations take belongs to a session.";

const DECLARE_EXAMPLES: &str = "\
Example:
  AMQP_URL=amqp://… producer declare

Reads only AMQP_URL and RETRY_RUNGS. Creates what is missing and changes nothing that exists. Fails
when a queue or exchange exists with other arguments.";

const ENQUEUE_EXAMPLES: &str = "\
Examples:
  producer enqueue
  producer enqueue --dry-run --count
  producer enqueue --day 2024-06-01 --project clx1abc
  producer enqueue --from 2024-01-01 --to 2024-03-31 --json
  EXPORT_EVERY=1h producer enqueue --steps

Without --from, it begins with the first day that holds data, at most BACKFILL_DAYS before
yesterday. --from may lie further back. Without --to, it ends with the newest day that is over.

You may run it again, or two at the same time: no job is published twice. There are six reasons for
a job:
  new      the day is not in the ledger
  resumed  it was skipped because the integration was disabled or the project paused
  late     rows arrived after their day was exported
  settled  SETTLE_AFTER the day's end has come: what changed since the export is sent again
  step     with --steps: a part of today is over
  healed   its message seems to be lost
Before that it migrates and declares what is missing, unless --no-setup.

Where more than 30 days that hold data, from before a project's nightly export began, would be
exported for the first time, or such days of all projects together hold more than about a million
events, it asks first. --yes answers for you, and nothing is asked where --from, --day or
BACKFILL_DAYS says how far back to go. Without a terminal these days are held back, and all others
are published. --count, with --dry-run, counts the events exactly: first look at it, then decide.

--steps publishes the parts of today that are over, as EXPORT_EVERY divides it, also those whose
message seems to be lost, and nothing else.
Run it at each border, STEP_LAG later; `producer schedule` does it by itself. What the steps miss,
the day's own job sends.

JSON: {now, dry_run, planned: {new, resumed, late, step, settled, healed}, queues, from, to,
confirmed, failed: [{id, error}], paused: [project_id], looked_at, dead: [id], undated:
[{project_id, table, rows, example}], first_exports: [{project_id, from, to, days, events,
held_back}], jobs: [{id, project_id, day, run, queue, reason}]}. With --steps also next_step_at.
With --count also counts: [{project_id, jobs, events: {trace, generation, score, observation},
total}]; `observation` where EVENTS asks for it.

Exit code: 0 when the broker confirmed every job, also when days were held back, which standard
error says; 1 when it did not confirm one. Such a job is not in the ledger, so the next `enqueue`
publishes it.";

const SCHEDULE_EXAMPLES: &str = "\
Examples:
  producer schedule
  producer schedule --at 03:15
  BACKFILL_DAYS=30 producer schedule

Enqueues at the start, which catches up with every missed day, and then every day at that time
(UTC). With EXPORT_EVERY it also enqueues each part of the day, STEP_LAG after its end. It may run
as several replicas. One is at work; the others stand by and take over when it ends. It asks nobody:
a long history is held back, as `producer enqueue --help` tells, and `producer enqueue --project ID
--yes` publishes it. With --yes, schedule publishes that of every project, also of those that are
set up later. After a failure it tries again within minutes. Reads the same settings as `enqueue`.
With a personal API key of PostHog it also does what `producer verify` does, every hour, and then
needs ENCRYPTION_KEY. SIGTERM and SIGINT end it with exit code 0.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  producer replay --project clx1abc --day 2024-06-01
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --events trace,score
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --events observation
  producer replay --project clx1abc --from 2024-06-01 --to 2024-06-30 --dry-run

Does the same as publishing {\"project_id\": \"clx1abc\", \"day\": \"2024-06-01\"} by hand, for each
day of the range that holds data. Without --events it asks for what EVENTS says. --day is one day,
and so is --from without --to. PostHog keeps one copy of each event: an event has the same uuid each
time it is sent.

JSON: {dry_run, confirmed, jobs: [{id, message, confirmed, error}]}.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  producer doctor
  producer doctor --json | jq '.checks[] | select(.status == \"problem\")'

Looks at:
  Langfuse's database   columns, indexes, rights, times, the newest row
  the ledger            version, rights; with EXPORT_EVERY whether steps are asked for
  the broker            queues and their arguments, consumers; with AMQP_MANAGEMENT_URL also
                        policies, bindings and the consumer timeout
  each enabled project  ENCRYPTION_KEY, host, key, pause, a history that is held back
  clocks                of the databases and the broker
  arrival               whether PostHog holds what was exported, as `verify` found last
It changes nothing. Run it where the workers run, with their settings.

One cause is one line, however many projects have it. The line names the first of them; JSON has
all.

JSON: {problems, warnings, checks: [{check, status: ok | unknown | warning | problem, found, advice,
projects: [project_id]}]}. `projects` comes only with findings about some projects.

Exit code: 0 when there is no problem, 1 when there is one. Warnings do not count.";

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
            let bad_setting = error.is::<BadSettings>() || of_command.is_some_and(CommandError::is_bad_setting);
            ExitCode::from(if bad_setting { 2 } else { 1 })
        }
    }
}

async fn dispatch(command: Command) -> Result<Exit> {
    match command {
        Command::Migrate => Ok(migrate::execute(read(migrate::Config::read)?).await?),
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
