//! Sets up the ledger's schema and the broker's queues. Changes nothing that is up to date.

use shared::amqp::{CONNECT_TIMEOUT, within};
use shared::ladder::Ladder;
use shared::ledger::{Ledger, SCHEMA, migrator, migrator_in_schema};

use crate::error::CommandError;
use crate::servers::Broker;

/// Creates or updates the schema. The migrations take an advisory lock, which belongs to a session,
/// so this does not work through a transaction pooler.
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

/// Sets up what is missing before an enqueue. Queues with other arguments are only warned of: jobs
/// may still reach them, and publishing fails if they do not.
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
