//! With a real worker and the fake PostHog's app: what the worker sent is what `verify` looks for,
//! whatever PostHog does with it.

use std::sync::Arc;

use serde_json::{Value, json};
use testkit::oracle::Oracle;
use testkit::seed;
use testkit::{Project, Worker, World};

use crate::{KEY, PROJECT, alter, day, world};

const DAY: &str = "2024-06-01";
const PERSONAL_KEY: &str = "phx_reads_only";
const NUMBER: i64 = 7;

/// A day of all shapes of rows, exported more than a day ago, and a key that may ask for it.
async fn exported() -> (Arc<World>, Project, Worker) {
    let world = world().await;
    let posthog = &world.posthog;
    posthog.app_project(NUMBER, KEY);
    posthog.personal_key(PERSONAL_KEY, &["query:read", "project:read"]);
    let file = format!("keys-{}", posthog.address().port());
    let keys = world.servers().directory().path().join(file);
    std::fs::write(&keys, format!("{} {PERSONAL_KEY}\n", posthog.address())).unwrap();
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", keys.to_str().unwrap());
    let project = Project::of(&world, PROJECT, KEY);
    project.seed(&[day(DAY)], 60, 4).await;
    seed::adversarial(&world.pool(), PROJECT, day(DAY)).await;
    let worker = world.ready_worker(&[("BATCH_MAX_EVENTS", "20")]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    long_ago(&world).await;
    (world, project, worker)
}

async fn long_ago(world: &World) {
    alter(
        world,
        "update posthog_export.runs set completed_at = completed_at - interval '2 days'",
    )
    .await;
}

async fn verify(world: &World) -> Value {
    let output = world.producer(&["verify", "--day", DAY, "--json"]).await;
    let report: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.stderr));
    report["days"][0].clone()
}

/// What the oracle misses and finds unexpected, which must be what `verify` says.
async fn oracle(world: &World) -> (Value, Value, Value) {
    let oracle = Oracle::new(world.pool(), Some(testkit::world::LANGFUSE_URL));
    let report = oracle.check(&world.posthog, KEY, PROJECT, &[day(DAY)]).await;
    (json!(report.expected), json!(report.missing), json!(report.unexpected))
}

fn numbers(found: &Value) -> (Value, Value, Value) {
    (
        found["expected"].clone(),
        found["missing"].clone(),
        found["extra"].clone(),
    )
}

#[tokio::test]
async fn what_the_worker_sends_is_what_is_looked_for_whatever_posthog_is_like() {
    let (world, _project, _worker) = exported().await;
    let found = verify(&world).await;
    assert_eq!(found["verdict"], "arrived", "{found}");
    assert_eq!(numbers(&found), oracle(&world).await);
    let posthog = &world.posthog;
    posthog.project_zone(NUMBER, "Asia/Tokyo", 9 * 60);
    assert_eq!(verify(&world).await["verdict"], "arrived");
    posthog.old_server(true);
    let old = verify(&world).await;
    assert_eq!((&old["verdict"], &old["weaker"]), (&json!("arrived"), &json!(true)));
    posthog.old_server(false);
    posthog.too_heavy(posthog.counts(KEY).stored - 1, 512);
    assert_eq!(verify(&world).await["verdict"], "arrived", "{}", verify(&world).await);
    posthog.narrow_personal_key(PERSONAL_KEY, &[8]);
    let refused = verify(&world).await;
    // What was found of this run stays, and why it cannot be told anew is said beside it.
    assert_eq!(refused["verdict"], "arrived", "{refused}");
    assert!(
        refused["failure"].as_str().unwrap().contains("give it access"),
        "{refused}"
    );
    posthog.forget_personal_key(PERSONAL_KEY);
    assert!(
        verify(&world).await["failure"]
            .as_str()
            .unwrap()
            .contains("make a new one")
    );
}

#[tokio::test]
async fn what_posthog_drops_in_silence_is_found_and_sent_again() {
    let (world, project, _worker) = exported().await;
    let posthog = &world.posthog;
    posthog.reset();
    posthog.billing_limit_after(KEY, 150);
    world.succeeds(&["replay", "--project", PROJECT, "--day", DAY]).await;
    let done = async |runs: i64| {
        let completed = async || {
            let number: i64 = sqlx::query_scalar("select count(*) from posthog_export.runs where state = 'completed'")
                .fetch_one(&world.pool())
                .await
                .unwrap();
            number == runs
        };
        world
            .wait_until("the run is completed", std::time::Duration::from_secs(60), completed)
            .await;
        long_ago(&world).await;
    };
    done(2).await;
    let found = verify(&world).await;
    assert_eq!(found["verdict"], "missing", "{found}");
    let (expected, missing, extra) = oracle(&world).await;
    assert!(missing.as_u64().unwrap() > 50, "{missing}");
    assert_eq!(numbers(&found), (expected, missing, extra));

    posthog.billing_limit(KEY, false);
    let repaired = world.producer(&["verify", "--day", DAY, "--repair", "--force"]).await;
    assert!(repaired.stdout.contains("sent again as replay-"), "{}", repaired.stdout);
    done(3).await;
    let found = verify(&world).await;
    assert_eq!(found["verdict"], "arrived", "{found}");
    project.assert_delivered(&[DAY]).await;
}
