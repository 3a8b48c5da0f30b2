//! Whatever dies, is cut or is slow: every event arrives, none twice. Real programs, real servers;
//! each window between two steps is opened from outside, and each test shows that its fault bit.
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
mod steps;
mod tls;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::NaiveDate;
use testkit::posthog::{Behavior, Rule};
use testkit::{Project, Servers, Worker, World};
use tokio::sync::{Mutex, MutexGuard};

const KEY: &str = "phc_test_key_of_the_project";
const PROJECT: &str = "project one";
const DAY: &str = "2024-06-01";
const PATIENCE: Duration = Duration::from_secs(60);

/// Many small pages and batches, so that a fault meets each step.
const SMALL: [(&str, &str); 4] = [
    ("PAGE_ROWS", "50"),
    ("BATCH_MAX_EVENTS", "10"),
    ("SENDS_IN_FLIGHT", "2"),
    ("WORKER_CONCURRENCY", "1"),
];

fn day() -> NaiveDate {
    DAY.parse().unwrap()
}

/// A world with a ledger and queues, and one project with a day of rows.
async fn world(traces: usize) -> (Arc<World>, Project) {
    prepared(World::new().await, traces).await
}

async fn prepared(world: World, traces: usize) -> (Arc<World>, Project) {
    let world = Arc::new(world);
    // With short heartbeats, a peer that vanished is noticed in seconds.
    world.set("AMQP_URL", &heartbeat(&world.amqp_url));
    for command in ["migrate", "declare"] {
        world.succeeds(&[command]).await;
    }
    let project = Project::add(&world, PROJECT, KEY).await;
    if traces > 0 {
        project.seed(&[day()], traces, 1).await;
    }
    (world, project)
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

/// A worker that is consuming.
async fn ready(world: &World, settings: &[&[(&str, &str)]]) -> Worker {
    world.ready_worker(&settings.concat()).await
}

/// Each answer takes a while, so that a fault meets a job at work.
fn slow(world: &World, milliseconds: u64) {
    let delay = Behavior::Delay(Duration::from_millis(milliseconds));
    world.posthog.script(Rule::always(delay));
}

/// Changes the ledger, as the passing of time or a restored backup would.
async fn alter(world: &World, change: &'static str) {
    sqlx::raw_sql(change).execute(&world.pool()).await.unwrap();
}
