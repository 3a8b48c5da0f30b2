//! Against a real PgBouncer: what docs/INSTALL.md says of poolers.

use testkit::{PgBouncer, TcpProxy, World};

use crate::bare_world;

/// What makes it let our connections in, and drop what they ask for.
const LENIENT: &str = "ignore_startup_parameters = extra_float_digits, options";

/// One clear error: which variable, what it is, and what to use instead.
fn is_clear(text: &str, variable: &str) {
    let named = text
        .lines()
        .filter(|line| line.contains("connection pooler (PgBouncer"));
    let lines: Vec<&str> = named.collect();
    assert_eq!(lines.len(), 1, "{text}");
    for part in [variable, "DIRECT_URL"] {
        assert!(lines[0].contains(part), "{part} in {text}");
    }
    assert!(!text.contains("panicked") && !text.contains("sqlx_s_"), "{text}");
    assert!(!text.contains("Check that it runs"), "{text}");
}

async fn refuses(world: &World, pooler: &PgBouncer, variable: &str) {
    let url = pooler.url(&world.database_url);
    let settings = [(variable, url.as_str())];
    let output = world.producer_with_env(&["enqueue"], &settings).await;
    assert_eq!(output.code, 2, "{}", output.stderr);
    is_clear(&output.stderr, variable);

    let output = world.producer_with_env(&["doctor", "--json"], &settings).await;
    assert_eq!(output.code, 1, "{}", output.stderr);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let named = |found: &&serde_json::Value| found["found"].as_str().unwrap().contains("connection pooler");
    let named: Vec<_> = report["checks"].as_array().unwrap().iter().filter(named).collect();
    assert!(!named.is_empty(), "{report:#}");
    assert!(
        named[0]["advice"].as_str().unwrap().contains("DIRECT_URL"),
        "{report:#}"
    );

    let worker = world.worker(&settings).await;
    assert_eq!(worker.wait_exit().await.code(), Some(2), "{}", worker.log());
    is_clear(&worker.log(), variable);
}

#[tokio::test]
async fn a_pooler_is_named_whatever_its_mode() {
    let world = bare_world().await;
    world.succeeds(&["migrate"]).await;
    for settings in [
        String::new(),
        format!("pool_mode = session\n{LENIENT}"),
        format!("pool_mode = transaction\n{LENIENT}"),
        format!("pool_mode = statement\n{LENIENT}"),
    ] {
        let pooler = PgBouncer::start(world.servers().directory(), &world.database_url, &settings).await;
        refuses(&world, &pooler, "DATABASE_URL").await;
    }
    let settings = format!("pool_mode = transaction\n{LENIENT}");
    let pooler = PgBouncer::start(world.servers().directory(), &world.database_url, &settings).await;
    refuses(&world, &pooler, "LEDGER_DATABASE_URL").await;
}

/// The database is away when the worker starts, and what comes back is a pooler.
#[tokio::test]
async fn a_pooler_that_appears_later_is_named_as_well() {
    let world = bare_world().await;
    world.succeeds(&["migrate"]).await;
    let settings = format!("pool_mode = transaction\n{LENIENT}");
    let pooler = PgBouncer::start(world.servers().directory(), &world.database_url, &settings).await;
    let proxy = TcpProxy::start(pooler.address()).await;
    proxy.refuse();
    let url = pooler.url(&world.database_url);
    let url = url.replace(&pooler.address().to_string(), &proxy.address().to_string());
    let worker = world.worker(&[("DATABASE_URL", &url)]).await;
    worker.wait_log("DATABASE_URL: Postgres at").await;
    proxy.pass();
    assert_eq!(worker.wait_exit().await.code(), Some(2), "{}", worker.log());
    is_clear(&worker.log(), "DATABASE_URL");
}
