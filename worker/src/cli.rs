//! The command line: no command at all, or `health`.

use clap::{Parser, Subcommand};

/// Exports Langfuse days to PostHog: takes jobs from RabbitMQ until it is stopped
#[derive(Parser, Debug)]
#[command(name = "worker", version = shared::version::VERSION, after_help = WORKER)]
pub struct Cli {
    /// Without a command: take jobs
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands of the worker
#[derive(Subcommand, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask the worker that serves HTTP_ADDR on this host whether it is alive
    #[command(after_help = HEALTH)]
    Health,
}

const WORKER: &str = "\
Examples:
  worker                           take jobs until SIGTERM or SIGINT
  WORKER_CONCURRENCY=4 ROWS_PER_SECOND=20000 worker
  worker health                    ask the worker on this host whether it is alive

The settings are environment variables; docs/CONFIGURATION.md lists them. A secret may also be in a
file: set NAME_FILE to its path instead of NAME. `producer doctor` checks the settings, the servers
and the projects; run it with the same settings.

SIGTERM or SIGINT: running jobs are handed back within SHUTDOWN_GRACE, and another worker goes on
from their last checkpoint. A second signal ends the worker at once.

Exit code:
  0    stopped by a signal
  1    it could not start, for example because HTTP_ADDR is taken
  2    an argument or a setting is missing or wrong
  130  stopped by a second signal";

const HEALTH: &str = "\
Examples:
  worker health
  HTTP_ADDR=0.0.0.0:9191 worker health

It is for images without a shell. It reads HTTP_ADDR and nothing else.

Exit code: 0 when the worker's /livez answers, 1 when it does not.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_help_begins_with_examples_and_fits_a_terminal() {
        let worker = Cli::command();
        for command in [&worker].into_iter().chain(worker.get_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  worker"), "{}", command.get_name());
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        }
    }
}
