//! A whole run of the line, with failure and requeue, leaves no key and no password anywhere: not
//! in logs, output, errors, metrics, the ledger, headers of messages, or the arguments of
//! processes.

use std::time::Duration;

use testkit::{DEAD, Project, World, langfuse, lines, wait};

use crate::{PROJECT, bare_world, day, yesterday};

const PATIENCE: Duration = Duration::from_secs(60);
const WRONG_KEY: &str = "phc_wrong_hunter2_key";
const RIGHT_KEY: &str = "phc_right_hunter2_key";

/// All that was seen, and where.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn processes(&mut self, world: &World) {
        // Every process below this one: the programs under test are its children.
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path();
            let arguments = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            let program = arguments.split(' ').next().unwrap_or_default().to_owned();
            if program.ends_with("/worker") || program.ends_with("/producer") {
                self.add(&format!("arguments in {}", world.vhost), arguments);
            }
        }
    }

    /// Whether this program's arguments were looked at while it ran.
    fn looked_at(&self, program: &str) -> bool {
        let mut arguments = self.0.iter().filter(|(place, _)| place.starts_with("arguments"));
        arguments.any(|(_, text)| text.contains(program))
    }

    fn holds_none_of(&self, secrets: &[(&str, String)]) {
        for (place, text) in &self.0 {
            for (what, secret) in secrets {
                let at = text.find(secret.as_str());
                let around = at.map(|at| text[..at].chars().rev().take(80).collect::<String>());
                assert!(
                    at.is_none(),
                    "{what} in {place}, after {:?}",
                    around.map(|a| a.chars().rev().collect::<String>())
                );
            }
        }
    }
}

