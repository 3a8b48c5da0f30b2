//! `enqueue` publishes each day once, and records it only when the broker has confirmed it.

use std::time::Duration;

use chrono::Days;
use testkit::proxy::Flow;
use testkit::seed::{Observation, Rows, Score, at};
use testkit::{BACKFILL, JOBS, World, job};

use crate::{PROJECT, add_project, add_traces, bare_world, day, drain, jobs, json, ledger, world, yesterday};

#[tokio::test]
async fn the_first_run_sets_up_and_enqueues_every_day_with_data_newest_first() {
    let world = bare_world().await;
    let days = [
        day("2024-06-01"),
        day("2024-06-03"),
        yesterday(),
        yesterday() + Days::new(1),
    ];
    add_traces(&world, PROJECT, &days).await;
    // A day may hold nothing but a generation, or a score; a span alone is no event.
    let rows = Rows {
        observations: vec![
            Observation::generation(PROJECT, "g", "no trace", at(day("2024-06-05"), 0, 0, 0, 0)),
            Observation::span(PROJECT, "s", "no trace", at(day("2024-06-06"), 0, 0, 0, 0)),
        ],
        scores: vec![Score::new(
            PROJECT,
            "sc",
            "no trace",
            at(day("2024-06-07"), 23, 59, 59, 999),
        )],
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    add_project(&world, "switched off", false).await;
    add_traces(&world, "switched off", &[day("2024-06-01")]).await;

    let output = world.succeeds(&["enqueue"]).await;
    let first_line = output.stdout.lines().next().unwrap();
    let range = format!("5 jobs from 2024-06-01 to {}", yesterday());
    assert!(first_line.contains(&range), "{first_line}");
    assert!(output.stdout.contains("5 of 5 jobs confirmed"), "{}", output.stdout);

    let today = drain(&world, JOBS).await;
    assert_eq!(today.len(), 1);
    assert_eq!(today[0].body, job(PROJECT, yesterday(), Some("daily")));
    assert_eq!(
        (today[0].exchange.as_str(), today[0].routing_key.as_str()),
        ("posthog-export", "job")
    );
    assert_eq!(
        (today[0].delivery_mode, today[0].content_type.as_deref()),
        (Some(2), Some("application/json"))
    );
    let older: Vec<String> = drain(&world, BACKFILL)
        .await
        .iter()
        .map(|m| m.json()["day"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(older, ["2024-06-07", "2024-06-05", "2024-06-03", "2024-06-01"]);
    assert_eq!(ledger(&world).await.len(), 5);
    assert!(ledger(&world).await.contains("project one/2024-06-07/daily queued"));

    let again = world.succeeds(&["enqueue"]).await;
    assert!(again.stdout.contains("Nothing to enqueue"), "{}", again.stdout);
    assert!(jobs(&world).await.is_empty());
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = bare_world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01"), yesterday()]).await;
    let output = world.succeeds(&["enqueue", "--dry-run"]).await;
    assert!(output.stdout.contains("Would publish 2 jobs"), "{}", output.stdout);
    assert!(output.stdout.contains("2024-06-01"), "{}", output.stdout);
    let schema: Option<String> = sqlx::query_scalar("select to_regclass('posthog_export.runs')::text")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(schema, None, "it migrated");

    world.succeeds(&["migrate"]).await;
    world.succeeds(&["declare"]).await;
    let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["planned"]["new"], 2);
    assert_eq!(report["jobs"][1]["id"], "project one/2024-06-01/daily");
    assert_eq!(report["jobs"][1]["queue"], BACKFILL);
    assert!(jobs(&world).await.is_empty() && ledger(&world).await.is_empty());
}

#[tokio::test]
async fn dates_projects_and_backfill_days_bound_it() {
    let world = world().await;
    let days: Vec<_> = (1..=9).map(|back| yesterday() - Days::new(back)).collect();
    add_traces(&world, PROJECT, &days).await;
    add_project(&world, "two", true).await;
    add_traces(&world, "two", &days).await;

    let planned = async |arguments: &[&str], backfill: &str| {
        let arguments = [&["enqueue", "--dry-run", "--json"], arguments].concat();
        let output = world
            .producer_with_env(&arguments, &[("BACKFILL_DAYS", backfill)])
            .await;
        assert_eq!(output.code, 0, "{}", output.stderr);
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        report["jobs"].as_array().unwrap().len()
    };
    let text: Vec<String> = days.iter().map(ToString::to_string).collect();
    assert_eq!(planned(&[], "").await, 18);
    assert_eq!(planned(&[], "3").await, 6);
    assert_eq!(planned(&["--project", "two"], "3").await, 3);
    assert_eq!(planned(&["--day", &text[8]], "3").await, 2);
    assert_eq!(
        planned(&["--from", &text[5], "--to", &text[4], "--project", "two"], "").await,
        2
    );

    for (arguments, complaint) in [
        (&["enqueue", "--project", "tow"][..], "tow"),
        (&["enqueue", "--from", "2024-06-02", "--to", "2024-06-01"], "--from"),
    ] {
        let output = world.producer(arguments).await;
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains(complaint), "{}", output.stderr);
    }
    let output = world.producer(&["enqueue", "--day", "2024-6-1"]).await;
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("YYYY-MM-DD"), "{}", output.stderr);
}

