//! The caps that let a worker live beside others on a production database.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use testkit::{Worker, World};

use crate::{DAY, KEY, PATIENCE, day, world};

/// Connections of the worker to Langfuse's tables at this moment.
async fn connections(world: &World, worker: &Worker) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = $1",
    )
    .bind(format!("worker-{}", worker.pid()))
    .fetch_one(&world.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn one_connection_serves_three_jobs_at_once() {
    let (world, project) = world().await;
    let days: Vec<_> = day().iter_days().take(3).collect();
    project.seed(&days, 150, 1).await;
    let worker = world
        .ready_worker(&[
            ("DATABASE_CONNECTIONS", "1"),
            ("WORKER_CONCURRENCY", "3"),
            ("PAGE_ROWS", "10"),
        ])
        .await;
    project.publish_all(&days).await;
    let most = AtomicI64::new(0);
    let completed = async || {
        most.fetch_max(connections(&world, &worker).await, Ordering::Relaxed);
        let query = "select count(*) from posthog_export.runs where state = 'completed'";
        let done: i64 = sqlx::query_scalar(query).fetch_one(&world.pool()).await.unwrap();
        done == 3
    };
    world
        .wait_until("the three days are completed", PATIENCE, completed)
        .await;
    assert_eq!(most.into_inner(), 1);
    project.assert_delivered(&days).await;
}

#[tokio::test]
async fn a_limit_of_rows_a_second_is_held() {
    let (world, project) = world().await;
    project.seed(&[day()], 200, 2).await;
    let _worker = world.ready_worker(&[("ROWS_PER_SECOND", "250")]).await;
    let began = Instant::now();
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    let took = began.elapsed();
    project.assert_delivered(&[DAY]).await;
    let rows = u32::try_from(world.posthog.counts(KEY).stored).unwrap();
    // The first page is read without waiting, and what was late by a tenth of a second is made up for.
    let least = Duration::from_secs(1) * (rows - 250) / 250;
    let late = Duration::from_millis(100);
    assert!(rows > 500 && took + late >= least, "{rows} rows in {took:?}");
}

#[tokio::test]
async fn a_job_that_waits_for_its_rows_holds_no_connection_and_stops_at_once() {
    let (world, project) = world().await;
    project.seed(&[day()], 50, 3).await;
    let settings = [("ROWS_PER_SECOND", "1"), ("DATABASE_CONNECTIONS", "1")];
    let worker = world.ready_worker(&settings).await;
    project.publish(DAY, "daily").await;
    world.posthog.until(|posthog| posthog.counts(KEY).stored > 0).await;
    // Readiness asks the database, over the one connection.
    worker.wait_ready().await;
    let asked = Instant::now();
    worker.terminate();
    assert_eq!(worker.wait_exit().await.code(), Some(0), "{}", worker.log());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(project.state(DAY, "daily").await, "queued");
}

#[tokio::test]
async fn a_limit_of_events_a_second_is_held_and_a_job_that_waits_for_it_stops_at_once() {
    let (world, project) = world().await;
    project.seed(&[day()], 200, 2).await;
    let worker = world.ready_worker(&[("EVENTS_PER_SECOND", "250")]).await;
    let began = Instant::now();
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    let took = began.elapsed();
    project.assert_delivered(&[DAY]).await;
    let events = u32::try_from(world.posthog.counts(KEY).stored).unwrap();
    // The first body leaves without waiting, and what was late by a tenth of a second is made up for.
    let least = Duration::from_secs(1) * (events - 250) / 250;
    let late = Duration::from_millis(100);
    assert!(events > 500 && took + late >= least, "{events} events in {took:?}");
    worker.terminate();
    worker.wait_exit().await;

    let worker = world.ready_worker(&[("EVENTS_PER_SECOND", "1")]).await;
    let before = world.posthog.counts(KEY).received;
    project.publish(DAY, "again").await;
    world
        .posthog
        .until(|posthog| posthog.counts(KEY).received > before)
        .await;
    let asked = Instant::now();
    worker.terminate();
    assert_eq!(worker.wait_exit().await.code(), Some(0), "{}", worker.log());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(project.state(DAY, "again").await, "queued");
}
