//! The line on real servers: the real worker, a private PostgreSQL and RabbitMQ, a fake PostHog,
//! judged by the oracle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

mod allocator;
mod changed;
mod claims;
mod contract;
mod egress;
mod failures;
mod gauges;
mod health;
mod key_check;
mod line;
mod logs;
mod messages;
mod neighbour;
mod omit;
mod pages;
mod small_days;
mod step_endings;
mod steps;
mod stop;
mod tls;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use testkit::{Project, World};

const KEY: &str = "phc_test_key_of_the_project";
const PROJECT: &str = "project one";
const DAY: &str = "2024-06-01";
const PATIENCE: Duration = Duration::from_secs(60);

fn day() -> NaiveDate {
    DAY.parse().unwrap()
}

/// A world with a ledger, and one project whose integration leads to the fake PostHog.
async fn world() -> (Arc<World>, Project) {
    let world = Arc::new(World::new().await);
    shared::ledger::migrator().run(&world.pool()).await.unwrap();
    let project = Project::add(&world, PROJECT, KEY).await;
    (world, project)
}
