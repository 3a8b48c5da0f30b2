//! `dead-letters discard` ends a run in the ledger and removes its message.

use serde_json::{Value, json};
use testkit::{BACKFILL, DEAD};

use super::{add_dead_letter, body, given_up_by_the_broker, listed, raw, some_dead_letters};
use crate::{PROJECT, alter, json, ledger, world};

#[tokio::test]
async fn what_the_broker_gave_up_can_be_discarded_although_the_ledger_was_not_told() {
    let world = given_up_by_the_broker().await;
    world.succeeds(&["dead-letters", "discard", "--all", "--yes"]).await;
    assert!(ledger(&world).await.contains("project one/2024-06-01/daily discarded"));
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn without_a_terminal_bulk_changes_need_yes() {
    let world = some_dead_letters().await;
    for verb in ["requeue", "discard"] {
        let output = world.producer(&["dead-letters", verb, "--project", PROJECT]).await;
        assert_eq!(output.code, 2);
        assert!(output.stderr.contains("--yes"), "{}", output.stderr);
    }
    // What is discarded cannot be brought back, so the producer asks even for one that is named.
    let output = world
        .producer(&["dead-letters", "discard", "project one/2024-06-01/daily"])
        .await;
    assert!(output.code == 2 && output.stderr.contains("--yes"), "{}", output.stderr);
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

#[tokio::test]
async fn the_last_copy_of_a_body_that_is_no_text_is_a_copy() {
    let world = world().await;
    add_dead_letter(&world, [0xff, 0xfe, 0x00, 0x80], &[]).await;
    assert_eq!(listed(&world, &[]).await[0]["body_base64"], "//4AgA==");
    let report = json(&world, &["dead-letters", "discard", "--all", "--yes", "--json"]).await;
    assert_eq!(report["discarded"][0]["body_base64"], "//4AgA==");
}
