//! The producer's commands against real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

use chrono::{Days, NaiveDate, Utc};
use serde_json::Value;
use testkit::{World, langfuse, seed};

const KEY: &str = "phc_key_of_the_first_project";
const JOBS: &str = "posthog-export.jobs";
const BACKFILL: &str = "posthog-export.backfill";
const DEAD: &str = "posthog-export.dead-letters";

fn yesterday() -> NaiveDate {
    Utc::now().date_naive() - Days::new(1)
}

/// Two projects with three days of data each, the second one's integration disabled.
async fn world() -> World {
    let world = World::new().await;
    let days: Vec<NaiveDate> = (0..3).map(|back| yesterday() - Days::new(back)).collect();
    for (project, key, enabled) in [("p1", KEY, true), ("p2", "phc_second", false)] {
        langfuse::add_project(&world.pool(), project, project).await;
        langfuse::add_integration(&world.pool(), project, &world.posthog.url(), key, enabled).await;
        seed::realistic(&world.pool(), project, &days, 10, 1).await;
    }
    world.posthog.known_key(KEY);
    world
}

async fn runs(world: &World) -> Vec<(String, NaiveDate, String, String)> {
    sqlx::query_as("select project_id, day, run, state from posthog_export.runs order by 1, 2, 3")
        .fetch_all(&world.pool())
        .await
        .unwrap()
}

async fn ok(world: &World, arguments: &[&str]) -> String {
    let output = world.producer(arguments).await;
    assert_eq!(output.code, 0, "{arguments:?}: {}{}", output.stdout, output.stderr);
    output.stdout
}

#[tokio::test]
async fn enqueue_is_idempotent_and_knows_its_lanes() {
    let world = world().await;
    let said = ok(&world, &["enqueue", "--dry-run"]).await;
    assert!(said.contains('3'), "{said}");
    let said = ok(&world, &["enqueue"]).await;
    assert!(said.contains("3 jobs"), "{said}");
    assert_eq!(
        (world.queue_depth(JOBS).await, world.queue_depth(BACKFILL).await),
        (1, 2)
    );
    let found = runs(&world).await;
    assert_eq!(found.len(), 3);
    assert!(
        found
            .iter()
            .all(|(project, _, run, state)| project == "p1" && run == "daily" && state == "queued")
    );
    ok(&world, &["enqueue"]).await;
    assert_eq!(
        (world.queue_depth(JOBS).await, world.queue_depth(BACKFILL).await),
        (1, 2)
    );

    let newest = world.get_message(BACKFILL).await.unwrap();
    assert_eq!(
        newest.json()["day"],
        (yesterday() - Days::new(1)).to_string(),
        "newest first"
    );
    assert_eq!(newest.delivery_mode, Some(2));
    assert_eq!(newest.content_type.as_deref(), Some("application/json"));
}

#[tokio::test]
async fn two_producers_at_once_make_no_second_job() {
    let world = world().await;
    ok(&world, &["migrate"]).await;
    ok(&world, &["declare"]).await;
    let (first, second) = tokio::join!(world.producer(&["enqueue"]), world.producer(&["enqueue"]));
    assert!(first.code == 0 || second.code == 0, "{}{}", first.stderr, second.stderr);
    assert_eq!(
        (world.queue_depth(JOBS).await, world.queue_depth(BACKFILL).await),
        (1, 2)
    );
}

#[tokio::test]
async fn what_no_queue_takes_is_not_recorded_and_fails() {
    let world = world().await;
    ok(&world, &["migrate"]).await;
    let output = world.producer(&["enqueue", "--no-setup"]).await;
    assert_ne!(output.code, 0, "{}", output.stdout);
    assert!(runs(&world).await.is_empty());
}

#[tokio::test]
async fn a_replay_is_the_message_a_human_would_publish() {
    let world = world().await;
    ok(&world, &["migrate"]).await;
    ok(&world, &["declare"]).await;
    let day = yesterday().to_string();
    ok(
        &world,
        &[
            "replay",
            "--project",
            "p1",
            "--from",
            &day,
            "--to",
            &day,
            "--events",
            "trace,score",
        ],
    )
    .await;
    let message = world.get_message(JOBS).await.unwrap().json();
    assert_eq!(
        (&message["project_id"], &message["day"]),
        (&"p1".into(), &day.as_str().into())
    );
    assert_eq!(message["events"], serde_json::json!(["trace", "score"]));
    assert!(message["run"].as_str().unwrap().starts_with("replay-"));
}

#[tokio::test]
async fn status_is_a_table_for_people_and_json_for_programs() {
    let world = world().await;
    ok(&world, &["enqueue"]).await;
    let table = ok(&world, &["status"]).await;
    assert!(table.contains("p1"), "{table}");
    let json: Value = serde_json::from_str(&ok(&world, &["status", "--json"]).await).unwrap();
    assert!(json.to_string().contains("p1"), "{json}");
}

