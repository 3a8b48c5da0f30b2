//! The line on real servers: the real worker, a private PostgreSQL and RabbitMQ, a fake PostHog, judged by the oracle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

mod allocator;
mod egress;
mod failures;
mod gauges;
mod health;
mod key_check;
mod line;
mod logs;
mod messages;
mod neighbour;
mod pages;
mod stop;
mod tls;
mod upgrade;

use std::time::Duration;

use chrono::NaiveDate;
use serde_json::Value;
use testkit::oracle::Oracle;
use testkit::{World, langfuse};

const KEY: &str = "phc_test_key_of_the_project";
const PROJECT: &str = "project one";
const DAY: &str = "2024-06-01";
const PATIENCE: Duration = Duration::from_secs(60);

fn day() -> NaiveDate {
    DAY.parse().unwrap()
}

/// A world with a ledger, and one project whose integration leads to the fake PostHog.
async fn world() -> World {
    let world = World::new().await;
    shared::ledger::migrator().run(&world.pool()).await.unwrap();
    langfuse::add_project(&world.pool(), PROJECT, "Project One").await;
    langfuse::add_integration(&world.pool(), PROJECT, &world.posthog.url(), KEY, true).await;
    world.posthog.known_key(KEY);
    world
}

fn message(run: &str) -> Vec<u8> {
    format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"{run}"}}"#).into_bytes()
}

async fn publish(world: &World, body: &[u8]) {
    assert!(
        world.publish("posthog-export", "job", body).await,
        "no queue took the message"
    );
}

async fn assert_delivered(world: &World) {
    let oracle = Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    let report = oracle.check(&world.posthog, KEY, PROJECT, &[day()]).await;
    report.assert_clean();
    assert_eq!(report.delivered, report.expected);
}

/// The ledger's counts of a run: sent, rejected.
async fn counts(world: &World, run: &str) -> (i64, i64) {
    sqlx::query_as(
        "select coalesce(sum(sent), 0)::bigint, coalesce(sum(rejected), 0)::bigint from posthog_export.streams
         where project_id = $1 and run = $2",
    )
    .bind(PROJECT)
    .bind(run)
    .fetch_one(&world.pool())
    .await
    .unwrap()
}

/// A field of a run's row, as text.
async fn field(world: &World, run: &str, name: &str) -> Option<String> {
    sqlx::query_scalar::<_, Option<String>>(
        "select to_jsonb(r) ->> $3 from posthog_export.runs r where project_id = $1 and run = $2",
    )
    .bind(PROJECT)
    .bind(run)
    .bind(name)
    .fetch_optional(&world.pool())
    .await
    .unwrap()
    .flatten()
}

/// Waits for a dead letter and takes it: its body and headers.
async fn dead_letter(world: &World) -> (Vec<u8>, Value) {
    let queue = "posthog-export.dead-letters";
    let message = world
        .wait_until("there is a dead letter", PATIENCE, || world.get_message(queue))
        .await;
    (message.body, message.headers)
}