/// Every row of our schema, as text.
async fn ledger_text(world: &World) -> String {
    let mut text = String::new();
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = 'posthog_export'")
            .fetch_all(&world.pool())
            .await
            .unwrap();
    assert!(tables.len() >= 5, "{tables:?}");
    for table in tables {
        let rows = format!("select coalesce(string_agg(t::text, E'\\n'), '') from posthog_export.{table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(rows))
            .fetch_one(&world.pool())
            .await
            .unwrap();
        text.push_str(&rows);
    }
    text
}

#[tokio::test]
async fn no_secret_shows_anywhere() {
    let world = bare_world().await;
    let project = Project::of(&world, PROJECT, RIGHT_KEY);
    // The server trusts connections from this address, so it accepts any password. Everything that
    // can be logged is logged.
    let database = world.database_url.replace("postgres@", "postgres:hunter2database@");
    world.set("DATABASE_URL", &database);
    world.set("RUST_LOG", "debug,worker=trace,shared=trace,producer=trace");
    let broker_password = world.amqp_url.split([':', '@']).nth(2).unwrap().to_owned();
    assert_eq!(
        broker_password.len(),
        16,
        "the broker's password is long enough to look for"
    );
    let management = world.management_url.clone();
    world.set("AMQP_MANAGEMENT_URL", &management);
    project.seed(&[yesterday(), day("2024-06-01")], 20, 9).await;
    langfuse::add_integration(&world.pool(), PROJECT, &world.posthog.url(), WRONG_KEY, true).await;
    let stored: String = sqlx::query_scalar("select encrypted_posthog_api_key from posthog_integrations")
        .fetch_one(&world.pool())
        .await
        .unwrap();

    let mut seen = Seen::default();
    let id = format!("{PROJECT}/{}/daily", yesterday());
    let run = async |seen: &mut Seen, arguments: &[&str], settings: &[(&str, &str)]| {
        let output = world.producer_with_env(arguments, settings).await;
        seen.add(&format!("output of {arguments:?} {}", output.code), output.stdout);
        seen.add(&format!("errors of {arguments:?}"), output.stderr);
    };
    run(&mut seen, &["migrate"], &[]).await;
    run(&mut seen, &["declare"], &[]).await;
    let worker = world.ready_worker(&[("WORKER_CONCURRENCY", "1")]).await;
    run(&mut seen, &["enqueue"], &[]).await;
    let dead = || async { world.queue_depth(DEAD).await > 0 };
    world.wait_until("there is a dead letter", PATIENCE, dead).await;
    seen.processes(&world);
    for arguments in [
        &["status"][..],
        &["status", "--json", "--project", PROJECT],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--json"],
        &["dead-letters", "show", &id],
        &["projects", "list"],
        &["projects", "list", "--paused", "--json"],
        &["integrations", "list"],
        &["integrations", "check"],
        &["doctor"],
    ] {
        run(&mut seen, arguments, &[]).await;
    }
    // Look at the dead letter's headers; it is requeued later.
    let message = world.get_message(DEAD).await.unwrap();
    seen.add("headers of the dead letter", message.headers.to_string());
    seen.add(
        "body of the dead letter",
        String::from_utf8_lossy(&message.body).into_owned(),
    );
    seen.add("ledger after the failure", ledger_text(&world).await);
    // Servers that are away, and wrong passwords, are errors with addresses.
    for (name, value) in [
        ("DATABASE_URL", "postgres://u:hunter2away@127.0.0.1:1/x"),
        ("AMQP_URL", "amqp://u:hunter2away@127.0.0.1:1/%2f"),
        ("AMQP_URL", &world.amqp_url.replace(&broker_password, "hunter2away")),
        ("AMQP_MANAGEMENT_URL", "http://u:hunter2away@127.0.0.1:1"),
        ("DATABASE_URL", "nonsense hunter2away"),
    ] {
        run(&mut seen, &["enqueue"], &[(name, value)]).await;
        run(&mut seen, &["doctor"], &[(name, value)]).await;
    }

    world.posthog.known_key(RIGHT_KEY);
    run(
        &mut seen,
        &["integrations", "set", "--project", PROJECT],
        &[("POSTHOG_API_KEY", RIGHT_KEY)],
    )
    .await;
    run(&mut seen, &["dead-letters", "requeue", "--all", "--yes"], &[]).await;
    // The scheduler enqueues when it starts, and is looked at while it runs.
    let scheduler = world.spawn_producer(&["schedule"], &[]).await;
    let says = async || scheduler.stderr().contains(lines::NEXT_ENQUEUE);
    assert!(wait::until(PATIENCE, says).await.is_some(), "{}", scheduler.tail());
    project.wait_state(yesterday(), "daily", "completed").await;
    seen.processes(&world);
    scheduler.terminate();
    let ended = scheduler.exited_within(PATIENCE).await;
    assert!(ended.is_some(), "{}", scheduler.tail());
    seen.add("the scheduler's log", scheduler.log());
    let yesterday = yesterday().to_string();
    run(&mut seen, &["replay", "--project", PROJECT, "--day", &yesterday], &[]).await;
    run(&mut seen, &["projects", "pause", PROJECT, "--json"], &[]).await;
    run(&mut seen, &["projects", "resume", PROJECT], &[]).await;
    run(&mut seen, &["dead-letters", "discard", "--all", "--yes"], &[]).await;
    seen.add("metrics", worker.metrics().await);
    seen.add("ledger", ledger_text(&world).await);
    worker.terminate();
    worker.wait_exit().await;
    seen.add("the worker's log", worker.log());

    // Show that the test looks at the right places.
    for (place, part) in [
        ("the worker's log", "completed"),
        ("the scheduler's log", lines::NEXT_ENQUEUE),
        ("metrics", "posthog_export"),
        ("ledger", PROJECT),
        ("headers of the dead letter", "unauthorized"),
    ] {
        let found = seen.0.iter().find(|(name, _)| name == place).unwrap();
        assert!(found.1.contains(part), "{place}: {}", found.1);
    }
    for program in ["/worker", "/producer schedule"] {
        assert!(seen.looked_at(program), "{program} was not looked at");
    }
    let secrets = [
        ("the wrong key", WRONG_KEY.to_owned()),
        ("the right key", RIGHT_KEY.to_owned()),
        ("the stored key", stored),
        ("the encryption key", langfuse::ENCRYPTION_KEY.to_owned()),
        ("the database's password", "hunter2database".to_owned()),
        ("another password", "hunter2away".to_owned()),
        ("the broker's password", broker_password),
    ];
    seen.holds_none_of(&secrets);
}
