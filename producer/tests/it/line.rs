//! With a real worker: what is planned is exported, and then there is nothing left to plan.

use testkit::oracle::Oracle;
use testkit::{World, seed};

use crate::{KEY, PROJECT, day, json, succeeds, world, yesterday};

async fn nothing_is_planned(world: &World) {
    let report = json(world, &["enqueue", "--json"]).await;
    assert_eq!(report["jobs"], serde_json::json!([]));
}

#[tokio::test]
async fn days_late_rows_and_a_replay_arrive_once() {
    let world = world().await;
    world.posthog.known_key(KEY);
    let days = [day("2024-06-01"), yesterday()];
    seed::realistic(&world.pool(), PROJECT, &days, 30, 1).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    succeeds(&world, &["enqueue"]).await;
    for the_day in days {
        world
            .wait_state(PROJECT, &the_day.to_string(), "daily", "completed")
            .await;
    }
    nothing_is_planned(&world).await;
    let status = json(&world, &["status", "--json"]).await;
    let project = &status["projects"][0];
    assert_eq!((&project["completed"], &project["days_behind"]), (&2.into(), &0.into()));
    assert!(project["events_sent"].as_i64().unwrap() > 100);

    seed::late(&world.pool(), PROJECT, days[0], 3, "a").await;
    seed::late_observations(&world.pool(), PROJECT, yesterday(), 2, "b").await;
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(report["planned"]["late"], 2, "{report}");
    for job in report["jobs"].as_array().unwrap() {
        let [the_day, run] = ["day", "run"].map(|name| job[name].as_str().unwrap().to_owned());
        world.wait_state(PROJECT, &the_day, &run, "completed").await;
    }
    nothing_is_planned(&world).await;

    let report = json(
        &world,
        &["replay", "--json", "--project", PROJECT, "--day", "2024-06-01"],
    )
    .await;
    let run = report["jobs"][0]["message"]["run"].as_str().unwrap().to_owned();
    world.wait_state(PROJECT, "2024-06-01", &run, "completed").await;
    let oracle = Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    oracle.check(&world.posthog, KEY, PROJECT, &days).await.assert_clean();
}

#[tokio::test]
async fn a_corrected_key_and_a_requeue_bring_a_dead_day_back() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[yesterday()], 5, 1).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    succeeds(&world, &["enqueue"]).await;
    world
        .wait_state(PROJECT, &yesterday().to_string(), "daily", "dead")
        .await;
    nothing_is_planned(&world).await;
    let look = || async { world.queue_depth(crate::DEAD).await == 1 };
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

    let right = "phc_the_right_key";
    world.posthog.known_key(right);
    let set = ["integrations", "set", "--project", PROJECT];
    let output = world.producer_with_env(&set, &[("POSTHOG_API_KEY", right)]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    succeeds(&world, &["integrations", "check"]).await;
    succeeds(
        &world,
        &["dead-letters", "requeue", "--error-code", "unauthorized", "--yes"],
    )
    .await;
    world
        .wait_state(PROJECT, &yesterday().to_string(), "daily", "completed")
        .await;
    let oracle = Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    oracle
        .check(&world.posthog, right, PROJECT, &[yesterday()])
        .await
        .assert_clean();
    assert_eq!(world.queue_depth(crate::DEAD).await, 0);
}
