//! Rows that arrive after their day was exported are swept up, once.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use testkit::seed::{self, Rows, Trace, at};
use testkit::{BACKFILL, World, langfuse};

use crate::{PROJECT, add_run, add_traces, alter, day, drain, json, world};

const DAY: &str = "2024-06-01";

/// A day that was exported an hour ago.
async fn exported() -> Arc<World> {
    let world = world().await;
    add_traces(&world, PROJECT, &[day(DAY)]).await;
    add_run(
        &world,
        day(DAY),
        "daily",
        "completed",
        Some(Utc::now() - TimeDelta::hours(1)),
    )
    .await;
    world
}

async fn late_jobs(world: &World) -> Vec<Value> {
    let report = json(world, &["enqueue", "--json"]).await;
    let jobs = drain(world, BACKFILL).await;
    assert_eq!(
        report["planned"]["late"].as_u64().unwrap(),
        jobs.len() as u64,
        "{report}"
    );
    jobs.iter().map(testkit::Message::json).collect()
}

#[tokio::test]
async fn late_rows_make_one_run_until_more_arrive() {
    let world = exported().await;
    assert!(late_jobs(&world).await.is_empty());
    seed::late(&world.pool(), PROJECT, day(DAY), 3, "a").await;
    let jobs = late_jobs(&world).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0]["day"], DAY);
    assert!(jobs[0]["run"].as_str().unwrap().starts_with("late-"));
    let after: chrono::DateTime<Utc> = jobs[0]["created_after"].as_str().unwrap().parse().unwrap();
    let expected = Utc::now() - TimeDelta::minutes(65);
    assert!((after - expected).abs() < TimeDelta::minutes(1), "{after}");
    // While that run is on its way, no second one is published.
    seed::late(&world.pool(), PROJECT, day(DAY), 1, "b").await;
    assert!(late_jobs(&world).await.is_empty());
    // Once the run is done nothing is left, until more rows arrive.
    alter(
        &world,
        "update posthog_export.runs set state = 'completed', started_at = clock_timestamp(), completed_at = clock_timestamp()",
    )
    .await;
    assert!(late_jobs(&world).await.is_empty());
    seed::late(&world.pool(), PROJECT, day(DAY), 1, "c").await;
    let again = late_jobs(&world).await;
    assert_eq!(again.len(), 1);
    assert_ne!(again[0]["run"], jobs[0]["run"]);
}

#[tokio::test]
async fn rows_created_in_the_future_make_one_run_at_once_and_one_when_their_moment_has_come() {
    let world = exported().await;
    let created = async |created_at: &'static str| {
        seed::late(&world.pool(), PROJECT, day(DAY), 2, created_at).await;
        let change =
            "update traces set created_at = (now() at time zone 'UTC') + $1::text::interval where id like '%late%'";
        sqlx::query(change)
            .bind(created_at)
            .execute(&world.pool())
            .await
            .unwrap();
        for change in [
            "update observations set created_at = t.created_at from traces t where t.id = trace_id and t.id like '%late%'",
            "update scores set created_at = t.created_at from traces t where t.id = trace_id and t.id like '%late%'",
        ] {
            alter(&world, change).await;
        }
    };
    let completed = "update posthog_export.runs set state = 'completed', started_at = clock_timestamp(),
        completed_at = clock_timestamp() where state = 'queued'";
    // A default wrote it nine hours east of UTC.
    created("9 hours").await;
    assert_eq!(late_jobs(&world).await.len(), 1);
    alter(&world, completed).await;
    for _ in 0..2 {
        assert!(late_jobs(&world).await.is_empty());
    }
    // Nine hours later its moment is past.
    alter(
        &world,
        "update posthog_export.runs set started_at = started_at - interval '10 hours', completed_at = completed_at - interval '10 hours'",
    )
    .await;
    alter(
        &world,
        "update posthog_export.sweeps set swept_until = swept_until - interval '10 hours'",
    )
    .await;
    for change in [
        "update traces set created_at = created_at - interval '10 hours' where id like '%late%'",
        "update observations set created_at = created_at - interval '10 hours' where id like '%late%'",
        "update scores set created_at = created_at - interval '10 hours' where id like '%late%'",
    ] {
        alter(&world, change).await;
    }
    assert_eq!(late_jobs(&world).await.len(), 1);
    alter(&world, completed).await;
    assert!(late_jobs(&world).await.is_empty());
}

