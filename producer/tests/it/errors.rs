//! An error is said once, with what to do about it.

use crate::settings::refused;
use crate::{PROJECT, bare_world};

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

/// The rule: 2 where only another argument or setting helps, 1 where a server must change or be
/// there.
#[tokio::test]
async fn what_was_typed_or_set_wrongly_ends_with_two_and_what_a_server_says_with_one() {
    let world = bare_world().await;
    world.succeeds(&["migrate"]).await;
    world.succeeds(&["declare"]).await;
    let project = ["--project", PROJECT];
    let day = ["--day", "2024-06-01"];
    let (no_key, short) = (("POSTHOG_PERSONAL_API_KEY", ""), ("CONSOLE_PASSWORD", "short"));
    let away = ("AMQP_URL", "amqp://127.0.0.1:1/%2f");
    let host = |host: &'static str| [&["integrations", "set"][..], &project, &["--host", host]].concat();
    let listen = ["console", "--listen", "0.0.0.0:0"];
    for (arguments, setting, code) in [
        // Arguments.
        (vec!["enqueue", "--days", "3"], no_key, 2),
        (vec!["enqueue", "--from", "2024-06-02", "--to", "2024-06-01"], no_key, 2),
        (vec!["enqueue", "--steps"], ("EXPORT_EVERY", "1d"), 2),
        ([&["replay"][..], &project].concat(), no_key, 2),
        (vec!["schedule", "--at", "00:01"], ("EXPORT_LAG", "30m"), 2),
        ([&["verify", "--posthog-project", "7"][..], &day].concat(), no_key, 2),
        (vec!["dead-letters", "requeue"], no_key, 2),
        (vec!["projects", "resume"], no_key, 2),
        (host("https://10.0.0.1"), ("EGRESS_ALLOW", ""), 2),
        (host("https://eu.i.posthog.com"), ("POSTHOG_API_KEY", "phx_personal"), 2),
        (vec!["console", "--path-prefix", "exports"], no_key, 2),
        (vec!["console", "--public-url", "exports"], no_key, 2),
        (
            vec!["console", "--tls-cert", "/nowhere", "--tls-key", "/nowhere"],
            no_key,
            2,
        ),
        // Settings.
        (listen.to_vec(), ("CONSOLE_PASSWORD", ""), 2),
        (listen.to_vec(), short, 2),
        (vec!["console", "--allow-actions"], ("CONSOLE_PASSWORD", ""), 2),
        (vec!["verify"], no_key, 2),
        ([&["dashboards", "show"][..], &project].concat(), no_key, 2),
        (vec!["integrations", "check"], ("ENCRYPTION_KEY", "abc"), 2),
        (vec!["enqueue"], ("BACKFILL_DAYS", "-1"), 2),
        // What a server has or says.
        (vec!["enqueue"], away, 1),
        (vec!["doctor"], away, 1),
        (vec!["enqueue", "--project", "nobody"], no_key, 1),
        ([&["replay", "--project", "nobody"][..], &day].concat(), no_key, 1),
        (vec!["status", "--project", "nobody"], no_key, 1),
        (vec!["dead-letters", "show", "p/2024-06-01/daily"], no_key, 1),
        (vec!["projects", "pause", "nobody"], no_key, 1),
        ([&["projects", "resume"][..], &[PROJECT]].concat(), no_key, 1),
        (vec!["integrations", "check", "--project", "nobody"], no_key, 1),
    ] {
        let output = world.producer_with_env(&arguments, &[setting]).await;
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, code, "{arguments:?} {setting:?}: {said}");
        assert!(!said.is_empty(), "{arguments:?}");
    }
}

