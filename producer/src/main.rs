//! Reads the arguments and ends with the command's exit code.

use std::process::ExitCode;

use clap::Parser;
use producer::cli::{Cli, execute};

#[tokio::main]
async fn main() -> ExitCode {
    shared::posthog::install_crypto();
    execute(Cli::parse()).await
}
