//! Pools of connections to PostgreSQL, and which errors say that the server is away.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};

use crate::database_url::DatabaseUrl;
use crate::settings::{ExposeSecret, SecretString};

/// Time limit for connecting, and for waiting for a connection of the pool.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a statement. A page takes milliseconds; on a busy disk, with nothing cached,
/// seconds.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(50);

/// A connection that was not used for longer is pinged before it is used again.
const FRESH: Duration = Duration::from_secs(1);
/// How long a connection that returns to its pool may take to answer a ping.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// What [`reach`] asks for: a `statement_timeout` that no server, role or pooler has by itself.
const ASKED_FOR: &str = "49999ms";

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// A connection pooler stands before it. Statements of several clients would meet in one session.
    #[error(
        "it is a connection pooler (PgBouncer or one like it), which does not keep the settings of a connection: {0}. Use the URL of Postgres itself, which Langfuse calls DIRECT_URL"
    )]
    Pooler(String),
    /// Away, or it does not let us in
    #[error("{0}")]
    Failed(String),
}

/// Opens one connection, and looks whether the settings that it asked for hold. By a simple query: where statements are
/// prepared behind a pooler, a client meets those of others.
pub async fn reach(url: &SecretString, name: &str) -> Result<(), ReachError> {
    let failed = |error: sqlx::Error| match error {
        // The words of PgBouncer, and of Amazon's RDS Proxy.
        sqlx::Error::Database(e)
            if ["unsupported startup parameter", "command-line options"]
                .iter()
                .any(|words| e.message().contains(words)) =>
        {
            ReachError::Pooler(e.message().to_owned())
        }
        error => ReachError::Failed(in_words(&error)),
    };
    let read = read(url).map_err(failed)?;
    let limit = read.connect_timeout.unwrap_or(ACQUIRE_TIMEOUT);
    let options = named(read.options, name).options([("statement_timeout", ASKED_FOR)]);
    let look = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        let row = sqlx::raw_sql("show statement_timeout")
            .fetch_one(&mut connection)
            .await?;
        let holds: String = row.try_get(0)?;
        let _ = connection.close().await;
        Ok(holds)
    };
    match tokio::time::timeout(limit, look).await {
        Ok(Ok(holds)) if holds == ASKED_FOR => Ok(()),
        Ok(Ok(holds)) => Err(ReachError::Pooler(format!(
            "statement_timeout is {holds}, where {ASKED_FOR} was asked for"
        ))),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(ReachError::Failed(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// Host and port of a URL, for people.
pub fn address(url: &SecretString) -> String {
    DatabaseUrl::read(url.expose_secret()).map_or_else(|_| "?".to_owned(), |read| read.address())
}

fn reading(options: PgConnectOptions, name: &str) -> PgConnectOptions {
    named(options, name).options([
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        ("default_transaction_read_only", "on".to_owned()),
        // A page touches few rows; compiling its plan costs more than running it.
        ("jit", "off".to_owned()),
    ])
}

/// A pool for Langfuse's tables, which belong to Langfuse: it never writes. Pages, days and lookups
/// must always be read from an index, in its order. With old or no statistics, the planner may
/// prefer to scan the table or to sort the whole day, and would do so again for each page.
pub fn paging_pool(url: &SecretString, name: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let off = ["seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin", "material"];
    let planner = off.map(|way| (format!("enable_{way}"), "off".to_owned()));
    let read = read(url)?;
    let pool = pool(connections, read.connect_timeout);
    Ok(pool.connect_lazy_with(reading(read.options, name).options(planner)))
}

/// A pool that reads the ledger for somebody who waits, and that PostgreSQL itself keeps from writing. A
/// statement ends after `limit`: one whose page is given up would go on, and the next one beside it.
pub fn reading_pool(url: &SecretString, name: &str, connections: u32, limit: Duration) -> Result<PgPool, sqlx::Error> {
    let read = read(url)?;
    // Of two options of one name PostgreSQL takes the last.
    let options = reading(read.options, name).options([("statement_timeout", limit.as_millis().to_string())]);
    Ok(pool(connections, read.connect_timeout).connect_lazy_with(options))
}

/// A pool that may write: the ledger's, and `integrations set`.
pub fn writing_pool(url: &SecretString, name: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let read = read(url)?;
    let options = named(read.options, name).options([
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        // A client that vanished in a transaction must not keep a run's row locked.
        ("idle_in_transaction_session_timeout", "20s".to_owned()),
    ]);
    Ok(pool(connections, read.connect_timeout).connect_lazy_with(options))
}

fn read(url: &SecretString) -> Result<DatabaseUrl, sqlx::Error> {
    DatabaseUrl::read(url.expose_secret())
        .map_err(|fault| sqlx::Error::Configuration(format!("the URL {fault}").into()))
}

fn named(options: PgConnectOptions, name: &str) -> PgConnectOptions {
    // Asks the server to notice a vanished client within a minute. Its default is two hours.
    options.application_name(name).options([
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
    ])
}

fn pool(connections: u32, connect_timeout: Option<Duration>) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        // It is the wait for a free connection too, so it is never made shorter.
        .acquire_timeout(connect_timeout.unwrap_or_default().max(ACQUIRE_TIMEOUT))
        .idle_timeout(Duration::from_secs(60))
        // sqlx would ping a connection before each use. One that was in use a moment ago answered
        // when it was given back.
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for >= FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
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

/// What went wrong, for people: the server's own sentence, without the line of Postgres's C source
/// and without sqlx's words around it.
pub fn in_words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        other => other.to_string(),
    }
}

/// Whether Postgres refused a statement for a missing right.
pub fn lacks_right(error: &sqlx::Error) -> bool {
    has_code(error, "42501")
}

/// Whether a transaction takes no writes: the server is a replica, or the role or the database is
/// set to read only.
pub fn is_read_only(error: &sqlx::Error) -> bool {
    has_code(error, "25006")
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|found| found == code))
}
