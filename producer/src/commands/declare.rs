//! `declare`: creates the broker's exchanges and queues.

use std::time::Duration;

use shared::amqp::{AmqpError, CONNECT_TIMEOUT, within};
use shared::ladder::Ladder;
use shared::settings::Settings;
use shared::telemetry::LogFormat;
use shared::topology;

use crate::config::{self, Server};
use crate::error::CommandError;
use crate::output::{Exit, line};
use crate::servers::Broker;

/// How often declaring is tried, and how long to wait in between.
const TRIES: u32 = 3;
const WAIT: Duration = Duration::from_secs(2);

/// What `declare` reads from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    broker: Server,
    ladder: Option<Ladder>,
    format: LogFormat,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            broker: config::broker(settings),
            ladder: config::ladder(settings),
            format: config::logging(settings).0,
        }
    }
}

/// Executes the command.
pub async fn execute(config: Config) -> Result<Exit, CommandError> {
    let ladder = config
        .ladder
        .ok_or_else(|| CommandError::Setting("RETRY_RUNGS cannot be used".to_owned()))?;
    declare(&config.broker, &ladder).await?;
    // In JSON the log's own line says it.
    if config.format == LogFormat::Text {
        line("The broker's exchanges and queues are declared.");
    }
    Ok(Exit::Done)
}

/// Declares exchanges and queues. A broker under load may not find a leader for a new queue in time
/// (error 541), so this is tried again.
async fn declare(server: &Server, ladder: &Ladder) -> Result<(), CommandError> {
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
        tokio::time::sleep(WAIT).await;
    }
    tracing::info!("the broker's exchanges and queues are declared");
    Ok(())
}
