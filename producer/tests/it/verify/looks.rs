//! A day that misses events is looked at again, and what was found of it stays until something else
//! is found.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::{World, langfuse};

use super::app::{App, PERSONAL_KEY, Way};
use super::{DAY, exported, exported_last_week, target, uuid, verify};
use crate::console::big::scans;
use crate::{KEY, PROJECT, alter, json, world};

/// Without dates: what is due.
async fn due(world: &World, more: &[&str]) -> (Value, i32) {
    let output = world.producer(&[&["verify", "--json"], more].concat()).await;
    let report = serde_json::from_str(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    (report, output.code)
}

/// Everything that the ledger knows was so much earlier.
async fn minutes_pass(world: &World, minutes: i32) {
    for statement in [
        "update posthog_export.runs set completed_at = completed_at - make_interval(mins => $1)",
        "update posthog_export.arrivals
         set run_completed_at = run_completed_at - make_interval(mins => $1),
             seen_completed_at = seen_completed_at - make_interval(mins => $1),
             checked_at = checked_at - make_interval(mins => $1), looked_at = looked_at - make_interval(mins => $1)",
    ] {
        sqlx::query(statement)
            .bind(minutes)
            .execute(&world.pool())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_day_stays_missing_for_every_verify_until_it_has_arrived() {
    let (world, app, mut events) = exported(PROJECT).await;
    let whole = events.clone();
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    let (report, code, said) = verify(&world, &[]).await;
    assert_eq!((code, &report["earlier"]), (1, &json!([])), "{said}");
    let asked = app.queries().len();
    // Nothing is due, and the day is still missing.
    let (report, code) = due(&world, &[]).await;
    assert_eq!((code, &report["days"]), (1, &json!([])));
    let earlier = &report["earlier"][0];
    assert_eq!((&earlier["day"], &earlier["verdict"]), (&json!(DAY), &json!("missing")));
    assert_eq!(app.queries().len(), asked);
    let text = world.producer(&["verify"]).await.stdout;
    assert!(
        text.contains("not looked at now)") && text.contains("By earlier looks, 1 other day still miss"),
        "{text}"
    );
    // Another range is not about it.
    let other = world.producer(&["verify", "--day", "2024-06-02"]).await;
    assert_eq!(other.code, 0, "{}", other.stdout);
    // It may have come late: after a day it is looked at again.
    app.holds(whole);
    minutes_pass(&world, 23 * 60).await;
    assert_eq!(due(&world, &[]).await.0["days"], json!([]));
    minutes_pass(&world, 2 * 60).await;
    let (report, code) = due(&world, &[]).await;
    assert_eq!((code, &report["days"][0]["verdict"]), (0, &json!("arrived")));
    assert_eq!(due(&world, &[]).await.0["days"], json!([]));
}

#[tokio::test]
async fn only_what_is_missing_by_this_very_look_is_sent_again() {
    let (world, app, mut events) = exported(PROJECT).await;
    let whole = events.clone();
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events.clone());
    let first = verify(&world, &[]).await.0["days"][0].clone();
    // It came late, after the verdict: there is nothing to send.
    app.holds(whole);
    let (report, code) = due(&world, &["--repair"]).await;
    assert_eq!(
        (code, &report["days"][0]["verdict"], &report["repaired"]),
        (0, &json!("arrived"), &json!([]))
    );
    app.holds(events);
    verify(&world, &[]).await;
    app.fails(Way::Status(401), 9);
    let (report, code) = due(&world, &["--repair"]).await;
    assert_eq!((code, &report["days"][0]["verdict"]), (1, &json!("missing")));
    let refused = report["repaired"][0]["refused"].as_str().unwrap();
    assert!(refused.contains("cannot be told: "), "{refused}");
    let none = due(&world, &["--repair", "--at-most", "0s"]).await.0;
    let refused = none["repaired"][0]["refused"].as_str().unwrap();
    assert!(refused.contains("no time was left"), "{refused}");
    assert_eq!(world.queue_depth(testkit::JOBS).await, 0);
    app.fails(Way::Well, 0);
    let (report, _) = due(&world, &["--repair"]).await;
    assert!(report["repaired"][0]["run"].is_string(), "{report}");
    assert_eq!(world.queue_depth(testkit::JOBS).await, 1);
    // The times are those of the ledger, not those of the run.
    let day = &due(&world, &[]).await.0["earlier"][0];
    assert!(day["repaired_at"].is_string() && day["checked_at"] != first["run_completed_at"]);
    assert_ne!(first["checked_at"], first["run_completed_at"]);
}

#[tokio::test]
async fn a_look_that_fails_ends_no_alert_also_after_another_run() {
    let (world, app, mut events) = exported(PROJECT).await;
    let whole = events.clone();
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    let found = verify(&world, &[]).await.0["days"][0].clone();
    alter(
        &world,
        "update posthog_export.runs set completed_at = now() - interval '2 hours'",
    )
    .await;
    app.fails(Way::Status(401), 9);
    let (report, code) = due(&world, &[]).await;
    let kept = &report["days"][0];
    assert_eq!(
        (code, &kept["verdict"], &kept["missing"]),
        (1, &json!("missing"), &json!(1))
    );
    for same in ["run_completed_at", "checked_at", "says", "sample"] {
        assert_eq!(kept[same], found[same], "{same}");
    }
    let failure = kept["failure"].as_str().unwrap();
    assert!(failure.contains("does not know the personal API key"), "{failure}");
    let status = json(&world, &["status", "--json", "--project", PROJECT]).await;
    assert_eq!(status["totals"]["days_not_arrived"], 1);
    assert_eq!(status["arrivals"][0]["failure"], kept["failure"]);
    let text = world.succeeds(&["status", "--project", PROJECT]).await.stdout;
    assert!(text.contains("does not know the personal API key"), "{text}");
    // It is asked again in an hour, not in a day.
    minutes_pass(&world, 2 * 60).await;
    app.fails(Way::Well, 0);
    app.holds(whole);
    let (report, code) = due(&world, &[]).await;
    assert_eq!(
        (code, &report["days"][0]["verdict"], &report["days"][0]["failure"]),
        (0, &json!("arrived"), &Value::Null)
    );
}

#[tokio::test]
async fn another_run_ends_no_alert_before_the_day_is_whole() {
    let (world, app, mut events) = exported(PROJECT).await;
    let whole = events.clone();
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    let found = verify(&world, &[]).await.0["days"][0].clone();
    assert_eq!(found["verdict"], "missing", "{found}");
    alter(
        &world,
        "update posthog_export.runs set completed_at = now() - interval '70 minutes'",
    )
    .await;
    let (report, code) = due(&world, &[]).await;
    let kept = &report["days"][0];
    assert_eq!((code, &kept["verdict"]), (1, &json!("missing")), "{report}");
    assert_eq!(kept["checked_at"], found["checked_at"]);
    assert!(kept["failure"].as_str().unwrap().contains("119 of 120"), "{kept}");
    let status = json(&world, &["status", "--json", "--project", PROJECT]).await;
    assert_eq!(status["totals"]["days_not_arrived"], 1);
    // As with what is not yet there: it is looked at when that run is a day old.
    minutes_pass(&world, 22 * 60).await;
    assert_eq!(due(&world, &[]).await.0["days"][0]["verdict"], "missing");
    minutes_pass(&world, 2 * 60).await;
    let (report, code) = due(&world, &[]).await;
    let new = &report["days"][0];
    assert_eq!(
        (code, &new["verdict"], &new["failure"]),
        (1, &json!("missing"), &Value::Null),
        "{report}"
    );
    assert_ne!(new["checked_at"], found["checked_at"]);
    app.holds(whole);
    assert_eq!(verify(&world, &[]).await.0["days"][0]["verdict"], "arrived");
}

/// Whether the day is looked at now.
async fn is_due(world: &World) -> bool {
    due(world, &[]).await.0["days"] != json!([])
}

#[tokio::test]
async fn a_day_of_which_nothing_is_known_is_looked_at_less_and_less_often() {
    let (world, app, mut events) = exported_last_week().await;
    app.fails(Way::NoProjects, usize::MAX);
    for (waits, which) in [
        (0, "first"),
        (60, "second"),
        (180, "third"),
        (720, "fourth"),
        (720, "fifth"),
    ] {
        minutes_pass(&world, (waits - 10).max(0)).await;
        assert!(waits == 0 || !is_due(&world).await, "before the {which}");
        minutes_pass(&world, 20.min(waits)).await;
        assert!(is_due(&world).await, "the {which}");
    }
    // A fault of the host is one question, so its days do not wait longer for it.
    app.fails(Way::Status(401), usize::MAX);
    alter(&world, "delete from posthog_export.arrivals").await;
    for _ in 0..4 {
        assert!(is_due(&world).await);
        minutes_pass(&world, 70).await;
    }
    // The next run begins anew; and what is not there yet is judged when the export is a day old.
    app.fails(Way::Well, 0);
    events.retain(|event| event.uuid != uuid(PROJECT, "t9"));
    app.holds(events);
    alter(
        &world,
        "update posthog_export.runs set completed_at = now() - interval '70 minutes'",
    )
    .await;
    for minutes in [70, 190, 18 * 60] {
        let (report, code) = due(&world, &[]).await;
        assert_eq!(
            (code, &report["days"][0]["verdict"]),
            (0, &json!("not_yet")),
            "{report}"
        );
        minutes_pass(&world, minutes).await;
    }
    assert_eq!(due(&world, &[]).await.0["days"][0]["verdict"], "not_yet");
    minutes_pass(&world, 3 * 60).await;
    let (report, code) = due(&world, &[]).await;
    assert_eq!(
        (code, &report["days"][0]["verdict"]),
        (1, &json!("missing")),
        "{report}"
    );
}

/// The last look at a day of a project.
async fn looked_at(world: &World, project: &str, days_ago: i32) -> Option<DateTime<Utc>> {
    sqlx::query_scalar(
        "select looked_at from posthog_export.arrivals where project_id = $1 and day = current_date - $2",
    )
    .bind(project)
    .bind(days_ago)
    .fetch_optional(&world.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn what_was_never_looked_at_comes_first_and_hosts_take_turns() {
    let world = world().await;
    let mut keys = String::new();
    for number in 0..4 {
        let project = format!("p{number}");
        let app = App::start(&project, KEY).await;
        langfuse::add_project(&world.pool(), &project, "One of four").await;
        langfuse::add_integration(&world.pool(), &project, &format!("http://{}", app.host), KEY, true).await;
        keys += &format!("{} {PERSONAL_KEY}\n", app.host);
        sqlx::query(
            "with run as (
               insert into posthog_export.runs (project_id, day, run, state, target, started_at, completed_at)
               select $1, current_date - n, 'daily', 'completed', $2, $3, $3 from generate_series(2, 9) n
               returning day)
             insert into posthog_export.streams (project_id, day, run, stream, done)
             select $1, day, 'daily', 'trace', true from run",
        )
        .bind(&project)
        .bind(target(&app.host, KEY))
        .bind(Utc::now() - TimeDelta::hours(30))
        .execute(&world.pool())
        .await
        .unwrap();
    }
    let file = world.servers().directory().path().join("keys-of-four");
    std::fs::write(&file, keys).unwrap();
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", file.to_str().unwrap());
    // The oldest day of p0 was looked at in vain.
    alter(
        &world,
        "insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says, looked_at)
         select project_id, day, run, completed_at, 'unknown', 'why', now() - interval '2 hours'
         from posthog_export.runs where project_id = 'p0' and day = current_date - 9",
    )
    .await;
    let (report, code) = due(&world, &[]).await;
    assert_eq!((code, report["days"].as_array().unwrap().len()), (0, 32), "{report}");
    assert!(looked_at(&world, "p0", 2).await < looked_at(&world, "p0", 9).await);
    for number in 1..4 {
        let project = format!("p{number}");
        assert!(looked_at(&world, &project, 9).await < looked_at(&world, &project, 2).await);
        // The fourth host does not wait until one of three has been asked everything.
        for other in ["p1", "p2", "p3"] {
            assert!(looked_at(&world, &project, 9).await < looked_at(&world, other, 2).await);
        }
    }
}

#[tokio::test]
async fn a_history_is_verified_after_its_export_and_keeps_no_other_day_waiting() {
    let (world, app, mut events) = exported(PROJECT).await;
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    // Of a day of last week nothing is known.
    alter(
        &world,
        "with run as (
           insert into posthog_export.runs (project_id, day, run, state, target, started_at, completed_at)
           select project_id, current_date - 5, run, state, target, started_at, completed_at from posthog_export.runs
           returning day)
         insert into posthog_export.streams (project_id, day, run, stream, done)
         select 'project one', day, 'daily', 'trace', true from run",
    )
    .await;
    let none = due(&world, &["--at-most", "0s"]).await.0;
    assert_eq!((&none["days"], &none["left"]), (&json!([]), &json!(2)));
    let (report, code) = due(&world, &[]).await;
    let found = &report["days"][0];
    assert_eq!(
        (code, &found["day"], &found["verdict"]),
        (1, &json!(DAY), &json!("missing")),
        "{report}"
    );
    let last_week = looked_at(&world, PROJECT, 5).await.unwrap();
    let history: DateTime<Utc> = found["looked_at"].as_str().unwrap().parse().unwrap();
    assert!(last_week < history, "{report}");
    // What was exported longer ago is asked for by its date.
    alter(&world, "delete from posthog_export.arrivals where day < '2025-01-01'").await;
    minutes_pass(&world, 29 * 24 * 60).await;
    assert_eq!(due(&world, &[]).await.0["days"], json!([]));
    assert_eq!(verify(&world, &[]).await.1, 1);
}

#[tokio::test]
async fn a_keys_file_that_is_wrong_stops_no_enqueue() {
    let world = world().await;
    let file = world.servers().directory().path().join("keys-that-are-wrong");
    std::fs::write(&file, "posthog.example.com phc_hunter2\n").unwrap();
    for (file, fault) in [(file.to_str().unwrap(), "line 1"), ("/nowhere/keys", "cannot read")] {
        world.set("POSTHOG_PERSONAL_API_KEYS_FILE", file);
        let scheduler = world.spawn_producer(&["schedule"], &[]).await;
        let patience = std::time::Duration::from_secs(60);
        let at_work = async || scheduler.stderr().contains(testkit::lines::NEXT_ENQUEUE);
        assert!(
            testkit::wait::until(patience, at_work).await.is_some(),
            "{}",
            scheduler.tail()
        );
        let said = scheduler.stderr();
        assert!(said.contains("is not verified until") && said.contains(fault), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        scheduler.terminate();
        let output = world.producer(&["doctor", "--json"]).await;
        let doctor: Value = serde_json::from_str(&output.stdout).unwrap();
        let checks = doctor["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["check"] == "arrival").unwrap();
        assert_eq!(found["status"], "problem", "{found}");
        assert!(found["found"].as_str().unwrap().contains(fault), "{found}");
        let output = world.producer(&["verify"]).await;
        assert!(output.code == 2 && output.stderr.contains(fault), "{}", output.stderr);
    }
}

#[tokio::test]
async fn nobody_is_called_for_a_project_that_is_switched_off_or_gone() {
    let (world, app, mut events) = exported(PROJECT).await;
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    let host = format!("http://{}", app.host);
    assert_eq!(verify(&world, &[]).await.1, 1);
    let ledger = shared::ledger::Ledger::new(world.pool());
    let calls = async || ledger.not_arrived().await.unwrap().days;
    assert_eq!(calls().await, 1);
    langfuse::add_integration(&world.pool(), PROJECT, &host, KEY, false).await;
    world.succeeds(&["enqueue", "--no-setup"]).await;
    assert_eq!(calls().await, 0);
    let text = world.succeeds(&["status", "--project", PROJECT]).await.stdout;
    assert!(text.contains("1 day set aside") && !text.contains("MISSING"), "{text}");
    let (report, code) = due(&world, &[]).await;
    assert_eq!((code, &report["earlier"], &report["days"]), (0, &json!([]), &json!([])));
    // It comes back with the project.
    langfuse::add_integration(&world.pool(), PROJECT, &host, KEY, true).await;
    let (report, code) = due(&world, &[]).await;
    assert_eq!((code, report["earlier"].as_array().unwrap().len()), (1, 1));
    assert_eq!(calls().await, 1);
    alter(&world, "delete from posthog_integrations").await;
    assert_eq!(due(&world, &[]).await.1, 0);
    assert_eq!(calls().await, 0);
}

/// A thousand days of fifty projects, all of which have arrived.
const HISTORY: &str = "
    insert into posthog_export.runs (project_id, day, run, state, started_at, completed_at, queued_at)
      select 'history ' || p, d, 'daily', 'completed', d, d + interval '1 day', d
      from generate_series(1, 50) p, generate_series(current_date - 1000, current_date - 1, interval '1 day') d;
    insert into posthog_export.arrivals (project_id, day, run, run_completed_at, verdict, says)
      select project_id, day, run, completed_at, 'arrived', '' from posthog_export.runs where project_id like 'history %';
    analyze";

#[tokio::test]
async fn what_is_due_is_found_without_reading_the_whole_ledger() {
    let (world, _app, _) = exported(PROJECT).await;
    sqlx::raw_sql(HISTORY).execute(&world.pool()).await.unwrap();
    let of_history = async || -> Vec<(String, i64)> {
        let all = scans(&world).await.into_iter();
        all.filter(|(table, _)| matches!(table.as_str(), "runs" | "arrivals"))
            .collect()
    };
    let before = of_history().await;
    assert_eq!(due(&world, &[]).await.0["days"].as_array().unwrap().len(), 1);
    assert_eq!(
        of_history().await,
        before,
        "a table was read from its beginning to its end"
    );
}
