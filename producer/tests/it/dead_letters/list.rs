//! `dead-letters list` and `show` tell the cause, and leave the messages where they are.

use serde_json::{Value, json};
use testkit::DEAD;

use super::{TRACEPARENT, UNAUTHORIZED, add_dead_letter, add_dead_letters, body, ids, listed, raw, some_dead_letters};
use crate::{PROJECT, add_run, alter, day, json, world};

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
        &[
            "dead-letters",
            "show",
            "project one/2024-06-01/daily",
            "--message",
            "--json",
        ],
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
        .succeeds(&["dead-letters", "show", "project one/2024-06-01/daily", "--message"])
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

/// Anybody who may publish could else have moved the cursor of the operator's terminal, or written
/// what looks like a line of ours.
#[tokio::test]
async fn no_command_hands_a_messages_escapes_to_the_terminal() {
    const ESCAPES: &str = "\u{1b}[2J\u{9b}31m\r\nNo dead letters.";
    let world = world().await;
    add_dead_letter(
        &world,
        ESCAPES,
        &[("x-error-code", "bad_message"), ("x-error", ESCAPES)],
    )
    .await;
    add_run(&world, day("2024-06-01"), &"r".repeat(500), "dead", None).await;
    sqlx::query("update posthog_export.runs set project_id = $1, error = $1, error_code = 'unauthorized'")
        .bind(ESCAPES)
        .execute(&world.pool())
        .await
        .unwrap();
    let letters = listed(&world, &[]).await;
    assert_eq!(letters[0]["body"], ESCAPES);
    let id = raw(&letters)[0];
    for arguments in [
        &["dead-letters", "list"][..],
        &["dead-letters", "list", "--json"],
        &["dead-letters", "list", "--group"],
        &["dead-letters", "show", id],
        &["dead-letters", "show", ESCAPES],
        &["dead-letters", "requeue", "--all", "--dry-run"],
        &["dead-letters", "discard", "--all", "--dry-run"],
        &["status"],
        &["status", "--state", "dead"],
        &["replay", "--project", ESCAPES, "--day", "2024-06-01"],
    ] {
        world.set("LOG_FORMAT", "text");
        let output = world.producer(arguments).await;
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(!said.contains(['\u{9b}', '\r']), "{arguments:?}: {said:?}");
        // Log lines have colours of their own.
        assert!(!said.contains("\u{1b}[2J"), "{arguments:?}: {said:?}");
        assert!(
            !said.lines().any(|line| line == "No dead letters."),
            "{arguments:?}: {said}"
        );
        if [&["dead-letters", "list"][..], &["status"]].contains(&arguments) {
            assert!(!said.contains(&"r".repeat(200)), "an id was not cut: {said}");
        }
    }
}

/// Ten thousand others may lie before it, and RabbitMQ 3 counts each look as a delivery.
#[tokio::test]
async fn one_that_the_ledger_knows_is_shown_without_a_look_into_the_queue() {
    let world = some_dead_letters().await;
    let id = "project one/2024-06-02/daily";
    let without_broker = [("AMQP_URL", "amqp://127.0.0.1:1/%2f")];
    let output = world
        .producer_with_env(&["dead-letters", "show", id, "--json"], &without_broker)
        .await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    let shown: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&shown["id"], &shown["error_code"], &shown["error"], &shown["body"]),
        (
            &id.into(),
            &"unauthorized".into(),
            &"in the ledger".into(),
            &body("2024-06-02").into()
        )
    );
    assert_eq!(
        (&shown["in_queue"], &shown["headers"], &shown["messages"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let text = world.succeeds(&["dead-letters", "show", id]).await.stdout;
    assert!(text.contains("--message"), "{text}");
}

#[tokio::test]
async fn a_limit_ends_the_list_and_the_queue_keeps_its_order() {
    let world = world().await;
    let days: Vec<String> = (0..450)
        .map(|number| (day("2020-01-01") + chrono::Days::new(number)).to_string())
        .collect();
    let bodies: Vec<String> = days.iter().map(|the_day| body(the_day)).collect();
    add_dead_letters(&world, &bodies, UNAUTHORIZED).await;
    let expected: Vec<String> = days
        .iter()
        .map(|the_day| format!("{PROJECT}/{the_day}/daily"))
        .collect();
    for _ in 0..3 {
        assert_eq!(ids(&listed(&world, &["--limit", "3"]).await), expected[..3]);
    }
    let text = world.succeeds(&["dead-letters", "list", "--limit", "3"]).await.stdout;
    assert!(text.contains("3 of 450 dead letters"), "{text}");
    assert_eq!(world.queue_depth(DEAD).await, 450);
    assert_eq!(ids(&listed(&world, &[]).await), expected);
}
