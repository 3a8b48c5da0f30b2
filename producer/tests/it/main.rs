//! The real producer against a private PostgreSQL, a private RabbitMQ and a fake PostHog.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

mod backup;
mod console;
mod dashboards;
mod dead_letters;
mod doctor;
mod enqueue;
mod errors;
mod first;
mod fleet;
mod fresh;
mod heal;
mod integrations;
mod late;
mod least_rights;
mod line;
mod observations;
mod oracle;
mod poolers;
mod projects;
mod replay;
mod schedule;
mod secrets;
mod settings;
mod settled;
mod status;
mod steps;
mod tls;
mod verify;
mod verify_line;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde_json::Value;
use testkit::seed::{Rows, Trace, at};
use testkit::{BACKFILL, JOBS, Message, World, langfuse};

const KEY: &str = "phc_test_key_of_the_project";
const PROJECT: &str = "project one";

/// A world with one project whose integration is enabled, and nothing of ours yet.
async fn bare_world() -> Arc<World> {
    let world = Arc::new(World::new().await);
    // Yesterday is over as soon as it has ended, whenever the tests run.
    world.set("EXPORT_LAG", "0s");
    // Only the tests of settled runs want them.
    world.set("SETTLE_AFTER", "off");
    add_project(&world, PROJECT, true).await;
    world
}

/// The same, migrated and declared.
async fn world() -> Arc<World> {
    let world = bare_world().await;
    for command in ["migrate", "declare"] {
        world.succeeds(&[command]).await;
    }
    world
}

async fn add_project(world: &World, id: &str, enabled: bool) {
    langfuse::add_project(&world.pool(), id, &format!("Name of {id}")).await;
    langfuse::add_integration(&world.pool(), id, &world.posthog.url(), KEY, enabled).await;
}

async fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.succeeds(arguments).await;
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

/// Gives each of these days one trace.
async fn add_traces(world: &World, project: &str, days: &[NaiveDate]) {
    let trace = |day: &NaiveDate| Trace::new(project, &format!("trace of {project} {day}"), at(*day, 12, 0, 0, 0));
    let rows = Rows {
        traces: days.iter().map(trace).collect(),
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
}

/// A message's headers, without the broker's own delivery count.
fn headers(message: &Message) -> Value {
    let mut headers = message.headers.clone();
    headers.as_object_mut().unwrap().remove("x-delivery-count");
    headers
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn yesterday() -> NaiveDate {
    Utc::now().date_naive() - Days::new(1)
}

/// Takes everything from a queue.
async fn drain(world: &World, queue: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = world.get_message(queue).await {
        messages.push(message);
    }
    messages
}

/// What both job queues hold, as `day run`.
async fn jobs(world: &World) -> Vec<String> {
    let mut jobs = Vec::new();
    for queue in [JOBS, BACKFILL] {
        for message in drain(world, queue).await {
            let body = message.json();
            jobs.push(format!(
                "{} {}",
                body["day"].as_str().unwrap(),
                body["run"].as_str().unwrap()
            ));
        }
    }
    jobs
}

/// What the ledger holds, as `project/day/run state`.
async fn ledger(world: &World) -> BTreeSet<String> {
    let rows: Vec<String> =
        sqlx::query_scalar("select project_id || '/' || day || '/' || run || ' ' || state from posthog_export.runs")
            .fetch_all(&world.pool())
            .await
            .unwrap();
    rows.into_iter().collect()
}

/// A row of the ledger, as a worker would have left it.
async fn add_run(world: &World, the_day: NaiveDate, run: &str, state: &str, began: Option<DateTime<Utc>>) {
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, started_at, completed_at)
         values ($1, $2, $3, $4, $5, case when $4 = 'completed' then $5 end)",
    )
    .bind(PROJECT)
    .bind(the_day)
    .bind(run)
    .bind(state)
    .bind(began)
    .execute(&world.pool())
    .await
    .unwrap();
}

/// Changes rows of the ledger.
async fn alter(world: &World, change: &'static str) {
    sqlx::query(change).execute(&world.pool()).await.unwrap();
}
