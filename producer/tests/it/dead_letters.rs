//! Dead letters are shown with their cause, go back when a human says so, and are never lost on the
//! way.

mod discard;
mod list;
mod requeue;

use std::sync::Arc;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::Value;
use testkit::{BACKFILL, DEAD, World, job};

use crate::{PROJECT, add_run, alter, day, json, world, yesterday};

/// A dead letter as a worker publishes it.
pub(crate) async fn add_dead_letter(world: &World, body: impl AsRef<[u8]>, headers: &[(&str, &str)]) {
    add_dead_letters(world, &[body], headers).await;
}

/// The same for many, which have the same headers.
pub(crate) async fn add_dead_letters(world: &World, bodies: &[impl AsRef<[u8]>], headers: &[(&str, &str)]) {
    let connection = Connection::connect(&world.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    let mut confirms = Vec::new();
    for body in bodies {
        let publish = channel.basic_publish(
            "posthog-export".into(),
            "dead".into(),
            BasicPublishOptions::default(),
            body.as_ref(),
            BasicProperties::default().with_headers(table.clone()),
        );
        confirms.push(publish.await.unwrap());
    }
    for confirm in confirms {
        confirm.await.unwrap();
    }
    connection.close(200, "done".into()).await.unwrap();
}

pub(crate) fn body(the_day: &str) -> String {
    String::from_utf8(job(PROJECT, the_day, Some("daily"))).unwrap()
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
pub(crate) const UNAUTHORIZED: &[(&str, &str)] = &[
    ("x-error-code", "unauthorized"),
    ("x-error", "PostHog does not know the key"),
    ("x-first-failed-at", "2024-06-02T01:00:00.000Z"),
    ("traceparent", TRACEPARENT),
];

/// Two refused keys, one endpoint, one of another project, and a body that is no job.
pub(crate) async fn some_dead_letters() -> Arc<World> {
    let world = world().await;
    for the_day in ["2024-06-01", "2024-06-02"] {
        add_run(&world, day(the_day), "daily", "dead", None).await;
        add_dead_letter(&world, body(the_day), UNAUTHORIZED).await;
    }
    add_dead_letter(
        &world,
        "no job",
        &[("x-error-code", "bad_message"), ("x-error", "expected value")],
    )
    .await;
    add_run(&world, yesterday(), "daily", "dead", None).await;
    let endpoint = [("x-error-code", "endpoint_refused"), ("x-death", "not the broker's")];
    add_dead_letter(&world, body(&yesterday().to_string()), &endpoint).await;
    add_dead_letter(
        &world,
        r#"{"project_id":"other","day":"2024-06-01"}"#,
        &[("x-error-code", "unknown_project")],
    )
    .await;
    alter(
        &world,
        "update posthog_export.runs set attempt = 3, error = 'in the ledger', error_code = 'unauthorized'",
    )
    .await;
    world
}

async fn listed(world: &World, arguments: &[&str]) -> Vec<Value> {
    let report = json(world, &[&["dead-letters", "list", "--json"], arguments].concat()).await;
    report["dead_letters"].as_array().unwrap().clone()
}

fn ids(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["id"].as_str().unwrap()).collect()
}

/// `no job`, by its first twelve digits.
fn raw(letters: &[Value]) -> Vec<&str> {
    ids(letters)
        .into_iter()
        .filter(|id| id.starts_with("raw/") && id.len() == 16)
        .collect()
}

/// A message that was delivered and dropped until the broker gave it up. In the ledger it is still
/// queued.
pub(crate) async fn given_up_by_the_broker() -> Arc<World> {
    let world = world().await;
    add_run(&world, day("2024-06-01"), "daily", "queued", None).await;
    assert!(
        world
            .publish("posthog-export", "backfill", body("2024-06-01").as_bytes())
            .await
    );
    let connection = Connection::connect(&world.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let given_up = async || {
        let got = channel
            .basic_get(BACKFILL.into(), lapin::options::BasicGetOptions::default())
            .await
            .unwrap();
        if let Some(message) = got {
            let requeue = lapin::options::BasicRejectOptions { requeue: true };
            message.delivery.acker.reject(requeue).await.unwrap();
        }
        world.queue_depth(DEAD).await == 1
    };
    world
        .wait_until("the broker gives it up", std::time::Duration::from_secs(30), given_up)
        .await;
    world
}
