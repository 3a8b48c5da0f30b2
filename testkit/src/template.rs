//! The databases of worlds, copied from one that holds the Langfuse tables.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::langfuse;
use crate::postgres::Postgres;

/// Runs statements that the testkit itself wrote: nothing in them is escaped.
pub(crate) async fn execute(connection: &mut PgConnection, statement: String) {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await;
    done.unwrap_or_else(|error| panic!("{}: {error}", statement.lines().next().unwrap_or_default()));
}

/// A database that may be there from an earlier process; without our tables, if it is.
pub(crate) async fn find_or_create_database(postgres: &Postgres, name: &str) {
    let mut connection = postgres.connect().await;
    let found = sqlx::query("SELECT FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_optional(&mut connection)
        .await;
    let _ = connection.close().await;
    if found.expect("look for the database").is_none() {
        create_database(postgres, name).await;
        return;
    }
    let mut inside = PgConnection::connect(&postgres.url(name)).await.expect("connect to it");
    execute(&mut inside, "DROP SCHEMA IF EXISTS posthog_export CASCADE".to_owned()).await;
    let _ = inside.close().await;
}

/// Makes a database as a copy of one that holds the Langfuse tables, which the first to come makes.
pub(crate) async fn create_database(postgres: &Postgres, name: &str) {
    // The name holds a fingerprint of the schema. On a server that outlives this process, an old
    // schema is not taken for the new one, and each schema has one template only.
    let template = format!("testkit_langfuse_{:016x}", fingerprint(langfuse::SCHEMA_SQL));
    let mut connection = postgres.connect().await;
    let exists = "SELECT count(*) FROM pg_database WHERE datname = $1";
    let exists = async |connection: &mut PgConnection| {
        sqlx::query_scalar::<_, i64>(exists)
            .bind(&template)
            .fetch_one(connection)
            .await
            .expect("look for the template")
            > 0
    };
    if !exists(&mut connection).await {
        // The lock belongs to the session, so it ends with it, whatever happens here.
        execute(
            &mut connection,
            "SELECT pg_advisory_lock(hashtext('testkit template'))".to_owned(),
        )
        .await;
        if !exists(&mut connection).await {
            let draft = format!("{template}_draft");
            execute(&mut connection, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
            execute(&mut connection, format!("CREATE DATABASE {draft} TEMPLATE template0")).await;
            let mut inside = PgConnection::connect(&postgres.url(&draft))
                .await
                .expect("connect to the template");
            execute(&mut inside, langfuse::SCHEMA_SQL.to_owned()).await;
            inside.close().await.expect("leave the template");
            execute(&mut connection, format!("ALTER DATABASE {draft} RENAME TO {template}")).await;
        }
        execute(&mut connection, "SELECT pg_advisory_unlock_all()".to_owned()).await;
    }
    execute(&mut connection, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
    let _ = connection.close().await;
}

/// A short name for a text: FNV-1a, which stays the same from build to build.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
