//! The history of a project may be long: `enqueue` counts it, and asks before it publishes it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use serde_json::json;
use testkit::seed::{Observation, Rows, Score, Trace, at};
use testkit::{BACKFILL, World};

use crate::{PROJECT, add_project, add_traces, alter, day, json, ledger, world, yesterday};

const PATIENCE: Duration = Duration::from_secs(60);

fn days_from(first: &str, number: u64) -> Vec<NaiveDate> {
    (0..number).map(|number| day(first) + Days::new(number)).collect()
}

/// A world with a project whose first export is long, and one whose first export is short.
async fn long_and_short() -> Arc<World> {
    let world = world().await;
    add_traces(&world, PROJECT, &days_from("2024-01-01", 31)).await;
    add_project(&world, "short", true).await;
    add_traces(&world, "short", &[day("2023-01-01"), day("2024-01-01")]).await;
    world
}

async fn whole_enqueues(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from posthog_export.last_enqueue")
        .fetch_one(&world.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_long_one_is_held_back_until_somebody_decides_and_the_others_go_on() {
    let world = long_and_short().await;
    let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
    let first = &report["first_exports"];
    assert_eq!(
        (
            &first[0]["project_id"],
            &first[0]["days"],
            &first[0]["from"],
            &first[0]["held_back"]
        ),
        (&PROJECT.into(), &31.into(), &"2024-01-01".into(), &false.into())
    );
    assert_eq!(
        (
            first.as_array().unwrap().len(),
            report["jobs"].as_array().unwrap().len()
        ),
        (1, 33)
    );

    // There is no terminal to ask at. All else is done, so nothing has failed: a CronJob that runs
    // again changes nothing, and an alert that no new day is exported would be wrong.
    let output = world.succeeds(&["enqueue"]).await;
    let advice = format!("--project {PROJECT} --yes");
    for part in ["ERROR", PROJECT, "31 days", "2024-01-01", &advice, "BACKFILL_DAYS"] {
        assert!(output.stderr.contains(part), "{part} in {}", output.stderr);
    }
    let runs = ledger(&world).await;
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs.iter().all(|run| run.starts_with("short/")), "{runs:?}");
    assert_eq!(whole_enqueues(&world).await, 1);
    // The next enqueue relies on it that each day that was looked at and holds data has a run.
    let looked = "select array_agg(project_id) from posthog_export.sweeps where looked_from is not null";
    let looked: Vec<String> = sqlx::query_scalar(looked).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(looked, ["short"]);

    let status = json(&world, &["status", "--json"]).await;
    let project = status["projects"].as_array().unwrap().iter();
    let project = project.clone().find(|line| line["project_id"] == PROJECT).unwrap();
    assert_eq!(
        (
            &project["standing"],
            &project["days_held_back"],
            &status["totals"]["days_held_back"]
        ),
        (&"needs_somebody".into(), &31.into(), &31.into())
    );
    let said = world.succeeds(&["status"]).await.stdout;
    assert!(
        said.contains("HELD BACK (31 days)") && said.contains("31 held back until"),
        "{said}"
    );
    let doctor: serde_json::Value = serde_json::from_str(&world.producer(&["doctor", "--json"]).await.stdout).unwrap();
    let mut checks = doctor["checks"].as_array().unwrap().iter();
    let finding = checks.find(|finding| finding["check"] == "projects.held_back").unwrap();
    assert_eq!(
        (&finding["status"], &finding["projects"]),
        (&"warning".into(), &json!([PROJECT]))
    );
    assert!(finding["advice"].as_str().unwrap().contains(&advice), "{finding}");

    // Found again, also what holds nothing but scores.
    let mut scores = Rows::default();
    let time = at(day("2024-02-01"), 9, 0, 0, 0);
    scores.scores.push(Score::new(PROJECT, "alone", "no trace", time));
    scores.insert(&world.pool()).await;
    let report = json(&world, &["enqueue", "--json"]).await;
    let held = &report["first_exports"][0];
    assert_eq!((&held["days"], &held["held_back"]), (&32.into(), &true.into()));
    let report = json(&world, &["enqueue", "--yes", "--json"]).await;
    assert_eq!(
        (&report["confirmed"], &report["first_exports"]),
        (&32.into(), &json!([]))
    );
    assert_eq!(world.queue_depth(BACKFILL).await, 34);
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!((&report["jobs"], &report["first_exports"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn one_run_does_not_release_the_rest_of_a_long_history() {
    let world = world().await;
    add_traces(&world, PROJECT, &days_from("2024-01-01", 62)).await;
    let newest = yesterday().to_string();
    add_traces(&world, PROJECT, &[yesterday(), yesterday() - Days::new(1)]).await;
    let held = async |days: usize, why: &str| {
        let report = json(&world, &["enqueue", "--json"]).await;
        let first = &report["first_exports"][0];
        assert_eq!(
            (&first["days"], &first["held_back"]),
            (&days.into(), &true.into()),
            "{why}"
        );
        report["confirmed"].clone()
    };
    world
        .succeeds(&["replay", "--project", PROJECT, "--day", "2024-01-05"])
        .await;
    assert_eq!(held(63, "a replay").await, 0);
    let one = ["enqueue", "--project", PROJECT, "--day"];
    world.succeeds(&[&one[..], &["2024-01-01"]].concat()).await;
    assert_eq!(held(62, "an old day").await, 0);
    world
        .succeeds(&["enqueue", "--from", "2024-02-20", "--to", "2024-02-29"])
        .await;
    assert_eq!(held(52, "a part").await, 0);
    let recent = ("BACKFILL_DAYS", "0");
    assert_eq!(world.producer_with_env(&["enqueue"], &[recent]).await.code, 0);
    assert_eq!(held(51, "BACKFILL_DAYS is gone").await, 0);
    let runs = ledger(&world).await;
    assert!(runs.contains(&format!("{PROJECT}/{newest}/daily queued")), "{runs:?}");

    // What is newer than the nightly export goes out, and what rests is short enough in the end.
    alter(
        &world,
        "update posthog_export.runs set day = day - 2, queued_at = queued_at - interval '2 days'
         where day > '2025-01-01'",
    )
    .await;
    assert_eq!(held(50, "two newer days").await, 2);
    world.succeeds(&["enqueue", "--from", "2024-01-15"]).await;
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        (&report["confirmed"], &report["first_exports"]),
        (&12.into(), &json!([]))
    );
}

#[tokio::test]
async fn who_says_how_far_back_to_go_is_not_asked() {
    let world = long_and_short().await;
    let bounded = world
        .producer_with_env(&["enqueue", "--dry-run", "--json"], &[("BACKFILL_DAYS", "30000")])
        .await;
    let report: serde_json::Value = serde_json::from_str(&bounded.stdout).unwrap();
    assert_eq!(
        (&report["first_exports"], report["jobs"].as_array().unwrap().len()),
        (&json!([]), 33)
    );
    let report = json(&world, &["enqueue", "--from", "2023-12-01", "--json"]).await;
    assert_eq!(report["confirmed"], 32);
}

/// While it waits for the answer, other producers are at work. The answer is about the projects that
/// the question named; another that has turned up meanwhile is asked about by itself.
#[tokio::test]
async fn an_answer_at_the_terminal_is_about_the_projects_that_were_named() {
    let world = long_and_short().await;
    let typed = std::env::temp_dir().join(format!("typed-{}", uuid::Uuid::now_v7()));
    let Some(process) = world.spawn_producer_at_terminal(&["enqueue"], &typed).await else {
        return;
    };
    let asks = async || process.stdout().contains("Publish all of it?");
    world.wait_until("the question", PATIENCE, asks).await;
    add_project(&world, "later", true).await;
    add_traces(&world, "later", &days_from("2023-01-01", 40)).await;
    add_project(&world, "later and short", true).await;
    add_traces(&world, "later and short", &[day("2024-01-01")]).await;
    // Nobody waits for the human.
    world.succeeds(&["enqueue", "--project", "short"]).await;
    // Yes to the first question, and no answer to the second.
    std::fs::write(&typed, "y\n").unwrap();
    assert!(process.exited_within(PATIENCE).await.is_some(), "{}", process.tail());
    let said = process.stdout();
    std::fs::remove_file(&typed).unwrap();
    assert_eq!(said.matches("Publish all of it?").count(), 2, "{said}");
    let runs = ledger(&world).await;
    let of = |id: &str| runs.iter().filter(|run| run.starts_with(&format!("{id}/"))).count();
    assert_eq!(
        (of(PROJECT), of("short"), of("later and short"), of("later")),
        (31, 2, 1, 0),
        "{said}"
    );
}

#[tokio::test]
async fn schedule_holds_a_long_one_back_and_waits_for_tomorrow() {
    let world = long_and_short().await;
    let schedule = async |arguments: &[&str]| {
        let process = world.spawn_producer(&[&["schedule"], arguments].concat(), &[]).await;
        let waits = async || process.stderr().contains(testkit::lines::NEXT_ENQUEUE);
        assert!(
            testkit::wait::until(PATIENCE, waits).await.is_some(),
            "{}",
            process.tail()
        );
        process.terminate();
        process.exited_within(PATIENCE).await;
        process.stderr()
    };
    let said = schedule(&[]).await;
    assert!(said.contains("never exported") && said.contains("T01:00:00Z"), "{said}");
    assert_eq!(ledger(&world).await.len(), 2);
    let said = schedule(&["--yes"]).await;
    assert!(!said.contains("never exported"), "{said}");
    assert_eq!(ledger(&world).await.len(), 33);
}

/// A trace, two generations, a span and a score of each day.
async fn add_rows(world: &World, project: &str, days: &[chrono::NaiveDate]) {
    let mut rows = Rows::default();
    for day in days {
        let (id, time) = (format!("{project} {day}"), at(*day, 9, 0, 0, 0));
        rows.traces.push(Trace::new(project, &id, time));
        for number in 0..2 {
            let id = format!("{id} {number}");
            rows.observations.push(Observation::generation(project, &id, &id, time));
        }
        rows.observations
            .push(Observation::span(project, &format!("{id} span"), &id, time));
        rows.scores.push(Score::new(project, &id, &id, time));
    }
    rows.insert(&world.pool()).await;
}

/// With and without an index of the projects' own scores.
#[tokio::test]
async fn count_counts_what_the_planned_jobs_hold() {
    let world = world().await;
    add_project(&world, "two", true).await;
    add_rows(&world, PROJECT, &[day("2024-06-01"), day("2024-06-02"), yesterday()]).await;
    add_rows(&world, "two", &[day("2024-06-02")]).await;
    // Not planned, and not counted.
    add_project(&world, "off", false).await;
    add_rows(&world, "off", &[day("2024-06-02")]).await;
    add_rows(&world, PROJECT, &[yesterday() + Days::new(1)]).await;
    let one =
        json!({"project_id": PROJECT, "jobs": 3, "events": {"trace": 3, "generation": 6, "score": 3}, "total": 12});
    let two = json!({"project_id": "two", "jobs": 1, "events": {"trace": 1, "generation": 2, "score": 1}, "total": 4});
    let count = ["enqueue", "--dry-run", "--count", "--json"];
    assert_eq!(json(&world, &count).await["counts"], json!([one, two]));
    alter(&world, "create index on scores (project_id, timestamp)").await;
    assert_eq!(json(&world, &count).await["counts"], json!([one, two]));

    let text = world.succeeds(&count[..3]).await.stdout;
    let all: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(all, ["(all)", "4", "4", "8", "4", "16"], "{text}");
    assert_eq!(world.producer(&["enqueue", "--count"]).await.code, 2);
}

/// The estimate reads the planner's statistics. It need not be exact, but of the right size.
#[tokio::test]
async fn the_estimate_is_near_the_count() {
    let world = world().await;
    let days: Vec<_> = (0..40).map(|number| day("2024-01-01") + Days::new(number)).collect();
    add_rows(&world, PROJECT, &days).await;
    add_project(&world, "other", true).await;
    add_rows(&world, "other", &days).await;
    for analyze in ["analyze traces", "analyze observations", "analyze scores"] {
        alter(&world, analyze).await;
    }
    let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
    for place in [0, 1] {
        let events = report["first_exports"][place]["events"].as_i64().unwrap();
        assert!((80..=320).contains(&events), "{events} for 160");
    }
}
