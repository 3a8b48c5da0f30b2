//! What a worker sends of a small Langfuse database, twice, with changes in between, and the numbers
//! that the tiles of a dashboard should show, from that database by plain SQL. One JSON document on
//! standard output, for `.ci/run clickhouse`.

#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{Days, NaiveDate};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use testkit::{Project, Servers, World};

const KEY: &str = "phc_tiles";
/// The project of the dashboard, and another one that sends to the same PostHog.
const PROJECTS: [&str; 2] = ["one", "two"];
/// Days that the dashboard shows; the database has one more at each end.
const DAYS: u64 = 12;
const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2024, 6, 1).expect("a date");
const CONVERSION: &str = "signed_up";
/// A PostHog project has a time zone, and a dashboard shows days of it.
const ZONES: [&str; 3] = ["UTC", "Asia/Kolkata", "America/Los_Angeles"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let servers = Arc::new(Servers::start().await);
    let world = Arc::new(World::on(Arc::clone(&servers)).await);
    let made = rows_and_numbers(&world).await;
    drop(world);
    if let Some(servers) = Arc::into_inner(servers) {
        servers.close().await;
    }
    println!("{}", made?);
    Ok(())
}

async fn rows_and_numbers(world: &Arc<World>) -> anyhow::Result<Value> {
    let pool = world.pool();
    let mut projects = Vec::new();
    for id in PROJECTS {
        projects.push(Project::add(world, id, KEY).await);
    }
    run(&pool, include_str!("seed.sql")).await?;
    world.succeeds(&["migrate"]).await;
    world.succeeds(&["declare"]).await;
    let worker = world.worker(&[]).await;

    let days: Vec<NaiveDate> = (0..DAYS + 2).map(|day| FIRST - Days::new(1) + Days::new(day)).collect();
    for project in &projects {
        export(project, &days, "daily").await;
    }
    let mut events = sent(world, 1);
    // Rows that changed since are sent again; PostHog has not folded the copies of before yet.
    world.posthog.reset();
    run(&pool, include_str!("change.sql")).await?;
    export(&projects[0], &days, "again").await;
    events.extend(sent(world, 2));
    drop(worker);
    events.extend(app_events(&pool).await?);

    let mut expected = BTreeMap::new();
    for zone in ZONES {
        expected.insert(zone, numbers(&pool, zone).await?);
    }
    Ok(json!({
        "project": PROJECTS[0],
        "conversion": CONVERSION,
        "since": FIRST,
        "until": FIRST + Days::new(DAYS),
        "events": events,
        "expected": expected,
    }))
}

async fn export(project: &Project, days: &[NaiveDate], named: &str) {
    for day in days {
        project.publish(day, named).await;
    }
    for day in days {
        project.wait_state(day, named, "completed").await;
    }
}

/// What PostHog got since it was emptied; `insert` tells which of two copies came later.
fn sent(world: &World, insert: u8) -> Vec<Value> {
    let mut events = world.posthog.events(KEY);
    for event in &mut events {
        event["insert"] = insert.into();
    }
    events
}

/// What the application itself sends to PostHog.
async fn app_events(pool: &PgPool) -> anyhow::Result<Vec<Value>> {
    let events = "SELECT jsonb_build_object('insert', 1, 'event', event, 'distinct_id', person, 'uuid', md5(id)::uuid,
            'timestamp', to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'properties', '{}'::jsonb)
        FROM tiles.app_events ORDER BY id";
    Ok(sqlx::query_scalar(events).fetch_all(pool).await?)
}

/// The rows of each tile, by its name.
async fn numbers(pool: &PgPool, zone: &str) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut connection = pool.acquire().await?;
    let bound = [
        ("project", PROJECTS[0].to_owned()),
        ("conversion", CONVERSION.to_owned()),
        ("zone", zone.to_owned()),
        ("since", FIRST.to_string()),
        ("until", (FIRST + Days::new(DAYS)).to_string()),
    ];
    for (name, value) in bound {
        sqlx::query("SELECT set_config('tiles.' || $1, $2, false)")
            .bind(name)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    let mut numbers = BTreeMap::new();
    for entry in Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/bin/tile-rows/expected")
        .read_dir()?
    {
        let path = entry?.path();
        let name = path
            .file_stem()
            .context("a file has a name")?
            .to_string_lossy()
            .into_owned();
        let select = std::fs::read_to_string(&path)?;
        let rows = format!("SELECT coalesce(jsonb_agg(row), '[]') FROM ({select}) AS row");
        let rows: Value = sqlx::query_scalar(AssertSqlSafe(rows))
            .fetch_one(&mut *connection)
            .await
            .with_context(|| name.clone())?;
        numbers.insert(name, rows);
    }
    Ok(numbers)
}

async fn run(pool: &PgPool, sql: &'static str) -> anyhow::Result<()> {
    sqlx::raw_sql(sql).execute(pool).await?;
    Ok(())
}
