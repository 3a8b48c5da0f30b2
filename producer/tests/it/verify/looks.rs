//! A day that misses events is looked at again, and what was found of it stays until something else
//! is found.

use serde_json::{Value, json};

use super::app::Way;
use super::{DAY, exported, uuid, verify};
use crate::{PROJECT, alter, json};

/// Without dates: what is due.
async fn due(world: &testkit::World, more: &[&str]) -> (Value, i32) {
    let output = world.producer(&[&["verify", "--json"], more].concat()).await;
    let report = serde_json::from_str(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    (report, output.code)
}

async fn hours_pass(world: &testkit::World, hours: i32) {
    sqlx::query(
        "update posthog_export.arrivals
         set checked_at = checked_at - make_interval(hours => $1), looked_at = looked_at - make_interval(hours => $1)",
    )
    .bind(hours)
    .execute(&world.pool())
    .await
    .unwrap();
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
    hours_pass(&world, 23).await;
    assert_eq!(due(&world, &[]).await.0["days"], json!([]));
    hours_pass(&world, 2).await;
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
    hours_pass(&world, 2).await;
    app.fails(Way::Well, 0);
    app.holds(whole);
    let (report, code) = due(&world, &[]).await;
    assert_eq!(
        (code, &report["days"][0]["verdict"], &report["days"][0]["failure"]),
        (0, &json!("arrived"), &Value::Null)
    );
}
