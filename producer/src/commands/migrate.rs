//! `migrate`: creates or updates the ledger's schema.

use clap::Args;
use shared::settings::Settings;
use shared::telemetry::LogFormat;

use crate::config::{self, Server};
use crate::error::CommandError;
use crate::output::{self, Exit, line};
use crate::servers;
use crate::setup;

/// Arguments of `migrate`.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `migrate` reads from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    ledger: Server,
    format: LogFormat,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            ledger: config::ledger(settings),
            format: config::logging(settings).0,
        }
    }
}

/// Executes the command.
pub async fn execute(arguments: &Arguments, config: Config) -> Result<Exit, CommandError> {
    let ledger = servers::ledger_unchecked(&config.ledger).await?;
    let migrated = setup::migrate(&ledger)
        .await
        .map_err(|error| error.of_ledger(config.ledger.instead_of))?;
    if arguments.json {
        output::json(&migrated);
    } else if config.format == LogFormat::Text {
        // In JSON the log's own line says it.
        line(migrated.sentence());
    }
    Ok(Exit::Done)
}