#[tokio::test]
async fn a_row_created_at_infinity_is_late_once() {
    let world = exported().await;
    seed::late(&world.pool(), PROJECT, day(DAY), 1, "a").await;
    for table in ["traces", "observations", "scores"] {
        let change = format!("update {table} set created_at = 'infinity' where id like '%late%'");
        let change = sqlx::raw_sql(sqlx::AssertSqlSafe(change));
        change.execute(&world.pool()).await.unwrap();
    }
    assert_eq!(late_jobs(&world).await.len(), 1);
    let completed = "update posthog_export.runs set state = 'completed', started_at = clock_timestamp(),
        completed_at = clock_timestamp() where state = 'queued'";
    alter(&world, completed).await;
    for _ in 0..2 {
        assert!(late_jobs(&world).await.is_empty());
    }
}

#[tokio::test]
async fn a_late_observation_calls_for_the_day_of_its_trace() {
    let world = exported().await;
    // The observation itself belongs to the next day, which is exported as usual.
    seed::late_observations(&world.pool(), PROJECT, day(DAY), 1, "o").await;
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        (&report["planned"]["late"], &report["planned"]["new"]),
        (&1.into(), &1.into())
    );
    let jobs: Vec<(Value, bool)> = drain(&world, BACKFILL)
        .await
        .iter()
        .map(|message| (message.json()["day"].clone(), message.json()["run"] == "daily"))
        .collect();
    assert_eq!(jobs, [("2024-06-02".into(), true), (DAY.into(), false)]);
}

#[tokio::test]
async fn a_sweep_reads_on_from_the_last_one_project_by_project() {
    let world = exported().await;
    let swept = async || {
        let swept: Vec<(String, chrono::DateTime<Utc>)> = sqlx::query_as("select * from posthog_export.sweeps")
            .fetch_all(&world.pool())
            .await
            .unwrap();
        swept
    };
    // An enqueue of some dates looks at a part only, so it remembers nothing.
    json(&world, &["enqueue", "--json", "--day", DAY]).await;
    json(&world, &["enqueue", "--json", "--dry-run"]).await;
    assert!(swept().await.is_empty());
    json(&world, &["enqueue", "--json"]).await;
    let first = swept().await;
    assert_eq!(first.len(), 1);
    assert!(Utc::now() - first[0].1 < TimeDelta::minutes(1));
    // A disabled project is not swept, and its last sweep is not forgotten.
    alter(&world, "update posthog_integrations set enabled = false").await;
    seed::late(&world.pool(), PROJECT, day(DAY), 1, "a").await;
    assert!(late_jobs(&world).await.is_empty());
    assert_eq!(swept().await, first);
    alter(&world, "update posthog_integrations set enabled = true").await;
    assert_eq!(late_jobs(&world).await.len(), 1);
}

#[tokio::test]
async fn others_late_rows_are_theirs() {
    let world = exported().await;
    langfuse::add_project(&world.pool(), "other", "Other").await;
    seed::late(&world.pool(), "other", day(DAY), 2, "x").await;
    // A day of ours that was not exported is not late; it is new.
    let rows = Rows {
        traces: vec![Trace {
            created_at: Some(Utc::now().naive_utc()),
            ..Trace::new(PROJECT, "new", at(day("2024-05-01"), 1, 0, 0, 0))
        }],
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        (&report["planned"]["late"], &report["planned"]["new"]),
        (&0.into(), &1.into())
    );
}
