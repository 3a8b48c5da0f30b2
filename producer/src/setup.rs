//! `migrate` and `declare`: our schema, our exchanges and queues. Both change nothing where all is there.

use std::time::Duration;

use shared::amqp::{AmqpError, CONNECT_TIMEOUT, within};
use shared::ledger::{Ledger, SCHEMA, migrator, migrator_in_schema};
use shared::topology::{self, Ladder};

use crate::config::Server;
use crate::error::CommandError;
use crate::servers::Broker;

/// How often declaring is tried, and the pause in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

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

/// Declares exchanges and queues, on a connection of its own. A broker under load may fail to find a leader for a new queue in time (541);
/// the next try finds it.
pub async fn declare(server: &Server, ladder: &Ladder) -> Result<(), CommandError> {
    let mut tries = 0;
    loop {
        let broker = Broker::connect(server).await?;
        let channel = broker.channel().await?;
        let declared = within(CONNECT_TIMEOUT * 3, async {
            Ok(topology::declare(&channel, ladder).await)
        });
        let declared = declared.await?;
        broker.close().await;
        tries += 1;
        match declared {
            Ok(()) => break,
            Err(error) if topology::differs(&error) => return Err(CommandError::Topology(error.into())),
            Err(error) if tries == TRIES => return Err(AmqpError::from(error).into()),
            Err(error) => tracing::warn!(%error, "the broker could not declare everything; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::info!("the broker's exchanges and queues are declared");
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
