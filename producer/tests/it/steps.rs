//! The steps of a day: planned at each border, once, and never in the way of the nightly enqueue.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use testkit::{BACKFILL, Clock, JOBS, World, lines, wait};

use crate::{PROJECT, add_project, add_run, add_traces, alter, bare_world, day, drain, json, ledger};

const TODAY: &str = "2024-06-10";
const HOURLY: (&str, &str) = ("EXPORT_EVERY", "1h");

/// `10 09:30`, in June 2024.
fn moment(time: &str) -> String {
    format!("2024-06-{time}")
}

/// It is this time in the database, and a day has steps of an hour.
async fn world_at(time: &str) -> (Arc<World>, Clock) {
    let world = bare_world().await;
    let clock = world.clock(moment(time)).await;
    world.set("EXPORT_LAG", "30m");
    world.set(HOURLY.0, HOURLY.1);
    for command in ["migrate", "declare"] {
        world.succeeds(&[command]).await;
    }
    (world, clock)
}

/// What the jobs queue holds.
async fn steps(world: &World) -> Vec<Value> {
    drain(world, JOBS).await.iter().map(testkit::Message::json).collect()
}

#[tokio::test]
async fn each_part_of_today_is_asked_for_once_when_its_border_is_the_lag_ago() {
    let (world, clock) = world_at("10 00:45").await;
    let report = json(&world, &["enqueue", "--steps", "--json"]).await;
    assert_eq!(
        (report["jobs"].as_array().unwrap().len(), &report["next_step_at"]),
        (0, &"2024-06-10T01:30:00Z".into())
    );
    let text = world.succeeds(&["enqueue", "--steps"]).await.stdout;
    assert!(text.contains("the next one is due at 2024-06-10T01:30:00Z"), "{text}");

    // A producer that begins at noon asks for the morning as one step.
    clock.set(moment("10 11:31")).await;
    world.succeeds(&["enqueue", "--steps"]).await;
    let morning = steps(&world).await;
    assert_eq!(
        morning,
        [serde_json::json!({
            "project_id": PROJECT, "day": TODAY, "run": "step-0000",
            "from": "2024-06-10T00:00:00Z", "until": "2024-06-10T11:00:00Z",
        })]
    );
    world.succeeds(&["enqueue", "--steps"]).await;
    assert!(steps(&world).await.is_empty());

    clock.set(moment("10 12:30")).await;
    let report = json(&world, &["enqueue", "--steps", "--json", "--dry-run"]).await;
    assert_eq!(
        (&report["planned"]["step"], &report["confirmed"]),
        (&1.into(), &0.into())
    );
    let report = json(&world, &["enqueue", "--steps", "--json"]).await;
    assert_eq!(
        (&report["jobs"][0]["run"], &report["jobs"][0]["reason"]),
        (&"step-1100".into(), &"step".into())
    );
    assert_eq!(
        ledger(&world).await,
        [
            "project one/2024-06-10/step-0000 queued".to_owned(),
            "project one/2024-06-10/step-1100 queued".to_owned(),
        ]
        .into()
    );
    // The nightly plan's own records are untouched.
    let untouched =
        "select (select count(*) from posthog_export.last_enqueue) + (select count(*) from posthog_export.sweeps)";
    let records: i64 = sqlx::query_scalar(untouched).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(records, 0);
}

