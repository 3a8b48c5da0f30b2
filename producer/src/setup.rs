//! `migrate` and `declare`: our schema, our exchanges and queues. Both change nothing where all is there.

use shared::amqp::{CONNECT_TIMEOUT, within};
use shared::ledger::{Ledger, SCHEMA, migrator, migrator_in_schema};
use shared::topology::Ladder;

use crate::error::CommandError;
use crate::servers::Broker;

/// Brings our schema up to date. The advisory lock of the migrations belongs to a session: give a direct URL, no
/// transaction pooler's.
pub async fn migrate(ledger: &Ledger) -> Result<(), CommandError> {
    let there: bool =
        sqlx::query_scalar("-- migrate_schema\nselect exists (select 1 from pg_namespace where nspname = $1)")
            .bind(SCHEMA)
            .fetch_one(ledger.pool())
            .await?;
    let migrator = if there { migrator_in_schema() } else { migrator() };
    migrator.run(ledger.pool()).await?;
    tracing::info!(
        migrations = migrator.iter().count(),
        "the ledger's schema is up to date"
    );
    Ok(())
}

/// What `enqueue` does unless told otherwise: migrates when our schema is missing or old, and declares what is missing. A
/// broker whose queues have other arguments need not stop the daily run: publishing tells.
pub async fn prepare(ledger: &Ledger, broker: &Broker, ladder: &Ladder) -> Result<(), CommandError> {
    if !ledger.is_migrated().await? {
        migrate(ledger).await?;
    }
    match within(CONNECT_TIMEOUT * 3, async { Ok(broker.ensure(ladder).await) }).await? {
        Err(error) => {
            let error = CommandError::Topology(error.into());
            tracing::warn!(%error, "going on with the queues as they are");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
