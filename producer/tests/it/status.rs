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
            "standing": "needs_somebody", "days_without_job": 1, "days_held_back": 0, "days_not_arrived": 0,
            "oldest_not_arrived_day": null, "days_set_aside": 0, "days_verified": 0, "days_unknown": 0, "newest_row_at": format!("{}T12:00:00Z", back(0)),
            "today": null,
        })
    );
    assert_eq!(
        (
            &report["projects"][0]["days_behind"],
            &report["projects"][1]["days_behind"]
        ),
        (&0.into(), &0.into())
    );

    assert_eq!(
        report["totals"],
        json!({
            "projects": 3, "need_somebody": 1, "behind": 0, "paused": 0, "up_to_date": 1, "disabled": 1, "completed": 1,
            "running": 0, "queued": 0, "waiting": 1, "dead": 1, "skipped": 0, "discarded": 1, "events_sent": 2000,
            "rows_rejected": 4, "oldest_missing_day": back(2).to_string(), "missing_days": 3, "days_without_job": 1, "days_held_back": 0, "days_not_arrived": 0,
            "today": null,
        })
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

#[tokio::test]
async fn of_many_projects_those_that_need_somebody_come_first_and_the_others_with_all() {
    let world = world().await;
    alter(
        &world,
        "insert into projects (id, name, org_id, created_at)
         select 'fleet ' || n, 'Fleet', org_id, created_at from projects, generate_series(10, 39) n",
    )
    .await;
    alter(
        &world,
        "insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled, created_at)
         select p.id, i.encrypted_posthog_api_key, i.posthog_host_name, i.enabled, i.created_at
         from projects p, posthog_integrations i where p.id like 'fleet %'",
    )
    .await;
    add_traces(&world, "fleet 11", &[yesterday()]).await;
    let text = world.succeeds(&["status"]).await.stdout;
    assert!(text.starts_with("31 projects: 1 behind, 30 up to date.\n"), "{text}");
    assert!(text.contains("Days missing: 1, oldest "), "{text}");
    assert!(text.contains("No project needs attention"), "{text}");
    assert!(!text.contains("fleet 1"), "{text}");

    add_run(&world, yesterday(), "daily", "dead", Some(Utc::now())).await;
    alter(&world, "update posthog_export.runs set project_id = 'fleet 39'").await;
    alter(
        &world,
        "insert into posthog_export.paused (project_id, error_code, error, paused_by)
         values ('fleet 38', 'unauthorized', 'the key', 'worker'), ('fleet 37', null, 'by hand', 'human')",
    )
    .await;
    let text = world.succeeds(&["status"]).await.stdout;
    let first = "31 projects: 2 need attention, 1 behind, 1 paused by a person, 27 up to date.\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("fleet 38") && text.contains("fleet 39"), "{text}");
    assert!(text.contains("`--all` lists the 29 other projects, too."), "{text}");
    assert!(text.lines().count() < 12 && !text.contains("fleet 37"), "{text}");
    let text = world.succeeds(&["status", "--all"]).await.stdout;
    assert_eq!(text.matches("fleet ").count(), 30, "{text}");
    let place = |id: &str| text.find(id).unwrap();
    assert!(
        place("fleet 39") < place("fleet 11") && place("fleet 11") < place("fleet 10"),
        "{text}"
    );
    let report = json(&world, &["status", "--json"]).await;
    assert_eq!(report["projects"].as_array().unwrap().len(), 31);
}

/// Langfuse v3 writes to ClickHouse. The database that it leaves behind holds nothing that is missing.
#[tokio::test]
async fn a_database_that_langfuse_left_behind_is_told_by_its_newest_row() {
    let world = world().await;
    let text = world.succeeds(&["status"]).await.stdout;
    assert!(text.contains("Newest row: none. See whether Langfuse"), "{text}");
    add_traces(
        &world,
        PROJECT,
        &[day("2024-06-01"), day("2024-06-02"), yesterday() + Days::new(9)],
    )
    .await;
    alter(
        &world,
        "update traces set timestamp = '-infinity' where timestamp < '2024-06-02'",
    )
    .await;
    let text = world.succeeds(&["status"]).await.stdout;
    assert!(text.contains("Newest row: 2024-06-02 12:00:00, "), "{text}");
    assert!(text.contains("ClickHouse"), "{text}");
    let report = json(&world, &["status", "--json"]).await;
    assert_eq!(report["newest_row_at"], "2024-06-02T12:00:00Z");
    assert_eq!(report["projects"][0]["newest_row_at"], "2024-06-02T12:00:00Z");
    let score = "insert into scores (id, project_id, trace_id, timestamp, name, source)
        values ('s', 'project one', 'none', now() at time zone 'UTC' - interval '1 hour', 'n', 'API')";
    alter(&world, score).await;
    let text = world.succeeds(&["status"]).await.stdout;
    assert!(text.contains("60 min ago.") && !text.contains("ClickHouse"), "{text}");
}