#[tokio::test]
async fn the_next_step_exports_what_a_discarded_one_did_not_and_the_day_the_rest() {
    let (world, clock) = world_at("10 01:30").await;
    add_traces(&world, PROJECT, &[day(TODAY), day("2024-06-09")]).await;
    world.succeeds(&["enqueue", "--steps"]).await;
    alter(&world, "update posthog_export.runs set state = 'discarded'").await;
    clock.set(moment("10 02:30")).await;
    world.succeeds(&["enqueue", "--steps"]).await;
    let messages = steps(&world).await;
    let last = messages.last().unwrap();
    assert_eq!(
        (&last["run"], &last["from"]),
        (&"step-0000-2".into(), &"2024-06-10T00:00:00Z".into())
    );

    // The day's own run leaves out what the steps have sent; a day without steps is sent as a whole.
    clock.set(moment("11 00:45")).await;
    world.succeeds(&["enqueue"]).await;
    let mut all = steps(&world).await;
    all.extend(drain(&world, BACKFILL).await.iter().map(testkit::Message::json));
    // The step whose message is gone comes back, too: a worker discards it.
    let changed: Vec<(String, Option<bool>)> = all
        .iter()
        .filter(|message| message["run"] == "daily")
        .map(|message| {
            (
                message["day"].as_str().unwrap().to_owned(),
                message["changed"].as_bool(),
            )
        })
        .collect();
    assert_eq!(
        changed,
        [(TODAY.to_owned(), Some(true)), ("2024-06-09".to_owned(), None)]
    );
}

#[tokio::test]
async fn two_producers_at_one_border_publish_each_step_once_and_paused_projects_none() {
    let (world, _clock) = world_at("10 09:30").await;
    add_project(&world, "project two", true).await;
    add_project(&world, "disabled", false).await;
    add_project(&world, "paused", true).await;
    world.succeeds(&["projects", "pause", "paused"]).await;
    tokio::join!(
        world.succeeds(&["enqueue", "--steps"]),
        world.succeeds(&["enqueue", "--steps"])
    );
    let mut projects: Vec<String> = steps(&world)
        .await
        .iter()
        .map(|message| message["project_id"].as_str().unwrap().to_owned())
        .collect();
    projects.sort();
    assert_eq!(projects, [PROJECT, "project two"]);
}

#[tokio::test]
async fn a_border_without_a_broker_is_made_up_for_at_the_next() {
    let (world, clock) = world_at("10 09:30").await;
    let nowhere = [("AMQP_URL", "amqp://127.0.0.1:1/%2f")];
    assert_eq!(world.producer_with_env(&["enqueue", "--steps"], &nowhere).await.code, 1);
    clock.set(moment("10 10:30")).await;
    world.succeeds(&["enqueue", "--steps"]).await;
    let messages = steps(&world).await;
    assert_eq!(
        (messages.len(), &messages[0]["until"]),
        (1, &"2024-06-10T10:00:00Z".into())
    );
}

