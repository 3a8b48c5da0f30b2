//! What is done, what is on its way, how far behind.

use chrono::{Days, Utc};
use serde_json::json;

use crate::{PROJECT, add_project, add_run, add_traces, alter, day, json, world, yesterday};

#[tokio::test]
async fn a_project_by_the_numbers() {
    let world = world().await;
    let now = Some(Utc::now());
    let back = |days| yesterday() - Days::new(days);
    add_traces(&world, PROJECT, &[back(0), back(1), back(2), back(3)]).await;
    add_run(&world, back(3), "daily", "completed", now).await;
    add_run(&world, back(2), "daily", "dead", now).await;
    add_run(&world, back(2), "replay-1", "discarded", now).await;
    add_run(&world, back(1), "daily", "waiting", now).await;
    alter(
        &world,
        "update posthog_export.runs set error_code = 'unauthorized', error = 'the key', attempt = 1 where state = 'dead'",
    )
    .await;
    alter(
        &world,
        "insert into posthog_export.streams (project_id, day, run, stream, sent, rejected)
         select project_id, day, run, unnest(array['trace', 'score']), 1000, 2 from posthog_export.runs
         where state = 'completed'",
    )
    .await;
    add_project(&world, "idle", true).await;
    add_project(&world, "off", false).await;
    add_traces(&world, "off", &[day("2024-06-01")]).await;

    let report = json(&world, &["status", "--json"]).await;
    assert!(report.get("runs").is_none());
    let ids: Vec<_> = report["projects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["project_id"].clone())
        .collect();
    assert_eq!(ids, ["idle", "off", PROJECT]);
    assert_eq!(
        report["projects"][2],
        json!({
            "project_id": PROJECT, "name": "Name of project one", "enabled": true, "paused": null, "completed": 1, "running": 0,
            "queued": 0, "waiting": 1, "dead": 1, "skipped": 0, "discarded": 1, "events_sent": 2000, "rows_rejected": 4,
            "oldest_missing_day": back(2).to_string(), "days_behind": 3, "missing_days": 3,
        })
    );
    assert_eq!(
        (
            &report["projects"][0]["days_behind"],
            &report["projects"][1]["days_behind"]
        ),
        (&0.into(), &0.into())
    );

    let dead = json(&world, &["status", "--state", "dead", "--json"]).await;
    let runs = dead["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (&runs[0]["error_code"], &runs[0]["run"]),
        (&"unauthorized".into(), &"daily".into())
    );
    let all = json(&world, &["status", "--project", PROJECT, "--json"]).await;
    assert_eq!(
        (
            all["projects"].as_array().unwrap().len(),
            all["runs"].as_array().unwrap().len()
        ),
        (1, 4)
    );

    let text = world.succeeds(&["status", "--project", PROJECT]).await.stdout;
    assert!(text.contains(&format!("3 days missing, oldest {}", back(2))), "{text}");
    assert!(text.contains("unauthorized"), "{text}");
}

#[tokio::test]
async fn it_needs_no_broker_and_says_when_the_ledger_is_not_there() {
    let world = crate::bare_world().await;
    let without_broker = [("AMQP_URL", "")];
    let output = world.producer_with_env(&["status"], &without_broker).await;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("producer migrate"), "{}", output.stderr);
    assert_eq!(world.producer_with_env(&["migrate"], &without_broker).await.code, 0);
    let output = world.producer_with_env(&["status"], &without_broker).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("up to date"), "{}", output.stdout);
}

#[tokio::test]
async fn a_project_that_does_not_exist_is_gone_once_its_runs_are_discarded() {
    let world = world().await;
    add_run(&world, day("2024-06-01"), "daily", "dead", None).await;
    add_run(&world, day("2024-06-01"), "replay-1", "discarded", None).await;
    alter(&world, "update posthog_export.runs set project_id = 'nobody'").await;
    let shown = async || {
        let report = json(&world, &["status", "--json"]).await;
        let projects = report["projects"].as_array().unwrap().clone();
        projects.iter().any(|project| project["project_id"] == "nobody")
    };
    assert!(shown().await);
    let discard = ["dead-letters", "discard", "nobody/2024-06-01/daily", "--yes"];
    world.succeeds(&discard).await;
    assert!(!shown().await);
    // A project that exists is shown all the same.
    alter(&world, "update posthog_export.runs set project_id = 'project one'").await;
    let text = world.succeeds(&["status"]).await.stdout;
    assert!(text.contains(PROJECT), "{text}");
}

#[tokio::test]
async fn a_project_that_nobody_knows_is_an_error_and_one_without_integration_is_not() {
    let world = world().await;
    testkit::langfuse::add_project(&world.pool(), "bare", "Bare").await;
    let output = world
        .producer(&["status", "--project", PROJECT, "--project", "nope"])
        .await;
    assert_eq!(output.code, 1, "{}", output.stdout);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains("has a project nope"), "{}", output.stderr);
    world.succeeds(&["status", "--project", "bare"]).await;
}
