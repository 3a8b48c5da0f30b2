//! What is read of the ledger and the broker for `/metrics`.

use std::collections::BTreeMap;

use shared::job::{Day, Job};
use shared::ledger::{Gauges, Ledger};
use testkit::{Worker, World, lines};

use crate::{DAY, PATIENCE, PROJECT, world};

const OFTEN: (&str, &str) = ("METRICS_INTERVAL", "1s");

/// A metric's samples by their labels.
async fn samples(worker: &Worker, name: &str) -> BTreeMap<String, f64> {
    let text = worker.metrics().await;
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let ours = lines.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'));
    ours.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
        .collect()
}

async fn depth(worker: &Worker, queue: &str) -> f64 {
    samples(worker, "posthog_export_queue_messages").await[&format!("{{queue=\"posthog-export.{queue}\"}}")]
}

async fn wait_depth(world: &World, worker: &Worker, queue: &str, expected: f64) {
    // Compares the bits, so that two unknown depths (NaN) are equal.
    let look = async || depth(worker, queue).await.total_cmp(&expected).is_eq();
    world
        .wait_until(&format!("{queue} holds {expected}"), PATIENCE, look)
        .await;
}

#[tokio::test]
async fn queues_are_counted_without_the_management_plugin_and_survive_one_that_is_missing() {
    let (world, project) = world().await;
    let worker = world.ready_worker(&[("BACKFILL_CONCURRENCY", "0"), OFTEN]).await;
    world.publish_job(b"no job").await;
    assert!(
        world
            .publish("posthog-export", "backfill", &project.message(DAY, "daily"))
            .await
    );
    wait_depth(&world, &worker, "dead-letters", 1.0).await;
    wait_depth(&world, &worker, "backfill", 1.0).await;
    wait_depth(&world, &worker, "jobs", 0.0).await;
    let consumers = samples(&worker, "posthog_export_queue_consumers").await;
    assert_eq!(
        consumers["{queue=\"posthog-export.jobs\"}"].total_cmp(&1.0),
        std::cmp::Ordering::Equal
    );
    assert_eq!(
        consumers["{queue=\"posthog-export.backfill\"}"].total_cmp(&0.0),
        std::cmp::Ordering::Equal
    );

    // A look at a missing queue closes the channel. Nothing else may be disturbed by that.
    let connection = lapin::Connection::connect(&world.amqp_url, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .queue_delete(
            "posthog-export.retry.1s".into(),
            lapin::options::QueueDeleteOptions::default(),
        )
        .await
        .unwrap();
    let unknown = async || depth(&worker, "retry.1s").await.is_nan();
    world.wait_until("the rung is unknown", PATIENCE, unknown).await;
    world.publish_job(b"no job either").await;
    wait_depth(&world, &worker, "dead-letters", 2.0).await;
    wait_depth(&world, &worker, "retry.2s", 0.0).await;
    let log = worker.log();
    assert!(
        !log.contains(lines::SESSION_ENDED) && !log.contains("\"ERROR\",\"message\":\"PRECONDITION"),
        "{log}"
    );
    assert!(!log.contains("\"target\":\"lapin"), "{log}");
}

#[tokio::test]
async fn a_whole_enqueue_is_told_and_a_bounded_one_is_not() {
    let (world, _) = world().await;
    let worker = world.ready_worker(&[OFTEN]).await;
    let last = async || samples(&worker, "posthog_export_last_enqueue_timestamp_seconds").await[""];
    for bounded in [
        &["enqueue", "--project", PROJECT][..],
        &["enqueue", "--from", "2024-06-01"],
        &["enqueue", "--dry-run"],
    ] {
        assert_eq!(world.producer(bounded).await.code, 0);
    }
    assert_eq!(Ledger::new(world.pool()).last_enqueued().await.unwrap(), None);
    assert!(last().await.abs() < 1.0);
    assert_eq!(world.producer(&["enqueue"]).await.code, 0);
    let told = async || last().await > 1e9;
    world.wait_until("the enqueue is told", PATIENCE, told).await;
}

async fn add(world: &World, days_ago: i32, run: &str, state: &str, asked_days_ago: i32) {
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, asked_at, completed_at)
         values ($1, (now() at time zone 'UTC')::date - $2, $3, $4, now() - make_interval(days => $5),
                 case when $4 = 'completed' then now() end)",
    )
    .bind(PROJECT)
    .bind(days_ago)
    .bind(run)
    .bind(state)
    .bind(asked_days_ago)
    .execute(&world.pool())
    .await
    .unwrap();
}

