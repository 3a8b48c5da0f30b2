//! `migrate`: creates or updates the ledger's schema.

use crate::config::Server;
use crate::error::CommandError;
use crate::output::{Exit, line};
use crate::servers;
use crate::setup;

/// Executes the command.
pub async fn execute(server: Server) -> Result<Exit, CommandError> {
    let ledger = servers::ledger_unchecked(&server).await?;
    setup::migrate(&ledger).await?;
    line("The ledger's schema `posthog_export` is up to date.");
    Ok(Exit::Done)
}
