//! Dead letters are shown with their cause, go back when a human says so, and are never lost on the
//! way.

use std::sync::Arc;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Value, json};
use testkit::{BACKFILL, DEAD, JOBS, World};

use crate::{PROJECT, add_run, alter, day, drain, headers, json, ledger, world, yesterday};

/// A dead letter as a worker publishes it.
async fn add_dead_letter(world: &World, body: &str, headers: &[(&str, &str)]) {
    let connection = Connection::connect(&world.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    let properties = BasicProperties::default().with_headers(table);
    let options = BasicPublishOptions::default();
    let publish = channel.basic_publish(
        "posthog-export".into(),
        "dead".into(),
        options,
        body.as_bytes(),
        properties,
    );
    publish.await.unwrap().await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

fn body(the_day: &str) -> String {
    format!(r#"{{"project_id":"{PROJECT}","day":"{the_day}","run":"daily"}}"#)
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNAUTHORIZED: &[(&str, &str)] = &[
    ("x-error-code", "unauthorized"),
    ("x-error", "PostHog does not know the key"),
    ("x-first-failed-at", "2024-06-02T01:00:00.000Z"),
    ("traceparent", TRACEPARENT),
];

/// Two refused keys, one endpoint, one of another project, and a body that is no job.
async fn some_dead_letters() -> Arc<World> {
    let world = world().await;
    for the_day in ["2024-06-01", "2024-06-02"] {
        add_run(&world, day(the_day), "daily", "dead", None).await;
        add_dead_letter(&world, &body(the_day), UNAUTHORIZED).await;
    }
    add_dead_letter(
        &world,
        "no job",
        &[("x-error-code", "bad_message"), ("x-error", "expected value")],
    )
    .await;
    add_run(&world, yesterday(), "daily", "dead", None).await;
    let endpoint = [("x-error-code", "endpoint_refused"), ("x-death", "not the broker's")];
    add_dead_letter(&world, &body(&yesterday().to_string()), &endpoint).await;
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

#[tokio::test]
async fn they_are_listed_in_order_with_cause_and_ledger_and_stay_where_they_are() {
    let world = some_dead_letters().await;
    // RabbitMQ 4 takes a message away after twenty deliveries, unless its queue says otherwise.
    for _ in 0..25 {
        let letters = listed(&world, &[]).await;
        assert_eq!(letters.len(), 5);
        assert_eq!(
            ids(&letters)[..2],
            ["project one/2024-06-01/daily", "project one/2024-06-02/daily"]
        );
        assert_eq!(raw(&letters).len(), 2);
        assert_eq!(
            letters[0],
            json!({"id": "project one/2024-06-01/daily", "project_id": PROJECT, "day": "2024-06-01", "run": "daily",
                "error_code": "unauthorized", "error": "PostHog does not know the key", "attempt": 3,
                "first_failed_at": "2024-06-02T01:00:00Z", "in_queue": true, "state": "dead", "body": body("2024-06-01")})
        );
        assert_eq!(
            (&letters[2]["error_code"], &letters[2]["body"]),
            (&"bad_message".into(), &"no job".into())
        );
        assert_eq!(
            (&letters[2]["project_id"], &letters[2]["state"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(
            (&letters[4]["project_id"], &letters[4]["run"]),
            (&"other".into(), &Value::Null)
        );
        assert_eq!(world.queue_depth(DEAD).await, 5);
    }
    assert_eq!(listed(&world, &["--error-code", "unauthorized"]).await.len(), 2);
    assert_eq!(listed(&world, &["--project", PROJECT]).await.len(), 3);
    assert_eq!(
        listed(&world, &["--project", PROJECT, "--error-code", "endpoint_refused"])
            .await
            .len(),
        1
    );
    assert_eq!(
        world
            .producer(&["dead-letters", "list", "--error-code", "nonsense"])
            .await
            .code,
        2
    );
    let text = world.succeeds(&["dead-letters", "list"]).await.stdout;
    assert!(
        text.contains("2 × unauthorized: Correct the project's API key"),
        "{text}"
    );
}

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
        add_dead_letter(&world, &body(&format!("2024-05-{:02}", number % 20 + 1)), UNAUTHORIZED).await;
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

/// A message that was delivered and dropped until the broker gave it up. In the ledger it is still
/// queued.
async fn given_up_by_the_broker() -> Arc<World> {
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

#[tokio::test]
async fn what_the_broker_gave_up_can_be_discarded_although_the_ledger_was_not_told() {
    let world = given_up_by_the_broker().await;
    world.succeeds(&["dead-letters", "discard", "--all", "--yes"]).await;
    assert!(ledger(&world).await.contains("project one/2024-06-01/daily discarded"));
    assert_eq!(world.queue_depth(DEAD).await, 0);
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

#[tokio::test]
async fn they_are_grouped_by_cause_and_chosen_by_age() {
    let world = some_dead_letters().await;
    let report = json(&world, &["dead-letters", "list", "--group", "--json"]).await;
    let groups = report["groups"].as_array().unwrap();
    let counted: Vec<(&str, i64)> = groups
        .iter()
        .map(|group| {
            (
                group["error_code"].as_str().unwrap(),
                group["dead_letters"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        counted,
        [
            ("unauthorized", 2),
            ("bad_message", 1),
            ("endpoint_refused", 1),
            ("unknown_project", 1)
        ]
    );
    assert_eq!(
        (&groups[0]["projects"], &groups[0]["oldest"], &groups[0]["example"]),
        (
            &1.into(),
            &"2024-06-02T01:00:00Z".into(),
            &"project one/2024-06-01/daily".into()
        )
    );
    assert!(
        groups[0]["advice"]
            .as_str()
            .unwrap()
            .starts_with("Correct the project's API key")
    );
    let text = world.succeeds(&["dead-letters", "list", "--group"]).await.stdout;
    assert!(
        text.contains("unauthorized") && text.contains("2 × unauthorized: Correct"),
        "{text}"
    );

    // Only the two refused keys say when they failed first.
    assert_eq!(listed(&world, &["--older-than", "2h"]).await.len(), 2);
    assert_eq!(listed(&world, &["--older-than", "20000d"]).await.len(), 0);
    let output = world.producer(&["dead-letters", "list", "--older-than", "long"]).await;
    assert!(
        output.code == 2 && output.stderr.contains("write it like 90s"),
        "{}",
        output.stderr
    );
    let dry = [
        "dead-letters",
        "requeue",
        "--all",
        "--older-than",
        "7d",
        "--dry-run",
        "--json",
    ];
    let report = json(&world, &dry).await;
    assert_eq!(report["requeued"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn one_is_shown_with_all_that_is_known_of_it() {
    let world = some_dead_letters().await;
    alter(
        &world,
        "insert into posthog_export.streams (project_id, day, run, stream, cursor_time, cursor_id, sent, rejected)
         values ('project one', '2024-06-01', 'daily', 'trace', '2024-06-01 10:00:00.123', 'trace 7', 41, 1)",
    )
    .await;
    alter(
        &world,
        "insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
         values ('project one', '2024-06-01', 'daily', 'trace', 'trace 3', 'it answered 400: bad uuid')",
    )
    .await;
    let shown = json(
        &world,
        &["dead-letters", "show", "project one/2024-06-01/daily", "--json"],
    )
    .await;
    assert_eq!(shown["error"], "PostHog does not know the key");
    assert_eq!(shown["headers"]["traceparent"], TRACEPARENT);
    assert_eq!(
        (&shown["messages"], &shown["run_row"]["state"]),
        (&1.into(), &"dead".into())
    );
    assert_eq!(
        (&shown["streams"][0]["sent"], &shown["streams"][0]["cursor_id"]),
        (&41.into(), &"trace 7".into())
    );
    assert_eq!(
        (&shown["rejects"][0]["row_id"], &shown["rejects_in_all"]),
        (&"trace 3".into(), &1.into())
    );
    let text = world
        .succeeds(&["dead-letters", "show", "project one/2024-06-01/daily"])
        .await
        .stdout;
    for part in [
        "Correct the project's API key",
        "PostHog does not know the key",
        "trace 7",
        "bad uuid",
        "x-error-code",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let letters = listed(&world, &[]).await;
    let text = world.succeeds(&["dead-letters", "show", raw(&letters)[0]]).await.stdout;
    assert!(text.contains("no job") && text.contains("has no row"), "{text}");
    assert_eq!(world.queue_depth(DEAD).await, 5);
}

#[tokio::test]
async fn without_a_terminal_bulk_changes_need_yes() {
    let world = some_dead_letters().await;
    for verb in ["requeue", "discard"] {
        let output = world.producer(&["dead-letters", verb, "--project", PROJECT]).await;
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains("--yes"), "{}", output.stderr);
    }
    // What is discarded cannot be brought back, so the producer asks even for one that is named.
    let output = world
        .producer(&["dead-letters", "discard", "project one/2024-06-01/daily"])
        .await;
    assert!(output.code == 1 && output.stderr.contains("--yes"), "{}", output.stderr);
    assert_eq!(
        (world.queue_depth(DEAD).await, world.queue_depth(BACKFILL).await),
        (5, 0)
    );
}

#[tokio::test]
async fn what_is_discarded_is_so_in_the_ledger_and_gone_from_the_queue() {
    let world = some_dead_letters().await;
    let discard =
        async |arguments: &[&str]| json(&world, &[&["dead-letters", "discard", "--json"], arguments].concat()).await;
    let report = discard(&["--error-code", "unauthorized", "--dry-run"]).await;
    assert_eq!(report["discarded"].as_array().unwrap().len(), 2);
    assert_eq!(world.queue_depth(DEAD).await, 5);

    let report = discard(&["--error-code", "unauthorized", "--yes"]).await;
    assert_eq!(
        report["discarded"][0],
        json!({"id": "project one/2024-06-01/daily", "body": body("2024-06-01")})
    );
    let rows = ledger(&world).await;
    assert!(rows.contains("project one/2024-06-01/daily discarded"), "{rows:?}");
    assert!(rows.contains("project one/2024-06-02/daily discarded"), "{rows:?}");
    assert_eq!(listed(&world, &[]).await.len(), 3);

    // Next, a message that is no job, and a run that the ledger has never seen.
    let letters = listed(&world, &[]).await;
    discard(&[raw(&letters)[0], "--yes"]).await;
    add_dead_letter(&world, r#"{"project_id":"other","day":"2024-06-03","run":"r1"}"#, &[]).await;
    discard(&["other/2024-06-03/r1", "--yes"]).await;
    assert!(ledger(&world).await.contains("other/2024-06-03/r1 discarded"));
    assert_eq!(world.queue_depth(DEAD).await, 2);
    assert_eq!(world.queue_depth(BACKFILL).await, 0);
}

#[tokio::test]
async fn a_run_that_has_gone_on_is_not_discarded_with_its_old_message() {
    let world = some_dead_letters().await;
    alter(
        &world,
        "update posthog_export.runs set state = case when day = '2024-06-01' then 'queued' else 'completed' end
         where day in ('2024-06-01', '2024-06-02')",
    )
    .await;
    let text = world
        .succeeds(&["dead-letters", "discard", "--error-code", "unauthorized", "--yes"])
        .await
        .stdout;
    assert!(text.contains("ledger: queued, which stays so"), "{text}");
    let rows = ledger(&world).await;
    assert!(rows.contains("project one/2024-06-01/daily queued"), "{rows:?}");
    assert!(rows.contains("project one/2024-06-02/daily completed"), "{rows:?}");
    assert_eq!(world.queue_depth(DEAD).await, 3);
}

#[tokio::test]
async fn a_discard_that_the_ledger_does_not_take_keeps_the_message() {
    let world = some_dead_letters().await;
    alter(
        &world,
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$",
    )
    .await;
    alter(
        &world,
        "create trigger refuse before update on posthog_export.runs for each row when (new.day = '2024-06-01')
         execute function refuse()",
    )
    .await;
    let output = world
        .producer(&[
            "dead-letters",
            "discard",
            "--error-code",
            "unauthorized",
            "--yes",
            "--json",
        ])
        .await;
    assert_eq!(output.code, 1);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["failed"][0]["id"], "project one/2024-06-01/daily");
    assert_eq!(report["discarded"].as_array().unwrap().len(), 1);
    assert_eq!(listed(&world, &["--error-code", "unauthorized"]).await.len(), 1);
}