#[tokio::test]
async fn a_step_whose_message_is_lost_is_published_again_on_its_day() {
    let (world, clock) = world_at("10 01:30").await;
    world.succeeds(&["enqueue", "--steps"]).await;
    let lost = steps(&world).await;
    // It may be on its way.
    clock.set(moment("10 02:20")).await;
    world.succeeds(&["enqueue", "--steps"]).await;
    assert!(steps(&world).await.is_empty());
    clock.set(moment("10 02:35")).await;
    let report = json(&world, &["enqueue", "--steps", "--json"]).await;
    assert_eq!(
        (&report["planned"]["step"], &report["planned"]["healed"]),
        (&1.into(), &1.into())
    );
    let messages = steps(&world).await;
    assert_eq!(messages.len(), 2);
    assert!(messages.contains(&lost[0]), "{messages:?}");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_variables_name() {
    let world = bare_world().await;
    let refused = async |arguments: &[&str], env: &[(&str, &str)], says: &str, code: i32| {
        let output = world.producer_with_env(arguments, env).await;
        assert_eq!(output.code, code, "{says}: {}", output.stderr);
        assert!(output.stderr.contains(says), "{says}: {}", output.stderr);
    };
    refused(&["enqueue", "--steps"], &[], "EXPORT_EVERY is 1d", 2).await;
    for (variable, value) in [("EXPORT_EVERY", "7h"), ("EXPORT_EVERY", "1m"), ("SETTLE_AFTER", "1m")] {
        refused(&["enqueue"], &[(variable, value)], variable, 2).await;
    }
    refused(&["enqueue"], &[HOURLY, ("STEP_LAG", "1m")], "STEP_LAG", 2).await;
    refused(&["enqueue", "--steps", "--day", TODAY], &[HOURLY], "--steps", 2).await;
}

#[tokio::test]
async fn schedule_asks_for_steps_at_each_border() {
    let (world, clock) = world_at("10 09:10").await;
    let process = world.spawn_producer(&["schedule"], &[]).await;
    let patience = Duration::from_secs(60);
    let waits = wait::until(patience, async || process.stderr().contains(lines::NEXT_ENQUEUE)).await;
    assert!(waits.is_some(), "{}", process.tail());
    assert_eq!(steps(&world).await[0]["until"], "2024-06-10T08:00:00Z");
    assert!(
        process.stderr().contains("2024-06-10T09:30:00Z"),
        "{}",
        process.stderr()
    );
    clock.set(moment("10 09:30")).await;
    let comes = wait::until(patience, async || world.queue_depth(JOBS).await == 1).await;
    assert!(comes.is_some(), "{}", process.tail());
    assert_eq!(steps(&world).await[0]["run"], "step-0800");
    process.terminate();
    assert!(process.exited_within(patience).await.is_some());
}

#[tokio::test]
async fn old_steps_are_folded_into_the_run_of_their_day() {
    let (world, _clock) = world_at("20 01:00").await;
    let began = "2024-06-10T02:00:00Z".parse().ok();
    for (the_day, run, state) in [
        ("2024-06-09", "daily", "completed"),
        ("2024-06-09", "step-0000", "completed"),
        ("2024-06-09", "step-0100", "discarded"),
        // Its rejects are looked up under its name.
        ("2024-06-09", "step-0200", "completed"),
        // Not ended; no `daily` that is completed; no step; not old enough.
        ("2024-06-09", "step-0300", "waiting"),
        ("2024-06-08", "daily", "dead"),
        ("2024-06-08", "step-0000", "completed"),
        // A day without rows has steps and no other run.
        ("2024-06-07", "step-0000", "completed"),
        // A replay of some streams exports no whole day.
        ("2024-06-08", "replay-2", "completed"),
        ("2024-06-09", "replay-1", "completed"),
        ("2024-06-13", "daily", "completed"),
        ("2024-06-13", "step-0000", "completed"),
    ] {
        add_run(&world, day(the_day), run, state, began).await;
    }
    for change in [
        "update posthog_export.runs set span_from = day, span_until = day + interval '1 hour' where run like 'step-%' or run = 'replay-1'",
        "update posthog_export.runs set events = array['score'] where run = 'replay-2'",
        "insert into posthog_export.streams (project_id, day, run, stream, sent, batches, bytes, done)
         select project_id, day, run, s, 10, 1, 100, true from posthog_export.runs, unnest(array['trace', 'score']) s
         where day = '2024-06-09'",
        "insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
         values ('project one', '2024-06-09', 'step-0200', 'trace', 'x', 'why')",
    ] {
        alter(&world, change).await;
    }
    world.succeeds(&["enqueue"]).await;
    let left = ledger(&world).await;
    let has = |run: &str| left.iter().any(|row| row.starts_with(&format!("{PROJECT}/{run} ")));
    for (run, stays) in [
        ("2024-06-09/daily", true),
        ("2024-06-09/step-0000", false),
        ("2024-06-09/step-0100", false),
        ("2024-06-09/step-0200", true),
        ("2024-06-09/step-0300", true),
        ("2024-06-08/step-0000", true),
        ("2024-06-07/step-0000", false),
        ("2024-06-09/replay-1", true),
        ("2024-06-13/step-0000", true),
    ] {
        assert_eq!(has(run), stays, "{run}: {left:?}");
    }
    let counts =
        "select array[sum(sent), sum(batches), sum(bytes)]::bigint[] from posthog_export.streams where run = 'daily'";
    let counts: Vec<i64> = sqlx::query_scalar(counts).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(counts, [60, 6, 600], "its own, and those of two steps");
}
