//! Projects whose key or host is wrong are paused, and come back when that is mended or a human
//! says so.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::posthog::{Behavior, Rule};
use testkit::{DEAD, Project, World};

use crate::{KEY, PROJECT, add_project, add_traces, alter, day, json as answer, ledger, world, yesterday};

const PATIENCE: Duration = Duration::from_secs(60);

async fn paused(world: &World) -> Vec<Value> {
    let report = answer(world, &["projects", "list", "--paused", "--json"]).await;
    report["projects"].as_array().unwrap().clone()
}

/// How many rows of the ledger are in that state.
async fn in_state(world: &World, state: &str) -> usize {
    let rows = ledger(world).await;
    rows.iter().filter(|row| row.ends_with(&format!(" {state}"))).count()
}

#[tokio::test]
async fn a_wrong_key_fails_once_and_all_come_back_with_the_right_one() {
    let world = world().await;
    let days: Vec<_> = (1..=6).map(|the_day| day(&format!("2024-06-0{the_day}"))).collect();
    add_traces(&world, PROJECT, &days).await;
    // One at a time, so that the first has failed before the second is looked at.
    let _worker = world
        .ready_worker(&[("WORKER_CONCURRENCY", "1"), ("BACKFILL_CONCURRENCY", "1")])
        .await;
    world.succeeds(&["enqueue"]).await;
    let rest = || async { (in_state(&world, "dead").await, in_state(&world, "skipped").await) == (1, 5) };
    world
        .wait_until("one is dead and the rest skipped", PATIENCE, rest)
        .await;

    let listed = paused(&world).await;
    assert_eq!((listed.len(), &listed[0]["project_id"]), (1, &PROJECT.into()));
    assert_eq!(listed[0]["paused"]["error_code"], "unauthorized");
    let status = answer(&world, &["status", "--json"]).await;
    assert_eq!(status["projects"][0]["paused"]["error_code"], "unauthorized");
    let text = world.succeeds(&["status"]).await.stdout;
    assert!(text.contains("PAUSED (unauthorized), "), "{text}");
    // A new day is not enqueued, nor is what was skipped.
    add_traces(&world, PROJECT, &[yesterday()]).await;
    let report = answer(&world, &["enqueue", "--json"]).await;
    assert_eq!((&report["jobs"], &report["paused"]), (&json!([]), &json!([PROJECT])));

    let right = "phc_the_right_key";
    world.posthog.known_key(right);
    let set = ["integrations", "set", "--project", PROJECT];
    assert_eq!(
        world.producer_with_env(&set, &[("POSTHOG_API_KEY", right)]).await.code,
        0
    );
    assert!(paused(&world).await.is_empty());
    let report = answer(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        report["planned"],
        json!({"new": 1, "resumed": 5, "late": 0, "step": 0, "settled": 0, "healed": 0})
    );
    world.succeeds(&["dead-letters", "requeue", "--all", "--yes"]).await;
    let all = || async { in_state(&world, "completed").await == 7 };
    world.wait_until("all are completed", PATIENCE, all).await;
    let days = [days, vec![yesterday()]].concat();
    Project::of(&world, PROJECT, right).assert_delivered(&days).await;
}

#[tokio::test]
async fn requeuing_says_that_the_cause_is_gone() {
    let world = world().await;
    world.posthog.known_key(KEY);
    world.posthog.script(Rule::always(Behavior::status(403)));
    add_traces(&world, PROJECT, &[yesterday()]).await;
    let _worker = world.ready_worker(&[]).await;
    world.succeeds(&["enqueue"]).await;
    let dead = || async { world.queue_depth(DEAD).await == 1 };
    world.wait_until("it is a dead letter", PATIENCE, dead).await;
    assert_eq!(paused(&world).await[0]["paused"]["error_code"], "endpoint_refused");
    world.posthog.behave();
    let report = answer(&world, &["dead-letters", "requeue", "--all", "--yes", "--json"]).await;
    assert_eq!(report["resumed"], json!([PROJECT]));
    Project::of(&world, PROJECT, KEY)
        .wait_state(yesterday(), "daily", "completed")
        .await;
    assert!(paused(&world).await.is_empty());
}

