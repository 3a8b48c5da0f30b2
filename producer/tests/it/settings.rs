//! What the environment lacks is named, all of it at once, and never what it holds.

use testkit::{Project, World};

use crate::{KEY, PROJECT, bare_world, yesterday};

pub(crate) async fn refused(world: &World, arguments: &[&str], overrides: &[(&str, &str)]) -> (i32, String) {
    let output = world.producer_with_env(arguments, overrides).await;
    assert!(output.stdout.is_empty(), "{}", output.stdout);
    (output.code, output.stderr)
}

#[tokio::test]
async fn every_bad_variable_is_named_in_one_error() {
    let world = bare_world().await;
    let bad = [
        ("DATABASE_URL", ""),
        ("LEDGER_DATABASE_URL", "mysql://user:hunter2@db/x"),
        ("AMQP_URL", "http://user:hunter2@broker"),
        ("EXPORT_LAG", "soon"),
        ("BACKFILL_DAYS", "-1"),
        ("RETRY_RUNGS", "30s"),
        ("LOG_FORMAT", "xml"),
    ];
    let (code, error) = refused(&world, &["enqueue"], &bad).await;
    assert_eq!(code, 2);
    for (name, _) in bad {
        assert!(error.contains(name), "{name} in {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
    // LEDGER_DATABASE_URL falls back to DATABASE_URL, so one complaint is enough.
    let (_, error) = refused(&world, &["enqueue"], &[("DATABASE_URL", "")]).await;
    assert_eq!(error.matches("DATABASE_URL is not set").count(), 1, "{error}");

    let bad = [("ENCRYPTION_KEY", "abc"), ("EGRESS_ALLOW", "a b")];
    let (code, error) = refused(&world, &["integrations", "check"], &bad).await;
    assert_eq!(code, 2);
    assert!(
        error.contains("ENCRYPTION_KEY") && error.contains("EGRESS_ALLOW"),
        "{error}"
    );
}

#[tokio::test]
async fn a_command_asks_for_nothing_it_does_not_need() {
    let world = bare_world().await;
    let nothing_but = |kept: &[&str]| {
        ["DATABASE_URL", "AMQP_URL", "ENCRYPTION_KEY"]
            .into_iter()
            .filter(|n| !kept.contains(n))
            .map(|n| (n, ""))
            .collect::<Vec<_>>()
    };
    for (arguments, kept) in [
        (&["declare"][..], &["AMQP_URL"][..]),
        (&["migrate"], &["DATABASE_URL"]),
        (&["enqueue"], &["DATABASE_URL", "AMQP_URL"]),
        (&["status"], &["DATABASE_URL"]),
        (&["dead-letters", "list"], &["DATABASE_URL", "AMQP_URL"]),
        (&["integrations", "list"], &["DATABASE_URL", "ENCRYPTION_KEY"]),
    ] {
        let output = world.producer_with_env(arguments, &nothing_but(kept)).await;
        assert_eq!(output.code, 0, "{arguments:?}: {}", output.stderr);
    }
    // A command that reads only the ledger needs only LEDGER_DATABASE_URL.
    let ledger = [
        ("DATABASE_URL", ""),
        ("LEDGER_DATABASE_URL", world.database_url.as_str()),
    ];
    for arguments in [&["migrate"][..], &["dead-letters", "list"]] {
        let output = world.producer_with_env(arguments, &ledger).await;
        assert_eq!(output.code, 0, "{arguments:?}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_one_line_that_names_its_variable() {
    let world = bare_world().await;
    let nobody = "127.0.0.1:1";
    for (variable, url, arguments) in [
        (
            "DATABASE_URL",
            format!("postgres://user:hunter2@{nobody}/langfuse"),
            &["status"][..],
        ),
        (
            "LEDGER_DATABASE_URL",
            format!("postgres://user:hunter2@{nobody}/ledger"),
            &["migrate"],
        ),
        ("AMQP_URL", format!("amqp://user:hunter2@{nobody}/%2f"), &["declare"]),
        // The port speaks no TLS. The producer must not go on in plain text.
        (
            "AMQP_URL",
            world.amqp_url.replacen("amqp://", "amqps://", 1),
            &["declare"],
        ),
    ] {
        let (code, error) = refused(&world, arguments, &[(variable, &url)]).await;
        assert_eq!(code, 1);
        let lines: Vec<&str> = error.lines().filter(|line| line.contains("\"ERROR\"")).collect();
        assert_eq!(lines.len(), 1, "{error}");
        assert!(
            lines[0].contains(variable) && lines[0].contains("127.0.0.1:"),
            "{error}"
        );
        let password = url.rsplit_once('@').unwrap().0.rsplit_once(':').unwrap().1;
        assert!(!error.contains(password), "{error}");
    }
}

#[tokio::test]
async fn secrets_come_from_files_as_well() {
    let world = bare_world().await;
    let directory = std::env::temp_dir().join(format!("secrets-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    let mut settings = Vec::new();
    for name in ["DATABASE_URL", "AMQP_URL", "ENCRYPTION_KEY"] {
        let path = directory.join(name);
        std::fs::write(&path, format!("{}\n", world.env()[name])).unwrap();
        settings.push((name.to_owned(), String::new()));
        settings.push((format!("{name}_FILE"), path.to_str().unwrap().to_owned()));
    }
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    for arguments in [&["enqueue"][..], &["integrations", "list"]] {
        let output = world.producer_with_env(arguments, &settings).await;
        assert_eq!(output.code, 0, "{}", output.stderr);
    }
    let _worker = world.ready_worker(&settings).await;
    std::fs::remove_dir_all(directory).unwrap();
    let (code, error) = refused(&world, &["enqueue"], &settings).await;
    assert_eq!(code, 2);
    assert!(error.contains("AMQP_URL_FILE: cannot read"), "{error}");
}

#[tokio::test]
async fn each_line_of_a_json_log_is_json_and_a_text_log_in_a_file_has_no_escapes() {
    let world = bare_world().await;
    for (arguments, overrides, code) in [
        (&["migrate"][..], [("RUST_LOG", "info")], 0),
        (&["declare"], [("RUST_LOG", "info")], 0),
        (&["migrate"], [("LEDGER_DATABASE_URL", "postgres://127.0.0.1:1/x")], 1),
        (&["declare"], [("AMQP_URL", "mysql://x")], 2),
    ] {
        let output = world.producer_with_env(arguments, &overrides).await;
        assert_eq!(output.code, code, "{}", output.stderr);
        assert_eq!(output.stdout, "");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
        for line in output.stderr.lines() {
            let read: Result<serde_json::Value, _> = serde_json::from_str(line);
            assert!(read.is_ok_and(|line| line["level"].is_string()), "{line}");
        }
    }
    let output = world.producer_with_env(&["migrate"], &[("LOG_FORMAT", "text")]).await;
    assert!(output.stdout.contains("is up to date"), "{}", output.stdout);
    assert!(output.stderr.contains("INFO"), "{}", output.stderr);
    assert!(!output.stderr.contains('\u{1b}'), "{:?}", output.stderr);
}

/// The test holds a table's lock, so the first statement of `status` that reads it is slow.
#[tokio::test]
async fn a_slow_statement_is_one_short_line_with_its_name() {
    let world = bare_world().await;
    world.succeeds(&["migrate"]).await;
    let pool = world.pool();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("lock table posthog_export.runs in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let status = world.spawn_producer(&["status"], &[("LOG_FORMAT", "text")]).await;
    let waits = async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
               and clock_timestamp() - query_start > interval '1100 ms'",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        waiting > 0
    };
    let patience = std::time::Duration::from_secs(30);
    world.wait_until("a statement is slow", patience, waits).await;
    lock.rollback().await.unwrap();
    status.exited_within(patience).await.unwrap();
    let log = status.stderr();
    let slow: Vec<&str> = log.lines().filter(|line| line.contains("slow statement")).collect();
    assert_eq!(slow.len(), 1, "{log}");
    assert!(slow[0].contains("statement=\"ledger_"), "{log}");
    assert!(slow[0].len() < 200 && slow[0].contains("seconds="), "{log}");
    assert!(!log.contains("select"), "{log}");
}

#[tokio::test]
async fn langfuses_own_url_works_as_it_is_and_no_value_of_it_is_printed() {
    let world = bare_world().await;
    let url = format!(
        "{}?schema=public&connection_limit=5&pool_timeout=10&connect_timeout=30&socket_timeout=7&pgbouncer=true\
         &statement_cache_size=0&sslmode=prefer&sslaccept=accept_invalid_certs&sslidentity=hunter2.p12\
         &sslpassword=hunter2&application_name=langfuse",
        world.database_url
    );
    let quoted = format!("\"{url}\"");
    let overrides = [("DATABASE_URL", quoted.as_str()), ("RUST_LOG", "debug")];
    let output = world.producer_with_env(&["enqueue"], &overrides).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    let named: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.contains("sslpassword"))
        .collect();
    assert_eq!(named.len(), 1, "{}", output.stderr);
    assert!(
        named[0].contains("INFO") && named[0].contains("pool_timeout"),
        "{}",
        named[0]
    );
    assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    assert!(!output.stderr.contains("unrecognized"), "{}", output.stderr);
}

#[tokio::test]
async fn a_number_sign_in_a_password_is_refused_in_every_variable() {
    let world = bare_world().await;
    let bad = [
        ("DATABASE_URL", "postgres://u:5432#hunter2@h/d"),
        ("LEDGER_DATABASE_URL", "postgres://u:5432#hunter2@h/d"),
        ("AMQP_URL", "amqp://u:5432#hunter2@h/%2f"),
        ("AMQP_MANAGEMENT_URL", "http://u:5432#hunter2@h"),
    ];
    world.set("LOG_FORMAT", "text");
    let (code, error) = refused(&world, &["doctor"], &bad).await;
    assert_eq!(code, 2);
    for (name, _) in bad {
        let line = error.lines().find(|line| line.contains(&format!("- {name} "))).unwrap();
        assert!(line.contains("percent-encode `#` as `%23`"), "{error}");
    }
    assert!(!error.contains("5432") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn the_schema_of_the_url_is_the_one_that_is_read() {
    let world = bare_world().await;
    let project = Project::of(&world, PROJECT, KEY);
    world.posthog.known_key(KEY);
    project.seed(&[yesterday()], 3, 1).await;
    // Two Langfuses in one database, of which the one in `public` is empty.
    for statement in [
        "alter schema public rename to \"Lang fuse\"",
        "create schema public",
        "do $$ declare t text; begin
           for t in select tablename from pg_tables where schemaname = 'Lang fuse' loop
             execute format('create table public.%I (like \"Lang fuse\".%I including all)', t, t);
           end loop;
         end $$",
    ] {
        sqlx::query(statement).execute(&world.pool()).await.unwrap();
    }
    let output = world.producer_with_env(&["enqueue", "--json"], &[]).await;
    assert!(
        output.stdout.contains(r#""jobs":[]"#) || output.stdout.contains(r#""jobs": []"#),
        "{}",
        output.stdout
    );

    let url = format!("{}?schema=Lang%20fuse", world.database_url);
    let settings = [("DATABASE_URL", url.as_str())];
    let output = world.producer_with_env(&["enqueue"], &settings).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    let _worker = world.ready_worker(&settings).await;
    project.wait_state(yesterday(), "daily", "completed").await;
    assert!(!world.posthog.events(KEY).is_empty());

    let url = format!("{}?schema=nowhere", world.database_url);
    let output = world.producer_with_env(&["status"], &[("DATABASE_URL", &url)]).await;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("`?schema=name`"), "{}", output.stderr);
}
