//! What changed of a day is sent once it has settled, and late rows are left to that run.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use testkit::seed::{Rows, Trace, at};
use testkit::{BACKFILL, Clock, World};

use crate::{PROJECT, add_run, add_traces, alter, bare_world, day, drain, json};

const DAY: &str = "2024-06-08";

fn moment(time: &str) -> DateTime<Utc> {
    format!("2024-06-{time}:00Z").parse().unwrap()
}

/// The day was exported in its night; it is this time now.
async fn exported(now: &str) -> (Arc<World>, Clock) {
    let world = bare_world().await;
    let clock = world.clock(moment(now).naive_utc()).await;
    world.set("SETTLE_AFTER", "24h");
    for command in ["migrate", "declare"] {
        world.succeeds(&[command]).await;
    }
    add_traces(&world, PROJECT, &[day(DAY)]).await;
    add_run(&world, day(DAY), "daily", "completed", Some(moment("09T00:35"))).await;
    (world, clock)
}

async fn enqueued(world: &World) -> Vec<Value> {
    world.succeeds(&["enqueue"]).await;
    drain(world, BACKFILL)
        .await
        .iter()
        .map(testkit::Message::json)
        .collect()
}

/// A row of the day that was created at this time.
async fn late_row(world: &World, id: &str, created: &str) {
    let trace = Trace {
        created_at: Some(moment(created).naive_utc()),
        ..Trace::new(PROJECT, id, at(day(DAY), 12, 0, 0, 0))
    };
    let rows = Rows {
        traces: vec![trace],
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
}

#[tokio::test]
async fn a_day_is_settled_once() {
    let (world, clock) = exported("09T23:59").await;
    assert!(enqueued(&world).await.is_empty());
    clock.set(moment("10T00:35").naive_utc()).await;
    let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
    assert_eq!(report["planned"]["settled"], 1);
    let jobs = enqueued(&world).await;
    let settled = serde_json::json!({"project_id": PROJECT, "day": DAY, "run": "settled", "changed": true});
    assert_eq!(jobs, [settled]);
    assert!(enqueued(&world).await.is_empty());
    alter(
        &world,
        "update posthog_export.runs set state = 'completed' where run = 'settled'",
    )
    .await;
    clock.set(moment("12T00:35").naive_utc()).await;
    assert!(enqueued(&world).await.is_empty());
}

#[tokio::test]
async fn late_rows_wait_for_it_and_are_found_again_when_it_dies() {
    let (world, clock) = exported("09T15:00").await;
    late_rows_wait(&world, &clock, true).await;
}

#[tokio::test]
async fn so_do_those_of_a_project_whose_history_waits_for_a_decision() {
    let (world, clock) = exported("09T15:00").await;
    let old: Vec<_> = (1..=31).map(|number| day(&format!("2024-01-{number:02}"))).collect();
    add_traces(&world, PROJECT, &old).await;
    late_rows_wait(&world, &clock, false).await;
    let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
    assert_eq!(report["first_exports"][0]["days"], 31);
}

/// `looked`: whether it is known which days were looked at, so that they are not looked at anew.
async fn late_rows_wait(world: &World, clock: &Clock, looked: bool) {
    assert!(
        enqueued(world).await.is_empty(),
        "this enqueue has looked for late rows"
    );
    late_row(world, "late", "09T14:59").await;
    clock.set(moment("09T16:00").naive_utc()).await;
    assert!(enqueued(world).await.is_empty(), "it is left to the settled run");
    let swept = "select swept_until, looked_to is not null from posthog_export.sweeps";
    let swept: (DateTime<Utc>, bool) = sqlx::query_as(swept).fetch_one(&world.pool()).await.unwrap();
    let before = moment("09T15:00")..moment("09T15:30");
    assert!(before.contains(&swept.0) && swept.1 == looked, "{swept:?}");
    clock.set(moment("10T00:35").naive_utc()).await;
    assert_eq!(enqueued(world).await[0]["run"], "settled");
    alter(
        world,
        "update posthog_export.runs set state = 'dead', error_code = 'posthog' where run = 'settled'",
    )
    .await;
    clock.set(moment("11T00:35").naive_utc()).await;
    let jobs = enqueued(world).await;
    assert_eq!(
        (jobs.len(), &jobs[0]["created_after"]),
        (1, &"2024-06-09T00:30:00Z".into()),
        "{jobs:?}"
    );
}
