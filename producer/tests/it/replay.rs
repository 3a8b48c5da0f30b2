//! A replay is what a human would publish, and goes before history.

use std::collections::BTreeSet;

use shared::trace::Traceparent;
use testkit::{BACKFILL, JOBS, job};

use crate::{PROJECT, add_project, add_traces, alter, day, drain, headers, json, ledger, world};

#[tokio::test]
async fn a_replay_is_a_hand_made_message_with_a_fresh_run() {
    let world = world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01"), day("2024-06-03")]).await;
    let arguments = [
        "replay",
        "--project",
        PROJECT,
        "--from",
        "2024-06-01",
        "--to",
        "2024-06-05",
    ];
    let dry = world.succeeds(&[&arguments[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.stdout.matches("would be published").count(), 2, "{}", dry.stdout);
    assert_eq!(world.queue_depth(JOBS).await, 0);
    let said = world.succeeds(&arguments).await.stdout;

    let messages = drain(&world, JOBS).await;
    assert_eq!(messages.len(), 2);
    let mut traces = BTreeSet::new();
    for (message, the_day) in messages.iter().zip(["2024-06-03", "2024-06-01"]) {
        let run = message.json()["run"].as_str().unwrap().to_owned();
        assert_eq!(message.body, job(PROJECT, the_day, Some(&run)));
        assert!(
            said.contains(&format!("{PROJECT}/{the_day}/{run}  published")),
            "{said}"
        );
        assert!(
            ledger(&world)
                .await
                .contains(&format!("{PROJECT}/{the_day}/{run} queued"))
        );
        let headers = headers(message);
        let traceparent: Traceparent = headers["traceparent"].as_str().unwrap().parse().unwrap();
        assert!(
            traces.insert(traceparent.trace_id().to_owned()),
            "two jobs share a trace"
        );
        assert_eq!(headers.as_object().unwrap().len(), 1, "{headers}");
    }
    assert_eq!(world.queue_depth(BACKFILL).await, 0);
}

#[tokio::test]
async fn events_narrow_it() {
    let world = world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01")]).await;
    let arguments = [
        "replay",
        "--project",
        PROJECT,
        "--day",
        "2024-06-01",
        "--json",
        "--events",
    ];
    let report = json(&world, &[&arguments[..], &["score,trace"]].concat()).await;
    assert_eq!(report["confirmed"], 1);
    let message = drain(&world, JOBS).await.remove(0).json();
    assert_eq!(report["jobs"][0]["message"], message);
    assert_eq!(message["events"], serde_json::json!(["trace", "score"]));
    // All three are a full run.
    json(&world, &[&arguments[..], &["score,trace,generation"]].concat()).await;
    assert!(drain(&world, JOBS).await.remove(0).json().get("events").is_none());
    let output = world.producer(&[&arguments[..], &["traces"]].concat()).await;
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("trace, generation, score"), "{}", output.stderr);
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused_and_what_can_be_mended_is_warned_of() {
    let world = world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01")]).await;
    let today = chrono::Utc::now().date_naive().to_string();
    for (arguments, complaint, code) in [
        (
            &["replay", "--project", "nobody", "--day", "2024-06-01"][..],
            "nobody",
            1,
        ),
        (&["replay", "--project", PROJECT, "--day", &today], "not over", 1),
        (
            &[
                "replay",
                "--project",
                PROJECT,
                "--from",
                "2024-06-02",
                "--to",
                "2024-06-01",
            ],
            "--from",
            2,
        ),
    ] {
        let output = world.producer(arguments).await;
        assert_eq!(output.code, code, "{arguments:?}");
        assert!(output.stderr.contains(complaint), "{}", output.stderr);
    }
    let output = world.producer(&["replay", "--project", PROJECT]).await;
    assert_eq!(output.code, 2);

    let empty = world
        .succeeds(&["replay", "--project", PROJECT, "--day", "2024-06-09"])
        .await;
    assert!(empty.stdout.contains("Nothing to replay"), "{}", empty.stdout);
    assert_eq!(world.queue_depth(JOBS).await, 0);

    alter(&world, "update posthog_integrations set enabled = false").await;
    let output = world
        .succeeds(&["replay", "--project", PROJECT, "--day", "2024-06-01"])
        .await;
    assert!(output.stderr.contains("disabled"), "{}", output.stderr);
    add_project(&world, "other", true).await;
    alter(&world, "delete from posthog_integrations").await;
    let output = world
        .succeeds(&["replay", "--project", PROJECT, "--day", "2024-06-01"])
        .await;
    assert!(output.stderr.contains("no PostHog integration"), "{}", output.stderr);
}

#[tokio::test]
async fn an_undeclared_broker_is_a_failure() {
    let world = crate::bare_world().await;
    world.succeeds(&["migrate"]).await;
    add_traces(&world, PROJECT, &[day("2024-06-01")]).await;
    let output = world
        .producer(&["replay", "--project", PROJECT, "--day", "2024-06-01"])
        .await;
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("NOT confirmed"), "{}", output.stdout);
    assert!(ledger(&world).await.is_empty());
}
