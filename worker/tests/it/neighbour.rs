//! The caps that let a worker live beside others on a production database.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use testkit::oracle::Oracle;
use testkit::{Worker, World, seed};

use crate::{DAY, KEY, PATIENCE, PROJECT, assert_delivered, day, field, message, publish, world};

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
    let world = world().await;
    let days: Vec<_> = day().iter_days().take(3).collect();
    seed::realistic(&world.pool(), PROJECT, &days, 150, 1).await;
    let worker = world
        .worker(&[
            ("DATABASE_CONNECTIONS", "1"),
            ("WORKER_CONCURRENCY", "3"),
            ("PAGE_ROWS", "10"),
        ])
        .await;
    worker.wait_ready().await;
    for day in &days {
        let message = format!(r#"{{"project_id":"{PROJECT}","day":"{day}","run":"daily"}}"#);
        publish(&world, message.as_bytes()).await;
    }
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
    let oracle = Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    oracle.check(&world.posthog, KEY, PROJECT, &days).await.assert_clean();
}

#[tokio::test]
async fn a_limit_of_rows_a_second_is_held() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day()], 200, 2).await;
    let worker = world.worker(&[("ROWS_PER_SECOND", "250")]).await;
    worker.wait_ready().await;
    let began = Instant::now();
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    let took = began.elapsed();
    assert_delivered(&world).await;
    let rows = u32::try_from(world.posthog.counts(KEY).stored).unwrap();
    // The first page waits for nothing.
    let least = Duration::from_secs(1) * (rows - 250) / 250;
    assert!(rows > 500 && took >= least, "{rows} rows in {took:?}");
}

#[tokio::test]
async fn a_job_that_waits_for_its_rows_holds_no_connection_and_stops_at_once() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day()], 50, 3).await;
    let settings = [("ROWS_PER_SECOND", "1"), ("DATABASE_CONNECTIONS", "1")];
    let worker = world.worker(&settings).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.posthog.until(|posthog| posthog.counts(KEY).stored > 0).await;
    // Readiness asks the database, over the one connection.
    worker.wait_ready().await;
    let asked = Instant::now();
    worker.terminate();
    assert_eq!(worker.wait_exit().await.code(), Some(0), "{}", worker.log());
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert_eq!(field(&world, "daily", "state").await.as_deref(), Some("queued"));
}