#[tokio::test]
async fn dead_letters_are_listed_and_requeued() {
    let world = world().await;
    world.posthog.forget_key(KEY);
    ok(&world, &["enqueue"]).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    let patience = std::time::Duration::from_secs(60);
    world
        .wait_until("three dead letters", patience, || async {
            world.queue_depth(DEAD).await == 3
        })
        .await;
    // A message that is no job stays where it is unless it is forced.
    assert!(world.publish("posthog-export", "dead", b"not a job").await);

    let list = ok(&world, &["dead-letters", "list"]).await;
    let id = format!("p1/{}/daily", yesterday());
    assert!(list.contains("unauthorized") && list.contains(&id), "{list}");
    let json: Value = serde_json::from_str(&ok(&world, &["dead-letters", "list", "--json"]).await).unwrap();
    assert!(json.to_string().contains(&id), "{json}");
    assert_eq!(world.queue_depth(DEAD).await, 4, "looking takes nothing away");

    world.posthog.known_key(KEY);
    ok(&world, &["dead-letters", "requeue", &id]).await;
    world
        .wait_state("p1", &yesterday().to_string(), "daily", "completed")
        .await;
    assert_eq!(world.queue_depth(DEAD).await, 3);
    ok(&world, &["dead-letters", "requeue", "--all"]).await;
    let done = || async { runs(&world).await.iter().all(|(.., state)| state == "completed") };
    world.wait_until("all runs are completed", patience, done).await;
    assert_eq!(world.queue_depth(DEAD).await, 1);
    let unknown = world
        .producer(&["dead-letters", "requeue", "p1/2020-01-01/daily"])
        .await;
    assert_ne!(unknown.code, 0);
}

#[tokio::test]
async fn integrations_are_set_in_langfuses_own_encryption() {
    let world = world().await;
    let set = [
        "integrations",
        "set",
        "--project",
        "p2",
        "--host",
        &world.posthog.url(),
        "--enable",
    ];
    let output = world
        .producer_with_env(&set, &[("POSTHOG_API_KEY", "phc_new_secret_key")])
        .await;
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    let (stored, enabled): (String, bool) =
        sqlx::query_as("select encrypted_posthog_api_key, enabled from posthog_integrations where project_id = 'p2'")
            .fetch_one(&world.pool())
            .await
            .unwrap();
    assert!(enabled);
    assert_eq!(
        langfuse::decrypt(langfuse::ENCRYPTION_KEY, &stored).as_deref(),
        Some("phc_new_secret_key")
    );
    for output in [output, world.producer(&["integrations", "list"]).await] {
        assert!(!format!("{}{}", output.stdout, output.stderr).contains("phc_new_secret_key"));
    }
    let check = world.producer(&["integrations", "check"]).await;
    assert_ne!(check.code, 0, "the host does not know p2's key: {}", check.stdout);
    world.posthog.known_key("phc_new_secret_key");
    ok(&world, &["integrations", "check"]).await;
}

#[tokio::test]
async fn late_rows_are_swept_up_by_a_run_of_their_own() {
    let world = world().await;
    ok(&world, &["enqueue"]).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    let patience = std::time::Duration::from_secs(60);
    let done = || async { runs(&world).await.iter().all(|(.., state)| state == "completed") };
    world.wait_until("all runs are completed", patience, done).await;
    seed::late(&world.pool(), "p1", yesterday(), 7, "late").await;
    // Rows count as arrived once they are old enough to be visible to every reader.
    let swept = || async {
        let output = world.producer(&["enqueue"]).await;
        assert_eq!(output.code, 0, "{}", output.stderr);
        runs(&world).await.iter().any(|(_, _, run, _)| run.starts_with("late-"))
    };
    world.wait_until("a late run is enqueued", patience, swept).await;
    world.wait_until("all runs are completed", patience, done).await;
    let oracle = testkit::oracle::Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    let report = oracle
        .check(
            &world.posthog,
            KEY,
            "p1",
            &[yesterday(), yesterday() - Days::new(1), yesterday() - Days::new(2)],
        )
        .await;
    report.assert_clean();
}

#[tokio::test]
async fn bad_settings_are_named_at_once_without_their_secrets() {
    let world = world().await;
    let bad = [
        ("DATABASE_URL", "mysql://u:hunter2@h"),
        ("AMQP_URL", "x:hunter2"),
        ("EXPORT_LAG", "soon"),
    ];
    let output = world.producer_with_env(&["enqueue"], &bad).await;
    assert_eq!(output.code, 2, "{}", output.stderr);
    for (name, _) in bad {
        assert!(output.stderr.contains(name), "{name} in {}", output.stderr);
    }
    assert!(!output.stderr.contains("hunter2"));
}