#[tokio::test]
async fn a_human_pauses_and_resumes() {
    let world = world().await;
    world.posthog.known_key(KEY);
    add_traces(&world, PROJECT, &[yesterday(), day("2024-06-01")]).await;
    world.succeeds(&["enqueue"]).await;
    world
        .succeeds(&["projects", "pause", PROJECT, "--reason", "moving house"])
        .await;
    let worker = world.ready_worker(&[]).await;
    let skipped = || async { in_state(&world, "skipped").await == 2 };
    world.wait_until("both are skipped", PATIENCE, skipped).await;
    worker.wait_log("moving house").await;
    assert_eq!(answer(&world, &["enqueue", "--json"]).await["jobs"], json!([]));

    // A pause by a human ends neither when the settings are saved again nor when dead letters are
    // requeued.
    let set = ["integrations", "set", "--project", PROJECT];
    assert_eq!(world.producer_with_env(&set, &[("POSTHOG_API_KEY", KEY)]).await.code, 0);
    alter(
        &world,
        "update posthog_export.runs set state = 'dead' where day = '2024-06-01'",
    )
    .await;
    let output = world.succeeds(&["dead-letters", "requeue", "--all", "--yes"]).await;
    assert!(output.stderr.contains("producer projects resume"), "{}", output.stderr);
    world.wait_until("it is skipped again", PATIENCE, skipped).await;
    assert_eq!(paused(&world).await[0]["paused"]["paused_by"], "human");

    let report = answer(&world, &["projects", "resume", "--all", "--json"]).await;
    assert_eq!(report["resumed"], json!([PROJECT]));
    assert_eq!(answer(&world, &["enqueue", "--json"]).await["planned"]["resumed"], 2);
    let completed = || async { in_state(&world, "completed").await == 2 };
    world.wait_until("both are completed", PATIENCE, completed).await;
}

/// Pauses in the ledger, whether they hold or not: what the metric, and so the alert, counts.
async fn counted(world: &World) -> Vec<String> {
    let statement = "select project_id from posthog_export.paused order by 1";
    sqlx::query_scalar(statement).fetch_all(&world.pool()).await.unwrap()
}

#[tokio::test]
async fn an_enqueue_forgets_the_pauses_whose_cause_is_gone() {
    let world = world().await;
    for id in [
        "saved anew",
        "switched off",
        "removed",
        "paused by hand",
        "by hand and off",
    ] {
        add_project(&world, id, true).await;
    }
    world
        .succeeds(&["projects", "pause", "paused by hand", "by hand and off"])
        .await;
    // Pauses as workers leave them, with the fingerprint of the settings that were wrong.
    let ledger = shared::ledger::Ledger::new(world.pool());
    for stored in shared::integration::list(&world.pool(), None).await.unwrap() {
        let code = shared::error_code::ErrorCode::Unauthorized;
        let (id, settings) = (&stored.project_id, stored.fingerprint());
        ledger
            .pause_after(id, &settings, code, "no such key", "w")
            .await
            .unwrap();
    }
    for change in [
        "update posthog_integrations set posthog_host_name = 'https://eu.i.posthog.com' where project_id = 'saved anew'",
        "update posthog_integrations set enabled = false where project_id in ('switched off', 'by hand and off')",
        "delete from posthog_integrations where project_id = 'removed'",
    ] {
        alter(&world, change).await;
    }
    world.succeeds(&["enqueue", "--dry-run"]).await;
    assert_eq!(counted(&world).await.len(), 6);
    // The enqueue checks the pauses of all projects, also of those that were not asked for. Pauses
    // that still hold stay.
    world.succeeds(&["enqueue", "--project", PROJECT]).await;
    assert_eq!(counted(&world).await, ["by hand and off", "paused by hand", PROJECT]);
    alter(
        &world,
        "delete from posthog_integrations where project_id = 'by hand and off'",
    )
    .await;
    world.succeeds(&["enqueue"]).await;
    assert_eq!(counted(&world).await, ["paused by hand", PROJECT]);
}

#[tokio::test]
async fn who_is_not_there_or_not_paused_is_named() {
    let world = world().await;
    for (arguments, part) in [
        (&["projects", "pause", "nobody"][..], "no project nobody"),
        (&["projects", "resume", PROJECT], "not paused: project one"),
    ] {
        let output = world.producer(arguments).await;
        assert!(output.code == 1 && output.stderr.contains(part), "{}", output.stderr);
    }
    assert_eq!(world.producer(&["projects", "resume"]).await.code, 2);
    let text = world.succeeds(&["projects", "list"]).await.stdout;
    assert!(text.contains("Name of project one"), "{text}");
    let text = world
        .succeeds(&["projects", "resume", "--error-code", "unauthorized"])
        .await
        .stdout;
    assert!(text.contains("No such project is paused"), "{text}");
}
