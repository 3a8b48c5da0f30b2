//! `migrate`: brings the ledger's schema up to date.

use crate::config::Server;
use crate::error::CommandError;
use crate::output::{Outcome, line};
use crate::servers;
use crate::setup;

/// Runs the command.
pub async fn run(server: Server) -> Result<Outcome, CommandError> {
    let ledger = servers::ledger_unchecked(&server).await?;
    setup::migrate(&ledger).await?;
    line("The ledger's schema `posthog_export` is up to date.");
    Ok(Outcome::Done)
}
