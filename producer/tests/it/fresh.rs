//! What the operator sees of steps and settled runs.

use std::sync::Arc;

use serde_json::Value;
use testkit::{Clock, World};

use crate::{PROJECT, bare_world};

/// It is this time of June 2024 in the database, and a day has steps of an hour.
async fn world_at(time: &str) -> (Arc<World>, Clock) {
    let world = bare_world().await;
    let clock = world.clock(moment(time)).await;
    for (name, value) in [("EXPORT_LAG", "30m"), ("EXPORT_EVERY", "1h")] {
        world.set(name, value);
    }
    for command in ["migrate", "declare"] {
        world.succeeds(&[command]).await;
    }
    (world, clock)
}

/// `10 09:30`, in June 2024.
fn moment(time: &str) -> String {
    format!("2024-06-{time}")
}

/// What `doctor` finds about steps: the status, and what it says.
async fn asked_for(world: &World) -> Option<(String, String)> {
    let output = world.producer(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|finding| finding["check"] == "steps.asked_for")?;
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    Some((text("status"), text("found")))
}

#[tokio::test]
async fn doctor_says_when_nobody_asks_for_steps_until_they_are_switched_off() {
    let (world, clock) = world_at("10 09:31").await;
    let (status, found) = asked_for(&world).await.unwrap();
    assert_eq!(
        (status.as_str(), found.as_str()),
        ("warning", "EXPORT_EVERY is 1h, and steps were never asked for")
    );
    // Those of one project are not those of all.
    world.succeeds(&["enqueue", "--steps", "--project", PROJECT]).await;
    world.succeeds(&["enqueue", "--steps", "--dry-run"]).await;
    assert_eq!(asked_for(&world).await.unwrap().0, "warning");
    world.succeeds(&["enqueue", "--steps"]).await;
    let (status, found) = asked_for(&world).await.unwrap();
    assert!(
        status == "ok" && found.contains("last asked for at 2024-06-10 09:31:"),
        "{status} {found}"
    );
    clock.set(moment("10 11:31")).await;
    assert_eq!(asked_for(&world).await.unwrap().0, "warning");
    // Nothing is asked for anew between the borders, and that counts.
    for _ in 0..2 {
        world.succeeds(&["enqueue", "--steps"]).await;
        assert_eq!(asked_for(&world).await.unwrap().0, "ok");
    }

    // The whole enqueue of a producer without steps forgets them; one with steps does not.
    let known = async || shared::ledger::Ledger::new(world.pool()).last_steps().await.unwrap();
    world.succeeds(&["enqueue"]).await;
    assert!(known().await.is_some());
    world.set("EXPORT_EVERY", "1d");
    world.succeeds(&["enqueue", "--project", PROJECT]).await;
    assert!(known().await.is_some());
    world.succeeds(&["enqueue"]).await;
    assert_eq!((known().await, asked_for(&world).await), (None, None));
}
