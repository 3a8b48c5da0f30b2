//! `EVENTS`: whether observations that are no generations are exported, too.

use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json as value};
use testkit::seed::{Observation, Rows, at};
use testkit::{BACKFILL, JOBS, World};

use crate::{PROJECT, add_run, add_traces, alter, day, drain, ledger, world};

const ALL: &str = "trace,generation,score,observation";

/// A project with a trace on the first of June and nothing but a span on the second.
async fn with_a_span() -> Arc<World> {
    let world = world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01")]).await;
    let rows = Rows {
        observations: vec![Observation::span(
            PROJECT,
            "span",
            "nowhere",
            at(day("2024-06-02"), 9, 0, 0, 0),
        )],
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    world
}

/// Runs a command with this setting. An empty one is none.
async fn run(world: &World, arguments: &[&str], events: &str) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    let output = world.producer_with_env(&arguments, &[("EVENTS", events)]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

fn jobs(report: &Value) -> Vec<(&str, Option<&Value>)> {
    let jobs = report["jobs"].as_array().unwrap().iter();
    jobs.map(|job| (job["id"].as_str().unwrap(), job["message"].get("events")))
        .collect()
}

#[tokio::test]
async fn days_that_hold_only_spans_are_days_where_they_are_exported() {
    let world = with_a_span().await;
    let dry = ["enqueue", "--dry-run"];
    let first = "project one/2024-06-01/daily";
    let ids = |report: &Value| {
        let jobs = report["jobs"].as_array().unwrap().iter();
        jobs.map(|job| job["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    for usual in ["", "score, trace,generation"] {
        assert_eq!(ids(&run(&world, &dry, usual).await), [first], "{usual}");
    }
    let counted = run(&world, &["enqueue", "--dry-run", "--count"], ALL).await["counts"][0]["events"].clone();
    assert_eq!(
        counted,
        value!({"trace": 1, "generation": 0, "score": 0, "observation": 1})
    );
    run(&world, &["enqueue"], ALL).await;
    let messages: Vec<Value> = drain(&world, BACKFILL)
        .await
        .iter()
        .map(testkit::Message::json)
        .collect();
    assert_eq!(messages.len(), 2);
    for (message, the_day) in messages.iter().zip(["2024-06-02", "2024-06-01"]) {
        let events = value!(["trace", "generation", "score", "observation"]);
        assert_eq!((&message["day"], &message["events"]), (&the_day.into(), &events));
        assert_eq!(message["run"], "daily");
    }
    assert_eq!(ledger(&world).await.len(), 2);
    // What was asked for once needs no other job, whatever the setting is later.
    let queued = "update posthog_export.runs set queued_at = clock_timestamp()";
    let completed = "update posthog_export.runs set state = 'completed', started_at = clock_timestamp(),
        completed_at = clock_timestamp()";
    for change in [queued, completed] {
        alter(&world, change).await;
        for events in ["", ALL] {
            let report = run(&world, &["enqueue"], events).await;
            assert!(ids(&report).is_empty(), "{change}, {events}: {report}");
        }
    }
}

/// The ledger says what the message asked for, also when a job is published anew.
#[tokio::test]
async fn a_skipped_day_comes_back_with_what_is_exported_now() {
    let world = with_a_span().await;
    add_run(&world, day("2024-06-01"), "daily", "skipped", None).await;
    run(&world, &["enqueue", "--to", "2024-06-01"], ALL).await;
    let all = value!(["trace", "generation", "score", "observation"]);
    assert_eq!(drain(&world, BACKFILL).await.remove(0).json()["events"], all);
    let recorded: Vec<String> = sqlx::query_scalar("select events from posthog_export.runs")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(value!(recorded), all);
}

#[tokio::test]
async fn a_day_that_was_exported_without_them_is_replayed_for_them() {
    let world = with_a_span().await;
    for the_day in ["2024-06-01", "2024-06-02"] {
        add_run(&world, day(the_day), "daily", "completed", Some(Utc::now())).await;
    }
    let report = run(&world, &["enqueue"], ALL).await;
    assert!(jobs(&report).is_empty(), "{report}");
    let days = [
        "replay",
        "--project",
        PROJECT,
        "--from",
        "2024-06-01",
        "--to",
        "2024-06-02",
    ];
    let report = run(&world, &[&days[..], &["--events", "observation"]].concat(), "").await;
    assert_eq!(report["confirmed"], 2, "{report}");
    for message in drain(&world, JOBS).await {
        assert_eq!(message.json()["events"], value!(["observation"]));
    }
    // A replay that names no events is of those that `enqueue` exports.
    let dry = [&days[..], &["--dry-run"]].concat();
    let report = run(&world, &dry, ALL).await;
    let all = value!(["trace", "generation", "score", "observation"]);
    assert!(
        jobs(&report).iter().all(|(_, events)| *events == Some(&all)),
        "{report}"
    );
    let report = run(&world, &dry, "").await;
    assert_eq!(jobs(&report).len(), 1, "the second holds no data: {report}");
    assert_eq!(jobs(&report)[0].1, None);
}

#[tokio::test]
async fn a_span_that_arrives_late_is_late_for_its_own_day() {
    let world = with_a_span().await;
    let an_hour_ago = Utc::now() - TimeDelta::hours(1);
    add_run(&world, day("2024-06-02"), "daily", "completed", Some(an_hour_ago)).await;
    add_run(&world, day("2024-06-01"), "daily", "dead", None).await;
    for change in [
        "update posthog_export.runs set events = array['trace', 'generation', 'score', 'observation']",
        "update observations set created_at = now() at time zone 'UTC'",
    ] {
        alter(&world, change).await;
    }
    let without = run(&world, &["enqueue", "--dry-run"], "").await;
    assert!(jobs(&without).is_empty(), "{without}");
    let with = run(&world, &["enqueue"], ALL).await;
    assert_eq!(with["planned"]["late"], 1, "{with}");
    let message = drain(&world, BACKFILL).await.remove(0).json();
    assert_eq!(message["day"], "2024-06-02");
    assert_eq!(
        message["events"],
        value!(["trace", "generation", "score", "observation"])
    );
    assert!(message["created_after"].is_string(), "{message}");
}

#[tokio::test]
async fn a_span_whose_time_lies_on_no_day_is_counted_where_spans_are_exported() {
    let world = with_a_span().await;
    alter(&world, "update observations set start_time = 'infinity'").await;
    let undated = async |events| run(&world, &["enqueue", "--dry-run"], events).await["undated"].clone();
    assert_eq!(undated("").await, value!([]));
    let found = undated(ALL).await;
    assert_eq!(
        (&found[0]["table"], &found[0]["rows"]),
        (&"observations".into(), &1.into())
    );
}

#[tokio::test]
async fn a_setting_that_leaves_a_usual_stream_out_is_refused() {
    let world = world().await;
    for (events, said) in [
        ("trace,generation", "must name trace, generation and score"),
        ("observation", "must name trace, generation and score"),
        ("trace,generation,score,spans", "`spans` is not one of"),
    ] {
        let output = world.producer_with_env(&["enqueue"], &[("EVENTS", events)]).await;
        assert_eq!(output.code, 2, "{events}");
        assert!(
            output.stderr.contains("EVENTS") && output.stderr.contains(said),
            "{}",
            output.stderr
        );
    }
}
