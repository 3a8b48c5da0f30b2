//! What the operator sees of steps and settled runs.

use std::sync::Arc;

use serde_json::{Value, json};
use testkit::{Clock, World};

use crate::{PROJECT, add_project, bare_world, json};

/// It is this time of June 2024 in the database, and a day has steps of an hour.
async fn world_at(time: &str) -> (Arc<World>, Clock) {
    let world = bare_world().await;
    let clock = world.clock(moment(time)).await;
    for (name, value) in [("EXPORT_LAG", "30m"), ("EXPORT_EVERY", "1h")] {
        world.set(name, value);
    }
    for command in ["migrate", "declare"] {
        world.succeeds(&[command]).await;
    }
    (world, clock)
}

/// `10 09:30`, in June 2024.
fn moment(time: &str) -> String {
    format!("2024-06-{time}")
}

/// What `doctor` finds about steps: the status, and what it says.
async fn asked_for(world: &World) -> Option<(String, String)> {
    let output = world.producer(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|finding| finding["check"] == "steps.asked_for")?;
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    Some((text("status"), text("found")))
}

#[tokio::test]
async fn doctor_says_when_nobody_asks_for_steps_until_they_are_switched_off() {
    let (world, clock) = world_at("10 09:31").await;
    let (status, found) = asked_for(&world).await.unwrap();
    assert_eq!(
        (status.as_str(), found.as_str()),
        ("warning", "EXPORT_EVERY is 1h, and steps were never asked for")
    );
    // Those of one project are not those of all.
    world.succeeds(&["enqueue", "--steps", "--project", PROJECT]).await;
    world.succeeds(&["enqueue", "--steps", "--dry-run"]).await;
    assert_eq!(asked_for(&world).await.unwrap().0, "warning");
    world.succeeds(&["enqueue", "--steps"]).await;
    let (status, found) = asked_for(&world).await.unwrap();
    assert!(
        status == "ok" && found.contains("last asked for at 2024-06-10 09:"),
        "{status} {found}"
    );
    clock.set(moment("10 11:31")).await;
    assert_eq!(asked_for(&world).await.unwrap().0, "warning");
    // Nothing is asked for anew between the borders, and that counts.
    for _ in 0..2 {
        world.succeeds(&["enqueue", "--steps"]).await;
        assert_eq!(asked_for(&world).await.unwrap().0, "ok");
    }

    // The whole enqueue of a producer without steps forgets them; one with steps does not.
    let known = async || shared::ledger::Ledger::new(world.pool()).last_steps().await.unwrap();
    world.succeeds(&["enqueue"]).await;
    assert!(known().await.is_some());
    world.set("EXPORT_EVERY", "1d");
    world.succeeds(&["enqueue", "--project", PROJECT]).await;
    assert!(known().await.is_some());
    world.succeeds(&["enqueue"]).await;
    assert_eq!((known().await, asked_for(&world).await), (None, None));
}

/// A run of June 2024 with a step's part of its day, if it has one.
async fn add(world: &World, project: &str, (day, run): (&str, &str), state: &str, hours: Option<(i32, i32)>) {
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, started_at, completed_at, span_from, span_until)
         select $1, d, $3, $4, clock_timestamp(), case when $4 = 'completed' then clock_timestamp() end,
                d + make_interval(hours => $5), d + make_interval(hours => $6)
         from (select ('2024-06-' || $2)::timestamptz at time zone 'UTC' at time zone 'UTC' as d) of_day",
    )
    .bind(project)
    .bind(day)
    .bind(run)
    .bind(state)
    .bind(hours.map(|(from, _)| from))
    .bind(hours.map(|(_, until)| until))
    .execute(&world.pool())
    .await
    .unwrap();
    sqlx::query(
        "insert into posthog_export.streams (project_id, day, run, stream, sent)
         values ($1, ('2024-06-' || $2)::date, $3, 'trace', case when $4 = 'completed' then 100 else 0 end)",
    )
    .bind(project)
    .bind(day)
    .bind(run)
    .bind(state)
    .execute(&world.pool())
    .await
    .unwrap();
}

