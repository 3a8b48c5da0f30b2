//! What lies in the queue, on request.

use reqwest::StatusCode;
use testkit::DEAD;

use super::super::Console;
use super::super::actions::{audit, hidden, with};
use super::{FIRST, see};
use crate::dead_letters::{add_dead_letter, body, given_up_by_the_broker, some_dead_letters};
use crate::{add_run, day, ledger, world};

#[tokio::test]
async fn a_message_is_shown_as_data_and_put_back() {
    let world = world().await;
    add_run(&world, day("2024-06-01"), "daily", "dead", None).await;
    add_dead_letter(&world, "first", &[]).await;
    let hostile = "</code><script>alert(1)</script>\u{1b}[31m\n{\"a\": \"<img src=x>\"}";
    let headers = [
        ("x-error-code", "bad_message"),
        (
            "x-error",
            "the project's PostHog host is not usable: `hunter2` is not a URL",
        ),
        ("<b>x</b>", "<script>alert(2)</script>"),
    ];
    add_dead_letter(&world, hostile, &headers).await;
    add_dead_letter(&world, body("2024-06-01"), &[("x-error-code", "unauthorized")]).await;
    let console = Console::acting(&world, &[]).await;

    let waiting = console.preview("/dead-letters/queue", &[]).await;
    assert!(
        waiting.contains("Of 3 messages") && !waiting.contains("2024-06-01"),
        "{waiting}"
    );
    let value = waiting.split("name=\"message\" value=\"").nth(2).unwrap();
    let value = value.split_once('"').unwrap().0;
    let shown = console.preview("/dead-letters/message", &[("message", value)]).await;
    for part in [
        "&#60;script&#62;alert(1)",
        "\\u{1b}[31m\n{",
        "&#60;b&#62;x",
        "alert(2)",
        "bad_message",
        "1 message",
        "there is none",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    for none in ["<script>alert", "<img src=x", "<b>", "hunter2"] {
        assert!(!shown.contains(none), "{none} in {shown}");
    }
    let of_run = console.preview("/dead-letters/message", &[("message", FIRST)]).await;
    assert!(
        of_run.contains("&#34;day&#34;:&#34;2024-06-01&#34;")
            && of_run.contains("href=\"/runs/project%20one/2024-06-01/daily\""),
        "{of_run}"
    );
    let gone = console.form("/dead-letters/message", &[("message", "raw/000000000000")]);
    assert_eq!(gone.send().await.unwrap().status(), StatusCode::NOT_FOUND);

    // All are back, in their order.
    let listed = world.succeeds(&["dead-letters", "list", "--json"]).await.stdout;
    let places = ["\"first\"", "alert(1)", "unauthorized"].map(|part| listed.find(part).unwrap());
    assert!(places.is_sorted(), "{listed}");
    let rows = audit(&world).await;
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "look_into_queue",
            "look_at_message",
            "look_at_message",
            "look_at_message"
        ]
    );
    // What a message says is in neither the audit nor the log.
    assert!(!format!("{rows:?}{}", console.process.log()).contains("alert("));
}

#[tokio::test]
async fn messages_that_only_the_queue_has_are_listed_and_dealt_with() {
    let world = some_dead_letters().await;
    let console = Console::acting(&world, &[]).await;
    let page = console.preview("/dead-letters/queue", &[]).await;
    for part in [
        "Of 5 messages",
        "bad_message",
        "unknown_project",
        "Requeue those marked…",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert_eq!(page.matches("type=\"checkbox\"").count(), 2, "{page}");
    assert_eq!(world.queue_depth(DEAD).await, 5);

    // One that is no job would come back at once.
    let bad = console
        .preview("/dead-letters/requeue/preview", &[("all_in_queue", "bad_message")])
        .await;
    assert!(
        bad.contains("the message is no job") && !bad.contains("<button class"),
        "{bad}"
    );
    let asked = console
        .preview("/dead-letters/discard/preview", &[("all_in_queue", "bad_message")])
        .await;
    let fields = hidden(&asked);
    let done = console.act("/dead-letters/discard", &with(&fields, &[])).await;
    assert!(done.contains("The dead letter was discarded."), "{done}");
    assert_eq!(world.queue_depth(DEAD).await, 4);
    let page = console.preview("/dead-letters/queue", &[]).await;
    assert!(!page.contains("bad_message"), "{page}");
    assert!(see(&console, "/actions").await.contains("Look into the queue"));
}

#[tokio::test]
async fn what_the_broker_gave_up_is_listed_and_requeued() {
    let world = given_up_by_the_broker().await;
    let console = Console::acting(&world, &[]).await;
    let page = console.preview("/dead-letters/queue", &[]).await;
    assert!(
        page.contains("delivery_limit") && page.contains("<td>queued</td>"),
        "{page}"
    );
    let asked = console.preview("/dead-letters/requeue/preview", &[("id", FIRST)]).await;
    let fields = hidden(&asked);
    let done = console.act("/dead-letters/requeue", &with(&fields, &[])).await;
    assert!(done.contains("The dead letter was requeued."), "{done}");
    assert_eq!(world.queue_depth(DEAD).await, 0);
    assert!(ledger(&world).await.contains("project one/2024-06-01/daily queued"));
}