/// A role of `DATABASE_URL` that may not use the ledger, and no `LEDGER_DATABASE_URL`: the cause is
/// said first, by every command.
#[tokio::test]
async fn a_ledger_without_a_url_of_its_own_names_the_variable_that_is_not_set() {
    const CAUSE: &str = "LEDGER_DATABASE_URL is not set, so DATABASE_URL is used: ";
    let world = bare_world().await;
    let role = format!("reader_{}", world.vhost);
    let run = async |statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&world.pool())
            .await
            .unwrap();
    };
    run(format!(
        "create role {role} login; grant select on all tables in schema public to {role}"
    ))
    .await;
    let reader = world.database_url.replace("postgres@", &format!("{role}@"));
    let by_fallback = [("DATABASE_URL", reader.as_str()), ("LEDGER_DATABASE_URL", "")];
    // Nothing is migrated, so it is not known which of both is wrong.
    let (code, error) = refused(&world, &["status"], &by_fallback).await;
    assert!(
        code == 1 && error.contains(CAUSE) && error.contains("producer migrate"),
        "{error}"
    );
    world.succeeds(&["migrate"]).await;
    for arguments in [
        &["status"][..],
        &["enqueue"],
        &["enqueue", "--dry-run"],
        &["migrate"],
        &["dead-letters", "list"],
        &["projects", "list"],
        &["replay", "--project", PROJECT, "--day", "2024-06-01"],
    ] {
        let (code, error) = refused(&world, arguments, &by_fallback).await;
        assert!(code == 2 && error.contains(CAUSE), "{arguments:?}: {code} {error}");
    }
    let output = world.producer_with_env(&["doctor", "--json"], &by_fallback).await;
    assert_eq!(output.code, 1, "{}", output.stderr);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let of_ledger = |check: &&serde_json::Value| {
        let name = check["check"].as_str().unwrap();
        name.starts_with("ledger.") && check["status"] == "problem"
    };
    let problems: Vec<_> = report["checks"].as_array().unwrap().iter().filter(of_ledger).collect();
    assert!(!problems.is_empty(), "{report:#}");
    for problem in problems {
        let (found, advice) = (problem["found"].as_str().unwrap(), problem["advice"].as_str().unwrap());
        assert!(
            found.starts_with(CAUSE) && advice.starts_with("Set LEDGER_DATABASE_URL"),
            "{problem:#}"
        );
    }
    run(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn migrating_says_what_it_made() {
    let world = bare_world().await;
    let made = crate::json(&world, &["migrate", "--json"]).await;
    assert_eq!(made["made"], true, "{made}");
    let number = made["applied"].as_array().unwrap().len();
    assert_eq!(made["applied"][number - 1]["version"], made["version"], "{made}");
    let again = crate::json(&world, &["migrate", "--json"]).await;
    assert_eq!(
        (&again["made"], &again["applied"]),
        (&false.into(), &serde_json::json!([]))
    );
    world.set("LOG_FORMAT", "text");
    let text = world.succeeds(&["migrate"]).await.stdout;
    assert!(text.contains("`posthog_export` is up to date: version"), "{text}");
    sqlx::raw_sql("drop schema posthog_export cascade")
        .execute(&world.pool())
        .await
        .unwrap();
    let text = world.succeeds(&["migrate"]).await.stdout;
    let made = format!("Made the ledger's schema `posthog_export`: {number} migrations");
    assert!(text.contains(&made), "{text}");
}

/// As after a rollback, where the older setup runs again.
#[tokio::test]
async fn a_ledger_of_a_newer_program_is_left_as_it_is() {
    let world = bare_world().await;
    let made = crate::json(&world, &["migrate", "--json"]).await;
    assert_eq!(made["newer"], false, "{made}");
    let later = "insert into posthog_export._sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'of a newer program', true, '', 0)";
    sqlx::raw_sql(later).execute(&world.pool()).await.unwrap();
    let rolled_back = crate::json(&world, &["migrate", "--json"]).await;
    assert_eq!(
        rolled_back,
        serde_json::json!({"made": false, "applied": [], "version": 9999, "newer": true})
    );
    world.set("LOG_FORMAT", "text");
    let text = world.succeeds(&["migrate"]).await.stdout;
    assert!(text.contains("of a newer program: version 9999"), "{text}");
    // One of our own is missing: that is no newer ledger, but another one.
    let gap = "delete from posthog_export._sqlx_migrations where version =
               (select max(version) from posthog_export._sqlx_migrations where version < 9999)";
    sqlx::raw_sql(gap).execute(&world.pool()).await.unwrap();
    let (_, error) = refused(&world, &["migrate"], &[]).await;
    assert!(error.contains("it has migration 9999"), "{error}");
}
