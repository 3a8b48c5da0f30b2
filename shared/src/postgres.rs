//! Pools of connections to PostgreSQL, and which errors say that the server is away.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgPool};

use crate::settings::{ExposeSecret, SecretString};

/// Time limit for connecting, and for waiting for a connection of the pool.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a statement. A page takes milliseconds; on a busy disk, with nothing cached,
/// seconds.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(50);

/// How long a connection that returns to its pool may take to answer a ping.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A pool that never writes: Langfuse's tables belong to Langfuse.
pub fn source_pool(url: &SecretString, name: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    Ok(pool(connections).connect_lazy_with(reading_options(url, name)?))
}

fn reading_options(url: &SecretString, name: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(options(url, name)?.options([
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        ("default_transaction_read_only", "on".to_owned()),
        // A page touches few rows; compiling its plan costs more than running it.
        ("jit", "off".to_owned()),
    ]))
}

/// [`source_pool`] for pages and lookups. They must always be read from an index, in its order.
/// With old or no statistics, the planner may prefer to scan the table or to sort the whole day,
/// and would do so again for each page.
pub fn paging_pool(url: &SecretString, name: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let off = ["seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin", "material"];
    let planner = off.map(|way| (format!("enable_{way}"), "off".to_owned()));
    Ok(pool(connections).connect_lazy_with(reading_options(url, name)?.options(planner)))
}

/// A pool that may write: the ledger's, and `integrations set`.
pub fn writing_pool(url: &SecretString, name: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = options(url, name)?.options([
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        // A client that vanished in a transaction must not keep a run's row locked.
        ("idle_in_transaction_session_timeout", "20s".to_owned()),
    ]);
    Ok(pool(connections).connect_lazy_with(options))
}

fn options(url: &SecretString, name: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options = url.expose_secret().parse::<PgConnectOptions>()?.application_name(name);
    // Asks the server to notice a vanished client within a minute. Its default is two hours.
    Ok(options.options([
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
    ]))
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(60))
        // sqlx pings each connection that returns to the pool, without a time limit. On a network
        // that swallows packets, a connection that was dropped in the middle of a statement would
        // keep its place in the pool for ever.
        .after_release(|connection, _| {
            Box::pin(async move {
                tokio::time::timeout(RELEASE_TIMEOUT, connection.ping())
                    .await
                    .map_err(|_| sqlx::Error::PoolTimedOut)?
                    .map(|()| true)
            })
        })
}

/// Whether an error says "the server is away" rather than "the statement is wrong".
pub fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // 08: connection exceptions; 57P0x: shutdown, crash, starting up, database dropped; 53: out
        // of connections, memory or disk; 25006: a failover left us on a read-only server.
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            code.starts_with("08") || code.starts_with("57P0") || code.starts_with("53") || code == "25006"
        }),
        _ => false,
    }
}
