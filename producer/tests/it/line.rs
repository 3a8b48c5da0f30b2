//! With a real worker: what is planned is exported, and then there is nothing left to plan.

use serde_json::Value;
use testkit::{DEAD, Project, World, seed};

use crate::{KEY, PROJECT, day, json, world, yesterday};

async fn nothing_is_planned(world: &World) {
    let report = json(world, &["enqueue", "--json"]).await;
    assert_eq!(report["jobs"], serde_json::json!([]));
}

/// How many events of each kind `--count` expects of what would be enqueued now.
async fn counted(world: &World) -> Value {
    let report = json(world, &["enqueue", "--dry-run", "--count", "--json"]).await;
    report["counts"][0]["events"].clone()
}

/// How many events of each kind the runs of such names have sent.
async fn sent(world: &World, runs: &str) -> Value {
    let rows = "select jsonb_object_agg(stream, sent) from (select stream, sum(sent) as sent
        from posthog_export.streams where run like $1 group by 1) s";
    sqlx::query_scalar(rows)
        .bind(runs)
        .fetch_one(&world.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn days_late_rows_and_a_replay_arrive_once() {
    let world = world().await;
    let project = Project::of(&world, PROJECT, KEY);
    world.posthog.known_key(KEY);
    let days = [day("2024-06-01"), yesterday()];
    project.seed(&days, 30, 1).await;
    let _worker = world.ready_worker(&[]).await;
    let expected = counted(&world).await;
    world.succeeds(&["enqueue"]).await;
    for the_day in days {
        project.wait_state(the_day, "daily", "completed").await;
    }
    assert_eq!(sent(&world, "daily").await, expected);
    nothing_is_planned(&world).await;
    let status = json(&world, &["status", "--json"]).await;
    let listed = &status["projects"][0];
    assert_eq!((&listed["completed"], &listed["days_behind"]), (&2.into(), &0.into()));
    assert!(listed["events_sent"].as_i64().unwrap() > 100);

    seed::late(&world.pool(), PROJECT, days[0], 3, "a").await;
    seed::late_observations(&world.pool(), PROJECT, yesterday(), 2, "b").await;
    let expected = counted(&world).await;
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(report["planned"]["late"], 2, "{report}");
    for job in report["jobs"].as_array().unwrap() {
        let [the_day, run] = ["day", "run"].map(|name| job[name].as_str().unwrap().to_owned());
        project.wait_state(&the_day, &run, "completed").await;
    }
    // The worker reads the rows by statements of its own.
    assert_eq!(sent(&world, "late-%").await, expected);
    nothing_is_planned(&world).await;

    let report = json(
        &world,
        &["replay", "--json", "--project", PROJECT, "--day", "2024-06-01"],
    )
    .await;
    let run = report["jobs"][0]["message"]["run"].as_str().unwrap().to_owned();
    project.wait_state("2024-06-01", &run, "completed").await;
    project.assert_delivered(&days).await;
}

#[tokio::test]
async fn a_corrected_key_and_a_requeue_bring_a_dead_day_back() {
    let right = "phc_the_right_key";
    let world = world().await;
    let project = Project::of(&world, PROJECT, right);
    project.seed(&[yesterday()], 5, 1).await;
    let _worker = world.ready_worker(&[]).await;
    world.succeeds(&["enqueue"]).await;
    project.wait_state(yesterday(), "daily", "dead").await;
    nothing_is_planned(&world).await;
    let look = || async { world.queue_depth(DEAD).await == 1 };
    world
        .wait_until("it is a dead letter", std::time::Duration::from_secs(30), look)
        .await;
    let letters = json(
        &world,
        &["dead-letters", "list", "--json", "--error-code", "unauthorized"],
    )
    .await;
    assert_eq!(
        letters["dead_letters"][0]["id"],
        format!("{PROJECT}/{}/daily", yesterday())
    );
    assert_eq!(
        json(&world, &["status", "--json"]).await["projects"][0]["days_behind"],
        1
    );

    world.posthog.known_key(right);
    let set = ["integrations", "set", "--project", PROJECT];
    let output = world.producer_with_env(&set, &[("POSTHOG_API_KEY", right)]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    world.succeeds(&["integrations", "check"]).await;
    world
        .succeeds(&["dead-letters", "requeue", "--error-code", "unauthorized", "--yes"])
        .await;
    project.wait_state(yesterday(), "daily", "completed").await;
    project.assert_delivered(&[yesterday()]).await;
    assert_eq!(world.queue_depth(DEAD).await, 0);
}