#[tokio::test]
async fn two_at_once_publish_each_day_once() {
    let world = world().await;
    let days: Vec<_> = (0..200).map(|number| day("2024-01-01") + Days::new(number)).collect();
    add_traces(&world, PROJECT, &days).await;
    let enqueue = || world.producer(&["enqueue", "--json"]);
    let (one, two, three) = tokio::join!(enqueue(), enqueue(), enqueue());
    let confirmed: u64 = [one, two, three]
        .into_iter()
        .map(|output| {
            assert_eq!(output.code, 0, "{}", output.stderr);
            let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
            report["confirmed"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(confirmed, 200);
    assert_eq!(world.queue_depth(BACKFILL).await, 200);
    assert_eq!(ledger(&world).await.len(), 200);
}

/// Removes the binding through which a queue gets its jobs.
async fn unbind(world: &World, queue: &str, key: &str) {
    use lapin::{Connection, ConnectionProperties};
    let connection = Connection::connect(&world.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let arguments = lapin::types::FieldTable::default();
    channel
        .queue_unbind(queue.into(), "posthog-export".into(), key.into(), arguments)
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

#[tokio::test]
async fn what_no_queue_takes_is_named_and_not_recorded() {
    let world = world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01"), day("2024-06-02"), yesterday()]).await;
    unbind(&world, BACKFILL, "backfill").await;

    let output = world.producer(&["enqueue", "--no-setup"]).await;
    assert_eq!(output.code, 1, "{}", output.stdout);
    assert!(output.stdout.contains("1 of 3 jobs confirmed"), "{}", output.stdout);
    assert!(
        output.stderr.contains("project one/2024-06-02/daily"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("producer declare"), "{}", output.stderr);
    assert_eq!(ledger(&world).await.len(), 1);

    // Once the binding is back, the rest is published.
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        (&report["confirmed"], &report["failed"]),
        (&2.into(), &serde_json::json!([]))
    );
    assert_eq!(world.queue_depth(BACKFILL).await, 2);
}

#[tokio::test]
async fn without_setup_what_is_missing_is_said() {
    let world = bare_world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01")]).await;
    let output = world.producer(&["enqueue", "--no-setup"]).await;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("producer migrate"), "{}", output.stderr);
    world.succeeds(&["migrate"]).await;
    // No exchange at all: the broker closes the channel.
    let output = world.producer(&["enqueue", "--no-setup"]).await;
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("0 of 1 job confirmed"), "{}", output.stdout);
    assert!(ledger(&world).await.is_empty());
}

#[tokio::test]
async fn lost_confirms_are_failures_and_the_next_run_makes_up_for_them() {
    let world = world().await;
    // One window and a part of the next.
    let days: Vec<_> = (0..600).map(|number| day("2022-01-01") + Days::new(number)).collect();
    add_traces(&world, PROJECT, &days).await;
    let proxy = world.amqp_proxy().await;
    let url = world.amqp_url_via(&proxy);
    // The recording of the first window waits for this lock; reading does not.
    let pool = world.pool();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("lock table posthog_export.runs in exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let enqueue = world.spawn_producer(&["enqueue"], &[("AMQP_URL", &url)]).await;
    let first_window = async || world.queue_depth(BACKFILL).await == 500;
    world
        .wait_until("the first window is published", Duration::from_secs(30), first_window)
        .await;
    proxy.to_client(Flow::Swallow);
    lock.rollback().await.unwrap();
    let status = enqueue.exited_within(Duration::from_secs(60)).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", enqueue.stdout());
    assert!(
        enqueue.stdout().contains("500 of 600 jobs confirmed"),
        "{}",
        enqueue.stdout()
    );
    assert!(enqueue.stderr().contains("and 80 more"), "{}", enqueue.stderr());
    assert_eq!(ledger(&world).await.len(), 500);

    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(report["confirmed"], 100);
    assert_eq!(ledger(&world).await.len(), 600);
}
