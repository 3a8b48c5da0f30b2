//! The clock for tests: the database and both programs take its time, and see it move.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::PgPool;
use testkit::{Project, World};

const KEY: &str = "phc_key_of_the_clock";
const PROJECT: &str = "clocked";

async fn time(pool: &PgPool, query: &'static str) -> DateTime<Utc> {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

fn assert_about(found: DateTime<Utc>, expected: &str) {
    let expected: DateTime<Utc> = expected.parse().unwrap();
    let after = found - expected;
    assert!(
        (TimeDelta::zero()..TimeDelta::minutes(3)).contains(&after),
        "{found} is not {expected}"
    );
}

#[tokio::test]
async fn connections_see_at_once_that_the_clock_was_moved() {
    let world = World::new().await;
    let before = world.pool();
    time(&before, "select now()").await;
    let clock = world.clock("2024-06-01 10:35").await;
    // A statement is prepared once, and its connection stays the same.
    let mut connection = before.acquire().await.unwrap();
    let statements = ["select now()", "select clock_timestamp()"];
    for expected in ["2024-06-01T10:35:00Z", "2024-06-01T23:05:00Z"] {
        for statement in statements {
            let seen = sqlx::query_scalar(statement).fetch_one(&mut *connection).await;
            assert_about(seen.unwrap(), expected);
        }
        assert_about(clock.now().await, expected);
        clock.forward(TimeDelta::minutes(750)).await;
    }
    clock.set("2031-01-01 00:00:05").await;
    assert_about(clock.now().await, "2031-01-01T00:00:05Z");
    // Langfuse's tables were there before the clock, with defaults of their own.
    testkit::langfuse::add_project(&before, "p", "A project").await;
    sqlx::query("insert into traces (id, project_id) values ('t', 'p')")
        .execute(&mut *connection)
        .await
        .unwrap();
    for column in [
        "select timestamp at time zone 'UTC' from traces",
        "select created_at at time zone 'UTC' from traces",
        "select updated_at at time zone 'UTC' from traces",
    ] {
        assert_about(time(&before, column).await, "2031-01-01T00:00:05Z");
    }
}

#[tokio::test]
async fn both_programs_take_the_time_of_the_database() {
    let world = Arc::new(World::new().await);
    let clock = world.clock("2024-06-02 00:40").await;
    let project = Project::add(&world, PROJECT, KEY).await;
    project.seed(&["2024-06-01".parse().unwrap()], 5, 1).await;
    world.succeeds(&["migrate"]).await;
    world.succeeds(&["enqueue"]).await;
    let pool = world.pool();
    for asked in [
        "select queued_at from posthog_export.runs where run = 'daily'",
        "select asked_at from posthog_export.runs where run = 'daily'",
        "select ended_at from posthog_export.last_enqueue",
    ] {
        assert_about(time(&pool, asked).await, "2024-06-02T00:40:00Z");
    }
    let _worker = world.ready_worker(&[]).await;
    project.arrives("2024-06-01").await;
    for done in [
        "select started_at from posthog_export.runs where run = 'daily'",
        "select completed_at from posthog_export.runs where run = 'daily'",
        "select max(updated_at) from posthog_export.streams",
    ] {
        assert_about(time(&pool, done).await, "2024-06-02T00:40:00Z");
    }
    // The same programs, a day later.
    project.seed(&["2024-06-02".parse().unwrap()], 5, 2).await;
    clock.set("2024-06-03 00:45").await;
    world.succeeds(&["enqueue"]).await;
    project.all_arrive(&["2024-06-01", "2024-06-02"]).await;
    let completed = "select completed_at from posthog_export.runs where day = '2024-06-02' and run = 'daily'";
    assert_about(time(&pool, completed).await, "2024-06-03T00:45:00Z");
}
