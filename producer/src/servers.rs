//! Connects to the servers. Errors name the variable and the address, never the password.

use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection};
use shared::amqp::{self, AmqpError, CONNECT_TIMEOUT, Publisher, watch_blocked, within};
use shared::ladder::Ladder;
use shared::langfuse::missing_columns;
use shared::ledger::Ledger;
use shared::postgres::{self, ReachError, paging_pool, writing_pool};
use shared::settings::{ExposeSecret, SecretString};
use shared::topology;
use sqlx::postgres::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Server;
use crate::error::{CommandError, ServerError};

/// The name that `pg_stat_activity` and the management UI show.
const NAME: &str = "posthog-export-producer";
const CONNECTIONS: u32 = 4;

/// Connects to Langfuse's database without checking its tables.
pub async fn source_unchecked(server: &Server) -> Result<PgPool, CommandError> {
    reach_postgres(server).await?;
    Ok(paging_pool(&server.url, NAME, CONNECTIONS)?)
}

/// Connects to Langfuse's database and checks that it has every column that is read.
pub async fn source(server: &Server) -> Result<PgPool, CommandError> {
    let pool = source_unchecked(server).await?;
    let missing = missing_columns(&pool).await?;
    if missing.is_empty() {
        Ok(pool)
    } else {
        Err(CommandError::Columns(missing))
    }
}

/// Connects to the ledger without checking its schema.
pub async fn ledger_unchecked(server: &Server) -> Result<Ledger, CommandError> {
    Ok(Ledger::new(writable(server).await?))
}

/// Connects to the ledger and checks that its schema is up to date.
pub async fn ledger(server: &Server) -> Result<Ledger, CommandError> {
    let ledger = ledger_unchecked(server).await?;
    match ledger.is_migrated().await {
        Ok(true) => Ok(ledger),
        Ok(false) => Err(CommandError::NotMigrated.of_ledger(server.instead_of)),
        Err(error) => Err(CommandError::from(error).of_ledger(server.instead_of)),
    }
}

/// Connects to a database for writing.
pub async fn writable(server: &Server) -> Result<PgPool, CommandError> {
    reach_postgres(server).await?;
    Ok(writing_pool(&server.url, NAME, CONNECTIONS)?)
}

/// Opens one connection before the pool does. The pool retries a refused connection until its time
/// limit, and its error then says only that it waited.
async fn reach_postgres(server: &Server) -> Result<(), ServerError> {
    postgres::reach(&server.url, NAME).await.map_err(|error| ServerError {
        variable: server.variable,
        what: "Postgres",
        address: postgres::address(&server.url),
        is_pooler: matches!(error, ReachError::Pooler(_)),
        cause: error.to_string(),
        bad_setting: false,
    })
}

/// A connection to the broker. It closes when it is dropped.
#[derive(Debug)]
pub struct Broker {
    connection: Connection,
    blocked: watch::Receiver<bool>,
    watcher: JoinHandle<()>,
}

impl Broker {
    /// Connects.
    pub async fn connect(server: &Server) -> Result<Self, ServerError> {
        let connection = amqp::connect(&server.url, NAME).await.map_err(|error| ServerError {
            variable: server.variable,
            what: "RabbitMQ",
            address: broker_address(&server.url),
            is_pooler: false,
            bad_setting: matches!(error, AmqpError::BadUrl),
            cause: without_address(error),
        })?;
        let (sender, blocked) = watch::channel(false);
        let events = Box::pin(connection.events_listener());
        let watcher = tokio::spawn(async move {
            watch_blocked(events, sender).await;
        });
        Ok(Self {
            connection,
            blocked,
            watcher,
        })
    }

    /// Opens a channel.
    pub async fn channel(&self) -> Result<Channel, AmqpError> {
        within(CONNECT_TIMEOUT, self.connection.create_channel()).await
    }

    /// Declares what is missing, as far as this user has the right to.
    ///
    /// # Errors
    /// The broker's own error, in which the caller can recognise other arguments.
    pub async fn ensure(&self, ladder: &Ladder) -> Result<(), lapin::Error> {
        topology::ensure(&self.connection, ladder).await
    }

    /// Opens a channel for publishing.
    pub async fn publisher(&self) -> Result<Publisher, AmqpError> {
        Publisher::open(&self.connection, self.blocked.clone()).await
    }

    /// How many messages of a queue are ready; `None` when there is no such queue.
    pub async fn depth(&self, queue: &str) -> Result<Option<u32>, AmqpError> {
        // The broker closes a channel on which it did not find a queue, so each call has its own.
        amqp::depth(&self.channel().await?, queue).await
    }

    /// How many consumers a queue has; `None` when there is no such queue.
    pub async fn consumers(&self, queue: &str) -> Result<Option<u32>, AmqpError> {
        let channel = self.channel().await?;
        amqp::look(&channel, queue)
            .await
            .map(|queue| queue.map(|queue| queue.consumer_count()))
    }

    /// How many messages of a queue are ready, and how many consumers it has; `None` when there is no
    /// such queue.
    pub async fn look(&self, queue: &str) -> Result<Option<(u32, u32)>, AmqpError> {
        let channel = self.channel().await?;
        let found = amqp::look(&channel, queue).await?;
        Ok(found.map(|queue| (queue.message_count(), queue.consumer_count())))
    }

    /// Closes the connection. That the broker no longer answers is no error.
    pub async fn close(self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.connection.close(200, "done".into())).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

fn broker_address(url: &SecretString) -> String {
    url.expose_secret().parse::<AMQPUri>().map_or_else(
        |_| "?".to_owned(),
        |uri| {
            format!(
                "{}:{} (virtual host `{}`)",
                uri.authority.host, uri.authority.port, uri.vhost
            )
        },
    )
}

/// The cause without the server's name, which the sentence around it has.
fn without_address(error: AmqpError) -> String {
    match error {
        AmqpError::Broker(error) => amqp::in_words(&error),
        other => other.to_string(),
    }
}
