//! Whatever dies, is cut or is slow: every event arrives, none twice. Real programs, real servers; each window between two
//! steps is opened from outside, and each test shows that its fault bit.
//!
//! `cargo test -p worker --test fault`; not a part of plain `cargo test`, which stays quick.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

mod broker;
mod cluster;
mod crash_windows;
mod database;
mod gate;
mod healing;
mod isolation;
mod ladder;
mod leases;
mod poison;
mod posthog;
mod shutdown;
mod simulation;
mod tls;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::NaiveDate;
use testkit::oracle::Oracle;
use testkit::posthog::{Behavior, Rule};
use testkit::{Message, Output, Servers, Worker, World, langfuse, seed};
use tokio::sync::{Mutex, MutexGuard};

const KEY: &str = "phc_test_key_of_the_project";
const PROJECT: &str = "project one";
const DAY: &str = "2024-06-01";
const JOBS: &str = "posthog-export.jobs";
const BACKFILL: &str = "posthog-export.backfill";
const DEAD: &str = "posthog-export.dead-letters";
const PATIENCE: Duration = Duration::from_secs(60);

/// Many small pages and batches: many windows.
const SMALL: [(&str, &str); 4] = [
    ("PAGE_ROWS", "50"),
    ("BATCH_MAX_EVENTS", "10"),
    ("SENDS_IN_FLIGHT", "2"),
    ("WORKER_CONCURRENCY", "1"),
];

fn day() -> NaiveDate {
    DAY.parse().unwrap()
}

/// A world with a ledger, queues, and one project with a day of rows.
async fn world(traces: usize) -> World {
    prepared(World::new().await, traces).await
}

async fn prepared(mut world: World, traces: usize) -> World {
    // A peer that vanished is noticed in seconds.
    let amqp_url = heartbeat(&world.amqp_url);
    world.set("AMQP_URL", &amqp_url);
    for command in ["migrate", "declare"] {
        succeeds(&world, &[command]).await;
    }
    add_project(&world, PROJECT, KEY).await;
    if traces > 0 {
        seed::realistic(&world.pool(), PROJECT, &[day()], traces, 1).await;
    }
    world
}

async fn add_project(world: &World, project: &str, key: &str) {
    langfuse::add_project(&world.pool(), project, project).await;
    langfuse::add_integration(&world.pool(), project, &world.posthog.url(), key, true).await;
    world.posthog.known_key(key);
}

fn heartbeat(amqp_url: &str) -> String {
    format!("{amqp_url}?heartbeat=2")
}

/// Servers that the tests in here stop and kill, one test at a time.
async fn fragile() -> MutexGuard<'static, Option<Arc<Servers>>> {
    static FRAGILE: OnceLock<Mutex<Option<Arc<Servers>>>> = OnceLock::new();
    let mut servers = FRAGILE.get_or_init(Mutex::default).lock().await;
    if let Some(left) = servers.as_ref() {
        // A test before this one may have failed while they were down.
        tokio::join!(left.postgres.start_again(), left.rabbitmq.start_again());
        let rabbitmq = left.rabbitmq.clone();
        let limit = ["set_vm_memory_high_watermark", "absolute", "4GB"];
        tokio::task::spawn_blocking(move || rabbitmq.ctl(&limit)).await.unwrap();
    } else {
        *servers = Some(Arc::new(Servers::start().await));
    }
    servers
}

async fn succeeds(world: &World, arguments: &[&str]) -> Output {
    let output = world.producer(arguments).await;
    assert_eq!(
        output.code, 0,
        "producer {arguments:?}\n{}{}",
        output.stdout, output.stderr
    );
    output
}

/// A job message of a run, or without one.
fn message(project: &str, run: Option<&str>) -> Vec<u8> {
    let run = run.map_or(String::new(), |run| format!(r#","run":"{run}""#));
    format!(r#"{{"project_id":"{project}","day":"{DAY}"{run}}}"#).into_bytes()
}

/// Publishes the day's daily job.
async fn publish(world: &World) {
    publish_body(world, &message(PROJECT, Some("daily"))).await;
}

async fn publish_body(world: &World, body: &[u8]) {
    assert!(
        world.publish("posthog-export", "job", body).await,
        "no queue took the message"
    );
}

/// A worker that is consuming.
async fn ready(world: &World, settings: &[&[(&str, &str)]]) -> Worker {
    let worker = world.worker(&settings.concat()).await;
    worker.wait_ready().await;
    worker
}

/// Each answer takes a while, so that a fault meets a job at work.
fn slow(world: &World, milliseconds: u64) {
    let delay = Behavior::Delay(Duration::from_millis(milliseconds));
    world.posthog.script(Rule::always(delay));
}

async fn stored(world: &World, events: usize) {
    world
        .posthog
        .until(|posthog| posthog.counts(KEY).stored >= events)
        .await;
}

async fn depth(world: &World, queue: &str, messages: u64) {
    let what = format!("{messages} messages are ready in {queue}");
    world
        .wait_until(&what, PATIENCE, async || world.queue_depth(queue).await == messages)
        .await;
}

/// Waits until the day's daily run is completed, and holds what arrived against the database.
async fn arrives(world: &World) {
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_delivered(world).await;
}

async fn assert_delivered(world: &World) {
    assert_days_delivered(world, &[day()]).await;
}

/// Of a world with rows on other days, too.
async fn assert_days_delivered(world: &World, days: &[NaiveDate]) {
    let oracle = Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    let report = oracle.check(&world.posthog, KEY, PROJECT, days).await;
    report.assert_delivered();
}

/// A field of the daily run's row, as text.
async fn field(world: &World, name: &str) -> Option<String> {
    sqlx::query_scalar::<_, Option<String>>(
        "select to_jsonb(r) ->> $2 from posthog_export.runs r where project_id = $1 and run = 'daily'",
    )
    .bind(PROJECT)
    .bind(name)
    .fetch_optional(&world.pool())
    .await
    .unwrap()
    .flatten()
}

/// How many events the ledger counts as sent.
async fn sent(world: &World) -> i64 {
    sqlx::query_scalar("select coalesce(sum(sent), 0)::bigint from posthog_export.streams where project_id = $1")
        .bind(PROJECT)
        .fetch_one(&world.pool())
        .await
        .unwrap()
}

/// Changes the ledger, as the passing of time or a restored backup would.
async fn alter(world: &World, change: &'static str) {
    sqlx::raw_sql(change).execute(&world.pool()).await.unwrap();
}

/// Waits for a dead letter and takes it.
async fn dead_letter(world: &World) -> Message {
    world
        .wait_until("there is a dead letter", PATIENCE, || world.get_message(DEAD))
        .await
}