fn days_late(gauges: &Gauges) -> (Option<i64>, Option<i64>) {
    let days = |since: Option<chrono::DateTime<chrono::Utc>>| since.map(|since| (gauges.now - since).num_days());
    (days(gauges.daily_since), days(gauges.backfill_since))
}

#[tokio::test]
async fn lag_is_counted_by_class_and_only_of_what_is_unfinished() {
    let (world, _) = world().await;
    let ledger = Ledger::new(world.pool());
    let gauges = ledger.gauges().await.unwrap();
    assert_eq!((days_late(&gauges), gauges.last_completed), ((None, None), None));

    add(&world, 40, "daily", "completed", 39).await;
    add(&world, 30, "daily", "dead", 29).await;
    add(&world, 25, "daily", "skipped", 24).await;
    let gauges = ledger.gauges().await.unwrap();
    assert_eq!(days_late(&gauges), (None, None));
    assert!(
        gauges
            .last_completed
            .is_some_and(|at| (gauges.now - at).num_seconds() < 60)
    );

    // Enqueued in time, on the day after, and not done since: such a day is late from its own end.
    add(&world, 3, "daily", "waiting", 2).await;
    add(&world, 2, "daily", "queued", 1).await;
    // A day of the history is late from when it was enqueued.
    add(&world, 400, "daily", "running", 5).await;
    add(&world, 900, "replay-1", "queued", 0).await;
    assert_eq!(days_late(&ledger.gauges().await.unwrap()), (Some(2), Some(5)));

    let worker = world.ready_worker(&[OFTEN]).await;
    let shown = async || {
        let lag = samples(&worker, "posthog_export_lag_seconds").await;
        lag["{class=\"backfill\"}"] >= 5.0 * 86_400.0 && lag["{class=\"daily\"}"] >= 2.0 * 86_400.0
    };
    world.wait_until("the lag is shown", PATIENCE, shown).await;
}

#[tokio::test]
async fn a_day_that_was_skipped_is_late_from_when_it_was_resumed() {
    let (world, _) = world().await;
    let ledger = Ledger::new(world.pool());
    add(&world, 25, "daily", "skipped", 24).await;
    add(&world, 3, "daily", "queued", 2).await;
    let day = |days_ago| Day::of(chrono::Utc::now() - chrono::TimeDelta::days(days_ago));
    let (resumed, healed) = (Job::daily(PROJECT, day(25), false), Job::daily(PROJECT, day(3), false));
    ledger.record_queued(&[&resumed, &healed]).await.unwrap();
    // The other one was asked for in time, and is late although its message was published again.
    assert_eq!(days_late(&ledger.gauges().await.unwrap()), (Some(2), Some(0)));
}

#[tokio::test]
async fn the_ledger_is_read_from_indexes_however_large_it_is() {
    let (world, _) = world().await;
    for statement in [
        "insert into posthog_export.runs (project_id, day, run, state, asked_at, completed_at)
         select 'p' || n % 100, date '2020-01-01' + n / 100, 'daily', case when n % 2 = 0 then 'completed' else 'queued' end,
                now() - n * interval '1 second', case when n % 2 = 0 then now() - n * interval '1 second' end
         from generate_series(1, 20000) n",
        "analyze posthog_export.runs",
    ] {
        sqlx::query(statement).execute(&world.pool()).await.unwrap();
    }
    let text = include_str!("../../../shared/src/ledger/gauges.rs");
    let statement = text
        .split('"')
        .find(|part| part.starts_with("-- ledger_gauges"))
        .unwrap();
    let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("explain {statement}")))
        .fetch_all(&world.pool())
        .await
        .unwrap();
    let plan = plan.join("\n");
    for index in ["runs_unfinished_daily", "runs_unfinished_backfill", "runs_completed"] {
        assert!(plan.contains(index), "{index} in\n{plan}");
    }
    assert!(!plan.contains("Seq Scan"), "{plan}");
}
