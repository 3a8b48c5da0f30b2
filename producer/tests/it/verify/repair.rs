//! `--repair`: once for a verdict, to where the events are missing, and never beside another run.

use std::sync::Arc;

use lapin::types::FieldTable;
use serde_json::{Value, json};
use testkit::{JOBS, World, langfuse};

use super::app::App;
use super::{DAY, exported, uuid, verify};
use crate::{PROJECT, alter};

/// A day that misses one generation.
async fn missing() -> (Arc<World>, App) {
    let (world, app, mut events) = exported(PROJECT).await;
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    (world, app)
}

/// Why the day is not sent again, which is no success.
async fn refused(world: &World, more: &[&str]) -> String {
    let (report, code, said) = verify(world, &[&["--repair"], more].concat()).await;
    assert_eq!((code, &report["repaired"][0]["run"]), (1, &Value::Null), "{said}");
    assert_eq!(report["days"][0]["missing"], 1, "the report is shown all the same");
    report["repaired"][0]["refused"].as_str().unwrap().to_owned()
}

async fn is_marked(world: &World) -> bool {
    sqlx::query_scalar("select repaired_at is not null from posthog_export.arrivals")
        .fetch_one(&world.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn nothing_is_sent_to_another_host_or_key_than_where_it_is_missing() {
    let (world, app) = missing().await;
    verify(&world, &[]).await;
    langfuse::add_integration(&world.pool(), PROJECT, &format!("http://{}", app.host), "phc_new", true).await;
    let why = refused(&world, &["--force"]).await;
    assert!(
        why.contains("another host or with another key") && why.contains("`producer replay`"),
        "{why}"
    );
    assert_eq!(world.queue_depth(JOBS).await, 0);
}

#[tokio::test]
async fn of_two_at_the_same_time_one_sends_again() {
    let (world, _app) = missing().await;
    for (force, sent) in [(&[][..], 1), (&["--force"][..], 1)] {
        let repair = async || verify(&world, &[&["--repair"], force].concat()).await.0;
        let (one, other) = tokio::join!(repair(), repair());
        let runs = [&one, &other].map(|report| report["repaired"][0]["run"].is_string());
        assert_eq!(world.queue_depth(JOBS).await, sent, "{force:?}: {one} {other}");
        assert!(
            runs.contains(&true) && runs.contains(&false),
            "{force:?}: {one} {other}"
        );
        world.purge(JOBS).await;
        alter(&world, "delete from posthog_export.runs where run <> 'daily'").await;
    }
}

#[tokio::test]
async fn a_broker_that_is_down_uses_no_mark_up() {
    let (world, _app) = missing().await;
    let arguments = ["verify", "--day", DAY, "--json", "--repair"];
    let nowhere = [("AMQP_URL", "amqp://127.0.0.1:1/%2f")];
    let output = world.producer_with_env(&arguments, &nowhere).await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let why = report["repaired"][0]["refused"].as_str().unwrap();
    assert!(output.code == 1 && why.contains("AMQP_URL"), "{why}");
    assert_eq!(report["days"][0]["missing"], 1);
    assert!(!is_marked(&world).await);
    // Nor does a message that the broker returns.
    let bound = |bind: bool| {
        let world = Arc::clone(&world);
        async move {
            let connection = lapin::Connection::connect(&world.amqp_url, lapin::ConnectionProperties::default());
            let channel = connection.await.unwrap().create_channel().await.unwrap();
            let (exchange, key) = ("posthog-export".into(), "job".into());
            if bind {
                let options = lapin::options::QueueBindOptions::default();
                channel
                    .queue_bind(JOBS.into(), exchange, key, options, FieldTable::default())
                    .await
                    .unwrap();
            } else {
                channel
                    .queue_unbind(JOBS.into(), exchange, key, FieldTable::default())
                    .await
                    .unwrap();
            }
        }
    };
    bound(false).await;
    let why = refused(&world, &[]).await;
    assert!(why.contains("not confirmed by the broker"), "{why}");
    assert!(!is_marked(&world).await);
    bound(true).await;
    let report = verify(&world, &["--repair"]).await.0;
    assert!(report["repaired"][0]["run"].is_string(), "{report}");
    assert!(is_marked(&world).await && report["days"][0]["repaired_at"].is_string());
}

#[tokio::test]
async fn a_run_of_the_day_that_is_on_its_way_is_waited_for() {
    let (world, _app) = missing().await;
    for state in ["queued", "running", "waiting"] {
        sqlx::query(
            "insert into posthog_export.runs (project_id, day, run, state) values ($1, $2::text::date, 'late-9', $3)
             on conflict (project_id, day, run) do update set state = excluded.state",
        )
        .bind(PROJECT)
        .bind(DAY)
        .bind(state)
        .execute(&world.pool())
        .await
        .unwrap();
        let why = refused(&world, &["--force"]).await;
        assert!(why.contains(&format!("late-9 is {state}")), "{why}");
    }
    assert!(!is_marked(&world).await);
    alter(
        &world,
        "update posthog_export.runs set state = 'dead' where run = 'late-9'",
    )
    .await;
    let report = verify(&world, &["--repair"]).await.0;
    assert_eq!(report["repaired"][0]["refused"], json!(null), "{report}");
}