#[tokio::test]
async fn status_says_until_when_today_is_exported_and_what_a_days_steps_did() {
    let (world, _clock) = world_at("10 03:40").await;
    for id in ["behind", "stopped", "off"] {
        add_project(&world, id, id != "off").await;
    }
    let report = json(&world, &["status", "--json"]).await;
    assert_eq!(
        (&report["totals"]["today"], &report["projects"][0]["today"]),
        (&Value::Null, &Value::Null)
    );

    for project in [PROJECT, "behind", "stopped", "off"] {
        add(&world, project, ("10", "step-0000"), "completed", Some((0, 1))).await;
    }
    add(&world, PROJECT, ("10", "step-0100"), "discarded", Some((1, 2))).await;
    add(&world, PROJECT, ("10", "step-0100-2"), "completed", Some((1, 3))).await;
    add(&world, "behind", ("10", "step-0100"), "discarded", Some((1, 2))).await;
    sqlx::query(
        "update posthog_export.runs set error_code = 'posthog_unavailable', error = '503: overloaded' where state = 'discarded'",
    )
    .execute(&world.pool())
    .await
    .unwrap();
    sqlx::query("insert into posthog_export.paused (project_id, error, paused_by) values ('stopped', 'why', 'human')")
        .execute(&world.pool())
        .await
        .unwrap();
    // A day that has settled, and one of which a step came too late.
    for (run, hours) in [("daily", None), ("settled", None), ("step-0000", Some((0, 12)))] {
        add(&world, PROJECT, ("07", run), "completed", hours).await;
    }
    add(&world, PROJECT, ("09", "daily"), "completed", None).await;
    add(&world, PROJECT, ("09", "step-0000"), "completed", Some((0, 22))).await;
    add(&world, PROJECT, ("09", "step-2200"), "discarded", Some((22, 23))).await;
    add(&world, PROJECT, ("09", "settled"), "queued", None).await;

    let report = json(&world, &["status", "--json"]).await;
    assert_eq!(
        report["totals"]["today"],
        json!({"projects": 2, "exported_until": "2024-06-10T01:00:00Z", "furthest_behind": "behind", "with_failed_step": 1})
    );
    let today = |id: &str| {
        let projects = report["projects"].as_array().unwrap();
        projects.iter().find(|project| project["project_id"] == id).unwrap()["today"].clone()
    };
    assert_eq!(
        today("behind"),
        json!({"exported_until": "2024-06-10T01:00:00Z", "failed_step": {
            "run": "step-0100", "state": "discarded", "until": "2024-06-10T02:00:00Z",
            "error_code": "posthog_unavailable", "error": "503: overloaded",
        }})
    );
    // The next step has made up for the one that failed.
    assert_eq!(
        today(PROJECT),
        json!({"exported_until": "2024-06-10T03:00:00Z", "failed_step": null})
    );
    assert!(report.get("days").is_none());

    let text = world.succeeds(&["status"]).await.stdout;
    let line = "Today is exported until 01:00 UTC at least, in 2 projects (behind is furthest behind); a step of 1 project \
                failed, and the next one makes up for it.";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("up to date; today until 01:00, step-0100 failed: posthog_unavailable"),
        "{text}"
    );
    assert!(text.contains("up to date; today until 03:00\n"), "{text}");

    let report = json(&world, &["status", "--project", PROJECT, "--json"]).await;
    let days: Vec<(&str, &str, i64, i64)> = report["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| {
            let steps = &day["steps"];
            let number = |name: &str| steps[name].as_i64().unwrap();
            (
                day["day"].as_str().unwrap(),
                day["standing"].as_str().unwrap(),
                number("completed"),
                number("discarded"),
            )
        })
        .collect();
    let expected = [
        ("2024-06-07", "settled", 1, 0),
        ("2024-06-09", "exported", 1, 1),
        ("2024-06-10", "in_part", 2, 1),
    ];
    assert_eq!(days, expected);
    assert_eq!(report["runs"].as_array().unwrap().len(), 10);
    let text = world.succeeds(&["status", "--project", PROJECT]).await.stdout;
    for cells in [
        &["2024-06-07", "daily", "completed, settled"][..],
        &["2024-06-07", "1 step", "1 completed"],
        &["2024-06-09", "daily", "completed  "],
        &["2024-06-09", "settled", "queued"],
        &[
            "2024-06-09",
            "2 steps",
            "1 completed, 1 discarded",
            "100",
            "step-2200: day over",
        ],
        &[
            "2024-06-10",
            "3 steps",
            "2 completed, 1 discarded",
            "200",
            "step-0100: posthog_unavailable",
        ],
    ] {
        let is_there = |line: &str| cells.iter().all(|cell| line.contains(cell));
        assert!(text.lines().any(is_there), "{cells:?} in {text}");
    }
    assert!(text.contains("is discarded or skipped needs no action"), "{text}");
    assert!(!text.contains("step-0000"), "{text}");
    let text = world.succeeds(&["status", "--state", "discarded"]).await.stdout;
    assert!(text.contains("step-2200") && text.contains("step-0100"), "{text}");
}

#[tokio::test]
async fn of_many_projects_with_steps_the_totals_say_enough() {
    let (world, _clock) = world_at("10 09:40").await;
    for statement in [
        "insert into projects (id, name, org_id, created_at)
         select 'fleet ' || n, 'Fleet', org_id, created_at from projects, generate_series(1, 400) n",
        "insert into posthog_integrations (project_id, encrypted_posthog_api_key, posthog_host_name, enabled, created_at)
         select p.id, i.encrypted_posthog_api_key, i.posthog_host_name, i.enabled, i.created_at
         from projects p, posthog_integrations i where p.id like 'fleet %'",
        "insert into posthog_export.runs (project_id, day, run, state, span_from, span_until)
         select p.id, '2024-06-10', format('step-%s00', lpad(h::text, 2, '0')),
                case when h = 8 and p.id = 'fleet 7' then 'queued' else 'completed' end,
                '2024-06-10Z'::timestamptz + h * interval '1 hour', '2024-06-10Z'::timestamptz + (h + 1) * interval '1 hour'
         from projects p, generate_series(0, 8) h",
    ] {
        sqlx::query(statement).execute(&world.pool()).await.unwrap();
    }
    let began = std::time::Instant::now();
    let text = world.succeeds(&["status"]).await.stdout;
    println!("{:?}", began.elapsed());
    assert!(
        text.contains("Today is exported until 08:00 UTC at least, in 401 projects (fleet 7 is furthest behind).\n"),
        "{text}"
    );
    assert!(text.lines().count() < 10, "{text}");
}
