//! What the console does to dead letters, over HTTP.

mod bounds;
mod queue;

use std::time::Duration;

use reqwest::StatusCode;
use testkit::{BACKFILL, DEAD, World};

use super::actions::{audit, hidden, with};
use super::{Console, PASSWORD};
use crate::dead_letters::{UNAUTHORIZED, add_dead_letter, body, some_dead_letters};
use crate::{PROJECT, add_run, alter, day, drain, ledger, world, yesterday};

const FIRST: &str = "project%20one/2024-06-01/daily";
const SECOND: &str = "project%20one/2024-06-02/daily";

async fn see(console: &Console, path: &str) -> String {
    let answer = console.get(path).basic_auth("anybody", Some(PASSWORD)).send().await;
    answer.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn marked_dead_letters_are_requeued_and_the_rest_stays() {
    let world = some_dead_letters().await;
    alter(
        &world,
        "insert into posthog_export.paused (project_id, error_code, error, paused_by, settings)
         values ('project one', 'unauthorized', 'x', 'worker-7', 'x')",
    )
    .await;
    let console = Console::acting(&world, &[]).await;
    let page = see(&console, "/dead-letters?cause=unauthorized").await;
    for part in [
        format!("name=\"id\" value=\"{FIRST}\""),
        "Requeue all 3 of this cause…".to_owned(),
        "The dead-letter queue holds 5 messages".to_owned(),
        "action=\"/dead-letters/requeue/preview\"".to_owned(),
    ] {
        assert!(page.contains(&part), "{part} in {page}");
    }

    let marked = [("id", FIRST), ("id", SECOND)];
    let asked = console.preview("/dead-letters/requeue/preview", &marked).await;
    for part in [
        "Requeue 2 dead letters",
        "project one/2024-06-01/daily",
        "it also resumes what a failure has paused: project one",
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert!(!asked.contains(&yesterday().to_string()), "{asked}");
    assert_eq!(
        (world.queue_depth(DEAD).await, world.queue_depth(BACKFILL).await),
        (5, 0)
    );
    assert!(audit(&world).await.is_empty());

    let fields = hidden(&asked);
    let done = console.act("/dead-letters/requeue", &with(&fields, &[])).await;
    assert!(
        done.contains("2 of 2 dead letters were requeued. Resumed, since a failure had paused them: project one."),
        "{done}"
    );
    assert_eq!(drain(&world, BACKFILL).await.len(), 2);
    assert_eq!(world.queue_depth(DEAD).await, 3);
    let rows = ledger(&world).await;
    assert!(
        rows.contains("project one/2024-06-01/daily queued") && rows.contains("project one/2024-06-02/daily queued")
    );
    let row = &audit(&world).await[0];
    assert_eq!(
        (&row["action"], &row["project_id"]),
        (&"requeue".into(), &PROJECT.into())
    );
    assert_eq!(row["subjects"].as_array().unwrap().len(), 2);
    assert_eq!(row["result"]["counts"]["requeued"], 2);
}

#[tokio::test]
async fn what_no_longer_qualifies_is_left_out_with_the_reason() {
    let world = some_dead_letters().await;
    let console = Console::acting(&world, &[]).await;
    let marked = [("id", FIRST), ("id", SECOND)];
    let asked = console.preview("/dead-letters/discard/preview", &marked).await;
    assert!(asked.contains("class=\"danger\""), "{asked}");
    world
        .succeeds(&["dead-letters", "requeue", "project one/2024-06-01/daily"])
        .await;
    let fields = hidden(&asked);
    let done = console.act("/dead-letters/discard", &with(&fields, &[])).await;
    for part in [
        "1 of 2 dead letters was discarded",
        "it is no dead letter any more: its run is queued",
    ] {
        assert!(done.contains(part), "{part} in {done}");
    }
    let rows = ledger(&world).await;
    assert!(
        rows.contains("project one/2024-06-01/daily queued") && rows.contains("project one/2024-06-02/daily discarded")
    );
    // The same form once more is the same deed.
    let again = console.form("/dead-letters/discard", &with(&fields, &[]));
    assert_eq!(again.send().await.unwrap().headers()["location"], "/actions/1");
    // Both are gone now: the preview says so, and has no button.
    let nothing = console.preview("/dead-letters/requeue/preview", &marked).await;
    assert!(
        nothing.contains("its run is discarded") && !nothing.contains("<button class"),
        "{nothing}"
    );
}

/// What was shown is one failure, and there is another one since: of a run, and of a message that only
/// the queue has.
#[tokio::test]
async fn what_has_failed_again_since_it_was_shown_is_left_out() {
    let world = some_dead_letters().await;
    let console = Console::acting(&world, &[]).await;
    let marked = [("id", FIRST), ("id", SECOND)];
    let asked = console.preview("/dead-letters/discard/preview", &marked).await;
    alter(
        &world,
        "update posthog_export.runs set error_code = 'internal', error = 'another', updated_at = clock_timestamp()
         where day = '2024-06-01'",
    )
    .await;
    let fields = hidden(&asked);
    let done = console.act("/dead-letters/discard", &with(&fields, &[])).await;
    for part in [
        "1 of 2 dead letters was discarded",
        "it has failed again since it was shown",
    ] {
        assert!(done.contains(part), "{part} in {done}");
    }
    let rows = ledger(&world).await;
    assert!(
        rows.contains("project one/2024-06-01/daily dead") && rows.contains("project one/2024-06-02/daily discarded")
    );
    assert_eq!(world.queue_depth(DEAD).await, 4);

    let of_a_message = [("all_in_queue", "bad_message")];
    let asked = console.preview("/dead-letters/discard/preview", &of_a_message).await;
    add_dead_letter(&world, "no job", &[("x-error-code", "internal")]).await;
    let fields = hidden(&asked);
    let left = console.act("/dead-letters/discard", &with(&fields, &[])).await;
    for part in [
        "The dead letter was not discarded.",
        "it has failed again since it was shown",
    ] {
        assert!(left.contains(part), "{part} in {left}");
    }
    assert_eq!(world.queue_depth(DEAD).await, 5);
    // A form without the marks is none of a preview.
    let bare: Vec<(&str, &str)> = with(&fields, &[])
        .into_iter()
        .filter(|(name, _)| *name != "marks")
        .collect();
    let bare = console.form("/dead-letters/discard", &bare).send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_console_that_only_shows_has_no_forms_and_takes_none() {
    let world = some_dead_letters().await;
    let overrides = [("CONSOLE_PASSWORD", PASSWORD)];
    let console = Console::start(&world, &[], &overrides).await;
    let page = see(&console, "/dead-letters").await;
    assert!(page.contains("This console only shows."), "{page}");
    for none in ["<button", "type=\"checkbox\"", "method=\"post\""] {
        assert!(!page.contains(none), "{none} in {page}");
    }
    for path in [
        "requeue/preview",
        "requeue",
        "discard/preview",
        "discard",
        "message",
        "queue",
    ] {
        let fields = [("id", FIRST), ("ids", FIRST), ("message", FIRST)];
        let answer = console.form(&format!("/dead-letters/{path}"), &fields).send().await;
        assert_eq!(answer.unwrap().status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(world.queue_depth(DEAD).await, 5);
    assert!(audit(&world).await.is_empty());
}

#[tokio::test]
async fn a_broker_that_is_away_loses_nothing_and_is_named() {
    let world = some_dead_letters().await;
    let away = [("AMQP_URL", "amqp://guest:hunter2@127.0.0.1:1/%2f")];
    let console = Console::acting(&world, &away).await;
    let page = see(&console, "/dead-letters").await;
    assert!(
        page.contains("The broker does not answer") && page.contains("2024-06-01 daily"),
        "{page}"
    );
    // What the ledger knows can be previewed, and the deed says why it failed.
    let asked = console.preview("/dead-letters/requeue/preview", &[("id", FIRST)]).await;
    let fields = hidden(&asked);
    let failed = console.act("/dead-letters/requeue", &with(&fields, &[])).await;
    assert!(failed.contains("AMQP_URL: cannot use RabbitMQ"), "{failed}");
    let looked = console.form("/dead-letters/message", &[("message", FIRST)]);
    let looked = looked.send().await.unwrap();
    assert_eq!(looked.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said = looked.text().await.unwrap();
    assert!(said.contains("The dead letters are as they were"), "{said}");
    for text in [&page, &failed, &said] {
        assert!(!text.contains("hunter2"));
    }
    assert_eq!(world.queue_depth(DEAD).await, 5);
    assert!(ledger(&world).await.contains("project one/2024-06-01/daily dead"));
    let states: Vec<_> = audit(&world).await.iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["failed", "failed"]);
}

/// The broker puts back what a process held that is gone.
#[tokio::test]
async fn a_console_that_is_killed_while_it_holds_them_loses_none() {
    let world = some_dead_letters().await;
    let console = Console::acting(&world, &[]).await;
    let asked = console.preview("/dead-letters/discard/preview", &[("id", FIRST)]).await;
    // It has taken them all, and cannot read their runs.
    let mut lock = world.pool().begin().await.unwrap();
    sqlx::query("lock table posthog_export.runs in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let fields = hidden(&asked);
    let form = console.form("/dead-letters/discard", &with(&fields, &[]));
    let deed = tokio::spawn(form.send());
    let patience = Duration::from_secs(60);
    let held = async || world.queue_depth(DEAD).await == 0;
    world.wait_until("the console holds them", patience, held).await;
    console.process.kill();
    deed.abort();
    lock.rollback().await.unwrap();
    let back = async || world.queue_depth(DEAD).await == 5;
    world.wait_until("the broker puts them back", patience, back).await;
    assert!(ledger(&world).await.contains("project one/2024-06-01/daily dead"));
    assert_eq!(audit(&world).await[0]["state"], "begun");
}

#[tokio::test]
async fn ids_of_any_kind_are_named_by_forms() {
    let world = world().await;
    let odd = "<b>\"a/b'\r\n&%2F🦀";
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, error)
         select p, $1, $2, 'dead', '<img src=x onerror=alert(1)>' from unnest(array['project one', $2]) p",
    )
    .bind(yesterday())
    .bind(odd)
    .execute(&world.pool())
    .await
    .unwrap();
    add_run(&world, yesterday(), "daily", "dead", None).await;
    let console = Console::acting(&world, &[]).await;
    let page = see(&console, "/dead-letters?cause=unknown").await;
    assert!(
        page.contains("Requeue all 3 of this cause…") && !page.contains("<img src=x"),
        "{page}"
    );
    let values = page.split("name=\"id\" value=\"").skip(1);
    let values: Vec<&str> = values.filter_map(|part| Some(part.split_once('"')?.0)).collect();
    assert_eq!(values.len(), 3);
    for value in values.iter().filter(|value| value.ends_with("F0%9F%A6%80")) {
        let asked = console.preview("/dead-letters/discard/preview", &[("id", value)]).await;
        assert!(
            asked.contains("Discard 1 dead letter") && !asked.contains("<b>"),
            "{asked}"
        );
        let fields = hidden(&asked);
        let done = console.act("/dead-letters/discard", &with(&fields, &[])).await;
        assert!(done.contains("The dead letter was discarded."), "{done}");
    }
    let left = see(&console, "/dead-letters").await;
    assert!(
        left.contains("Mark project one") && left.matches("type=\"checkbox\"").count() == 1,
        "{left}"
    );
    for nothing in ["/dead-letters/requeue/preview", "/dead-letters/requeue"] {
        let fields = [("id", "p/yesterday/daily"), ("ids", "%2500 p/yesterday/daily")];
        let answer = console.form(nothing, &fields).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{nothing}");
    }
}

/// As the command, it takes turns with whoever looks at the queue.
#[tokio::test]
async fn one_look_at_the_queue_at_a_time() {
    let world = world().await;
    add_run(&world, day("2024-06-01"), "daily", "dead", None).await;
    add_dead_letter(&world, body("2024-06-01"), UNAUTHORIZED).await;
    let console = Console::acting(&world, &[]).await;
    let mut other = world.pool().begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('posthog_export.dead-letters', 0))")
        .execute(&mut *other)
        .await
        .unwrap();
    let looked = console.form("/dead-letters/message", &[("message", FIRST)]);
    let looked = looked.send().await.unwrap();
    assert_eq!(looked.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said = looked.text().await.unwrap();
    assert!(said.contains("somebody else is looking at the dead letters"), "{said}");
    other.rollback().await.unwrap();
    let shown = console.preview("/dead-letters/message", &[("message", FIRST)]).await;
    assert!(shown.contains("2024-06-01"), "{shown}");
    assert_eq!(depth(&world).await, 1);
}

/// Messages in the queue, once all that were taken are back.
async fn depth(world: &World) -> u64 {
    world.queue_depth(DEAD).await
}
