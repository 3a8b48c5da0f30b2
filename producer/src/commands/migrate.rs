//! `migrate`: creates or updates the ledger's schema.

use shared::settings::Settings;
use shared::telemetry::LogFormat;

use crate::config::{self, Server};
use crate::error::CommandError;
use crate::output::{Exit, line};
use crate::servers;
use crate::setup;

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
pub async fn execute(config: Config) -> Result<Exit, CommandError> {
    let ledger = servers::ledger_unchecked(&config.ledger).await?;
    setup::migrate(&ledger).await?;
    // In JSON the log's own line says it.
    if config.format == LogFormat::Text {
        line("The ledger's schema `posthog_export` is up to date.");
    }
    Ok(Exit::Done)
}
