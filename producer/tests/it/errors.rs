//! An error is said once, with what to do about it.

use crate::bare_world;
use crate::settings::refused;

/// The mend is said once, without Postgres's source lines.
#[tokio::test]
async fn errors_of_the_servers_are_said_once_with_what_to_do() {
    let world = bare_world().await;
    let role = format!("nobody_{}", world.vhost);
    let run = async |statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&world.pool())
            .await
            .unwrap();
    };
    run(format!("create role {role} login")).await;
    let ledger = world.database_url.replace("postgres@", &format!("{role}@"));
    let wrong_password = world.amqp_url.replacen("://", "://nobody:hunter2@", 1);
    let wrong_password = wrong_password
        .rsplit_once('@')
        .map_or(String::new(), |(_, host)| format!("amqp://nobody:hunter2@{host}"));
    for (arguments, variable, url, mend, once) in [
        (
            &["migrate"][..],
            "LEDGER_DATABASE_URL",
            &ledger,
            "`producer migrate` as the schema's owner",
            "permission denied",
        ),
        (
            &["enqueue"],
            "LEDGER_DATABASE_URL",
            &ledger,
            "`producer migrate` as the schema's owner",
            "permission denied",
        ),
        (&["declare"], "AMQP_URL", &wrong_password, "logfile. Check", "ACCESS"),
    ] {
        let (code, error) = refused(&world, arguments, &[(variable, url), ("RUST_LOG", "error")]).await;
        assert_eq!(code, 1, "{error}");
        assert!(error.contains(mend), "{error}");
        assert_eq!(error.matches(once).count(), 1, "{error}");
        assert!(
            !error.contains(" at line ") && !error.contains("while executing"),
            "{error}"
        );
    }
    run(format!("alter role {role} set default_transaction_read_only = on")).await;
    let (_, error) = refused(&world, &["migrate"], &[("LEDGER_DATABASE_URL", &ledger)]).await;
    assert!(!error.contains("replica"), "{error}");
    run(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_url_that_no_client_can_use_is_a_wrong_setting() {
    let world = bare_world().await;
    for (arguments, variable, url) in [
        (
            &["migrate"][..],
            "LEDGER_DATABASE_URL",
            "postgres://u:hunter2@h/x?sslmode=perhaps",
        ),
        (&["declare"], "AMQP_URL", "amqp://u:hunter2@h/%2f?heartbeat=soon"),
    ] {
        let (code, error) = refused(&world, arguments, &[(variable, url)]).await;
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(variable) && !error.contains("hunter2"), "{error}");
    }
}
