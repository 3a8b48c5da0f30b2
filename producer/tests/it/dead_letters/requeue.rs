//! `dead-letters requeue` publishes a message again before it takes it from the queue.

use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use testkit::{BACKFILL, DEAD, JOBS};

use super::{
    TRACEPARENT, UNAUTHORIZED, add_dead_letter, body, given_up_by_the_broker, ids, listed, raw, some_dead_letters,
};
use crate::{PROJECT, add_run, alter, day, drain, headers, json, ledger, world, yesterday};

#[tokio::test]
async fn requeue_by_id_publishes_the_body_and_leaves_the_rest_in_order() {
    let world = some_dead_letters().await;
    let before: Vec<Value> = listed(&world, &[]).await;
    let arguments = ["dead-letters", "requeue", "project one/2024-06-02/daily"];
    let dry = world.succeeds(&[&arguments[..], &["--dry-run"]].concat()).await;
    assert!(dry.stdout.contains("Would requeue 1 dead letter"), "{}", dry.stdout);
    assert_eq!(
        (world.queue_depth(DEAD).await, world.queue_depth(BACKFILL).await),
        (5, 0)
    );

    world.succeeds(&arguments).await;
    let message = drain(&world, BACKFILL).await.remove(0);
    assert_eq!(headers(&message), json!({"traceparent": TRACEPARENT}));
    assert_eq!(String::from_utf8(message.body).unwrap(), body("2024-06-02"));
    let left = listed(&world, &[]).await;
    let mut expected = ids(&before);
    expected.remove(1);
    assert_eq!(ids(&left), expected);
    let rows = ledger(&world).await;
    assert!(rows.contains("project one/2024-06-02/daily queued") && rows.contains("project one/2024-06-01/daily dead"));
    let (attempt, code): (i32, Option<String>) =
        sqlx::query_as("select attempt, error_code from posthog_export.runs where state = 'queued'")
            .fetch_one(&world.pool())
            .await
            .unwrap();
    assert_eq!((attempt, code), (0, None));
}

#[tokio::test]
async fn requeue_by_project_by_cause_and_all() {
    let world = some_dead_letters().await;
    let requeue = async |arguments: &[&str]| {
        json(
            &world,
            &[&["dead-letters", "requeue", "--json", "--yes"], arguments].concat(),
        )
        .await
    };
    let report = requeue(&["--project", PROJECT, "--error-code", "endpoint_refused"]).await;
    assert_eq!(report["requeued"], json!([format!("{PROJECT}/{}/daily", yesterday())]));
    let yesterdays = drain(&world, JOBS).await;
    assert_eq!((yesterdays.len(), headers(&yesterdays[0])), (1, json!({})));
    // A message that is no job stays in the queue.
    let report = requeue(&["--all"]).await;
    assert_eq!(
        (
            report["requeued"].as_array().unwrap().len(),
            report["left"].as_array().unwrap().len()
        ),
        (3, 1)
    );
    assert_eq!(world.queue_depth(DEAD).await, 1);
    assert_eq!(world.queue_depth(BACKFILL).await, 3);

    let letters = listed(&world, &[]).await;
    let bad = raw(&letters)[0];
    let output = world.producer(&["dead-letters", "requeue", bad]).await;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("--force"), "{}", output.stderr);
    world.succeeds(&["dead-letters", "requeue", bad, "--force"]).await;
    assert_eq!(drain(&world, JOBS).await.remove(0).body, b"no job");
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn what_is_not_there_is_said_and_nothing_moves() {
    let world = some_dead_letters().await;
    let output = world
        .producer(&[
            "dead-letters",
            "requeue",
            "project one/2024-06-01/daily",
            "p/2024-01-01/x",
        ])
        .await;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("p/2024-01-01/x"), "{}", output.stderr);
    assert_eq!(
        (world.queue_depth(DEAD).await, world.queue_depth(BACKFILL).await),
        (5, 0)
    );
    assert_eq!(world.producer(&["dead-letters", "requeue"]).await.code, 2);
    assert_eq!(world.producer(&["dead-letters", "requeue", "x", "--all"]).await.code, 2);
    let output = world.producer(&["dead-letters", "show", "p/2024-01-01/x"]).await;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("p/2024-01-01/x"), "{}", output.stderr);
}

#[tokio::test]
async fn one_that_no_queue_takes_stays_a_dead_letter() {
    let world = some_dead_letters().await;
    let connection = Connection::connect(&world.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let nothing = FieldTable::default;
    channel
        .queue_unbind(BACKFILL.into(), "posthog-export".into(), "backfill".into(), nothing())
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();

    let output = world
        .producer(&["dead-letters", "requeue", "--project", PROJECT, "--yes"])
        .await;
    assert_eq!(output.code, 1);
    assert!(
        output.stdout.contains("1 of 3 dead letters requeued"),
        "{}",
        output.stdout
    );
    assert_eq!(listed(&world, &["--error-code", "unauthorized"]).await.len(), 2);
    assert!(ledger(&world).await.contains("project one/2024-06-01/daily dead"));
}

#[tokio::test]
async fn two_at_once_requeue_each_once() {
    let world = world().await;
    for number in 0..40 {
        add_dead_letter(&world, body(&format!("2024-05-{:02}", number % 20 + 1)), UNAUTHORIZED).await;
    }
    let requeue = || world.producer(&["dead-letters", "requeue", "--all", "--yes"]);
    let (one, two) = tokio::join!(requeue(), requeue());
    assert_eq!((one.code, two.code), (0, 0), "{}{}", one.stderr, two.stderr);
    // Two dead letters with the same message are published as one job.
    assert_eq!(world.queue_depth(BACKFILL).await, 20);
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn a_dead_run_whose_message_is_gone_can_still_be_requeued() {
    let world = world().await;
    add_run(&world, day("2024-06-01"), "replay-1", "dead", None).await;
    alter(
        &world,
        "update posthog_export.runs set error_code = 'billing_limit', events = '{score}'",
    )
    .await;
    let letters = listed(&world, &["--error-code", "billing_limit"]).await;
    assert_eq!(
        (&letters[0]["id"], &letters[0]["in_queue"]),
        (&"project one/2024-06-01/replay-1".into(), &false.into())
    );
    world.succeeds(&["dead-letters", "requeue", "--all", "--yes"]).await;
    let message = drain(&world, BACKFILL).await.remove(0).json();
    assert_eq!(
        message,
        json!({"project_id": PROJECT, "day": "2024-06-01", "run": "replay-1", "events": ["score"]})
    );
    assert!(listed(&world, &[]).await.is_empty());
}

#[tokio::test]
async fn what_the_broker_gave_up_has_its_cause_and_loses_the_brokers_headers() {
    let world = given_up_by_the_broker().await;
    let letters = listed(&world, &["--error-code", "delivery_limit"]).await;
    assert_eq!((letters.len(), &letters[0]["state"]), (1, &"queued".into()));
    assert!(letters[0]["first_failed_at"].is_string(), "{letters:?}");
    world.succeeds(&["dead-letters", "requeue", "--all", "--yes"]).await;
    assert_eq!(headers(&drain(&world, BACKFILL).await[0]), json!({}));
}
