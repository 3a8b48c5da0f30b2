//! The command line: no command at all, or `health`.

use clap::{Parser, Subcommand};

/// Exports Langfuse days to PostHog: takes jobs from RabbitMQ until it is stopped.
#[derive(Parser, Debug)]
#[command(name = "worker", version = shared::version::VERSION, after_help = AFTER_HELP)]
pub struct Cli {
    /// Without a command: take jobs
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands of the worker
#[derive(Subcommand, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Ask the worker that serves HTTP_ADDR on this host whether it is alive
    #[command(after_help = "\
Exit code: 0 when its /livez answers, 1 when it does not. Reads HTTP_ADDR and nothing else. For images without a shell.")]
    Health,
}

const AFTER_HELP: &str = "\
Settings come from the environment (see docs/CONFIGURATION.md); each secret may come from a file named by NAME_FILE.
SIGTERM or SIGINT: running jobs are handed back within SHUTDOWN_GRACE. A second signal exits now.

Exit codes: 0 stopped by a signal; 1 it could not start; 2 wrong arguments or settings; 130 stopped by a second signal.";
