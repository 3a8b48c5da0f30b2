//! What PostHog holds is compared with what was exported: each verdict, each way to fail, and what
//! is done about it.

mod app;
mod looks;
mod projects;
mod repair;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testkit::seed::{Observation, Rows, Score, Trace, at};
use testkit::{JOBS, World, langfuse};
use uuid::Uuid;

use crate::{KEY, PROJECT, alter, day, drain, json, world};
use app::{App, Event, NUMBER, PERSONAL_KEY, Way};

const DAY: &str = "2024-06-01";
/// As in docs/EVENTS.md.
const NAMESPACE: Uuid = Uuid::from_u128(0x0f6c_91df_d035_4813_b838_9741_ba38_ef0b);

fn uuid(project: &str, row: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{project}-{row}").as_bytes())
}

/// A trace, a generation and a span each half hour of the day, and a score each hour; the events
/// that the export makes of them.
async fn seed(world: &World, project: &str) -> Vec<Event> {
    let mut rows = Rows::default();
    let mut events = Vec::new();
    for half in 0..48 {
        let time = at(day(DAY), half / 2, (half % 2) * 30, 5, 250);
        let trace = format!("t{half}");
        rows.traces.push(Trace::new(project, &trace, time));
        let generation = format!("g{half}");
        rows.observations
            .push(Observation::generation(project, &generation, &trace, time));
        rows.observations
            .push(Observation::span(project, &format!("o{half}"), &trace, time));
        let mut made = vec![("langfuse trace", trace), ("langfuse generation", generation)];
        if half % 2 == 0 {
            let score = format!("s{half}");
            rows.scores.push(Score::new(project, &score, &format!("t{half}"), time));
            made.push(("langfuse score", score));
        }
        events.extend(made.into_iter().map(|(name, row)| Event {
            name: name.to_owned(),
            uuid: uuid(project, &row),
            time: time.and_utc(),
        }));
    }
    rows.insert(&world.pool()).await;
    events
}

fn target(host: &str, key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    format!("http://{host} {}", hex::encode(&digest[..6]))
}

/// A completed run, as a worker leaves it.
async fn completed(world: &World, project: &str, run: &str, target: &str, began: DateTime<Utc>) {
    sqlx::query(
        "with run as (
           insert into posthog_export.runs (project_id, day, run, state, target, started_at, completed_at)
           values ($1, $2::text::date, $3, 'completed', $4, $5, $5 + interval '1 minute'))
         insert into posthog_export.streams (project_id, day, run, stream, done)
         select $1, $2::text::date, $3, unnest(array['trace', 'generation', 'score']), true",
    )
    .bind(project)
    .bind(DAY)
    .bind(run)
    .bind(target)
    .bind(began)
    .execute(&world.pool())
    .await
    .unwrap();
}

/// A project whose day was exported two days ago to a PostHog that holds all of it.
async fn exported(project: &str) -> (Arc<World>, App, Vec<Event>) {
    let world = world().await;
    let app = App::start(project, KEY).await;
    if project != PROJECT {
        langfuse::add_project(&world.pool(), project, "Another").await;
    }
    langfuse::add_integration(&world.pool(), project, &format!("http://{}", app.host), KEY, true).await;
    let events = seed(&world, project).await;
    app.holds(events.clone());
    let began = Utc::now() - TimeDelta::hours(48);
    completed(&world, project, "daily", &target(&app.host, KEY), began).await;
    let keys = world
        .servers()
        .directory()
        .path()
        .join(format!("keys-{}", app.host.replace(':', "-")));
    std::fs::write(&keys, format!("# ours\n{} {PERSONAL_KEY}\n", app.host)).unwrap();
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", keys.to_str().unwrap());
    (world, app, events)
}

/// Verifies the day; its verdict and its exit code.
async fn verify(world: &World, more: &[&str]) -> (Value, i32, String) {
    let arguments = [&["verify", "--day", DAY, "--json"], more].concat();
    let output = world.producer(&arguments).await;
    let report: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains(PERSONAL_KEY) && !said.contains(KEY), "{said}");
    (report, output.code, said)
}

#[tokio::test]
async fn what_arrived_has_arrived_and_is_asked_for_cheaply() {
    let (world, app, events) = exported(PROJECT).await;
    // Copies that are not folded are a number, and other projects' events nobody's business.
    let mut held = events.clone();
    held.extend_from_slice(&events[..7]);
    app.holds(held);
    let (report, code, said) = verify(&world, &[]).await;
    let found = &report["days"][0];
    assert_eq!((code, &found["verdict"]), (0, &json!("arrived")), "{said}");
    assert_eq!(
        (
            &found["expected"],
            &found["missing"],
            &found["copies"],
            &found["weaker"]
        ),
        (&json!(120), &json!(0), &json!(7), &json!(false))
    );
    assert_eq!(found["says"], "all 120 events arrived; 7 copies are not folded yet");
    assert_eq!(app.queries().len(), 1, "equal hours are not asked for by uuid");
    assert_eq!(app.paths().iter().filter(|path| *path == "/api/projects/").count(), 2);
    // The number of the project is remembered.
    verify(&world, &[]).await;
    assert_eq!(app.paths().iter().filter(|path| *path == "/api/projects/").count(), 2);
    assert_eq!(report["warnings"], json!([]));
    let text = world.succeeds(&["verify", "--day", DAY]).await.stdout;
    assert!(
        text.contains(&format!("{PROJECT} {DAY}: all 120 events arrived")),
        "{text}"
    );
    assert!(text.contains("1 day verified: 1 arrived."), "{text}");
}

#[tokio::test]
async fn what_is_missing_and_what_is_extra_is_found_by_uuid() {
    let (world, app, mut events) = exported(PROJECT).await;
    let lost: Vec<Event> = events
        .extract_if(.., |event| {
            event.uuid == uuid(PROJECT, "t9") || event.uuid == uuid(PROJECT, "s20")
        })
        .collect();
    assert_eq!(lost.len(), 2);
    let moved = events
        .iter_mut()
        .find(|event| event.uuid == uuid(PROJECT, "g3"))
        .unwrap();
    moved.time += TimeDelta::hours(5);
    // Sent before and after its time changed: the old copy is no extra event.
    let twice = events
        .iter()
        .find(|event| event.uuid == uuid(PROJECT, "t30"))
        .unwrap()
        .clone();
    events.push(Event {
        time: twice.time + TimeDelta::hours(2),
        ..twice
    });
    events.push(Event {
        name: "langfuse trace".to_owned(),
        uuid: uuid(PROJECT, "deleted in Langfuse"),
        time: "2024-06-01T12:00:00Z".parse().unwrap(),
    });
    app.holds(events);
    let (report, code, said) = verify(&world, &[]).await;
    let found = &report["days"][0];
    assert_eq!((code, &found["verdict"]), (1, &json!("missing")), "{said}");
    assert_eq!((&found["missing"], &found["extra"]), (&json!(2), &json!(1)), "{said}");
    assert_eq!(found["streams"], json!(["trace", "score"]));
    assert_eq!(found["sample"], json!(["trace/t9", "score/s20"]));
    assert_eq!(found["hours"], json!({"trace": {"4": [2, 1]}, "score": {"10": [1, 1]}}));
    assert_eq!(found["nothing_after"], Value::Null);
}

#[tokio::test]
async fn a_day_that_breaks_off_looks_like_the_billing_limit_and_is_not_sent_again_by_itself() {
    let (world, app, mut events) = exported(PROJECT).await;
    events.retain(|event| event.time < "2024-06-01T19:00:00Z".parse::<DateTime<Utc>>().unwrap());
    app.holds(events);
    let output = world.producer(&["verify", "--day", DAY, "--repair"]).await;
    assert_eq!(output.code, 1);
    let sentence =
        format!("{PROJECT} {DAY}: 95 of 120 arrived; nothing after 19:00: this looks like PostHog's billing limit");
    assert!(output.stdout.contains(&sentence), "{}", output.stdout);
    assert!(output.stdout.contains("NOT sent again"), "{}", output.stdout);
    assert_eq!(world.queue_depth(JOBS).await, 0);
    verify(&world, &["--repair", "--force"]).await;
    assert_eq!(world.queue_depth(JOBS).await, 1);
}

#[tokio::test]
async fn what_is_missing_is_sent_again_once_for_a_verdict() {
    let (world, app, mut events) = exported(PROJECT).await;
    let whole = events.clone();
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    let (report, code, _) = verify(&world, &["--repair"]).await;
    assert_eq!(code, 1);
    let run = report["repaired"][0]["run"].as_str().unwrap();
    let message = drain(&world, JOBS).await.remove(0).json();
    assert_eq!(
        message,
        json!({"project_id": PROJECT, "day": DAY, "run": run, "events": ["generation"]})
    );
    let (report, _, said) = verify(&world, &["--repair"]).await;
    assert!(
        report["repaired"][0]["refused"].as_str().unwrap().contains("already"),
        "{said}"
    );
    assert_eq!(world.queue_depth(JOBS).await, 0);
    app.holds(whole);
    let (report, code, _) = verify(&world, &["--repair"]).await;
    assert_eq!(
        (code, &report["days"][0]["verdict"], &report["repaired"]),
        (0, &json!("arrived"), &json!([]))
    );
}

#[tokio::test]
async fn a_day_of_long_ago_that_misses_events_is_looked_at_again_once_it_was_exported_again() {
    let (world, app, mut events) = exported(PROJECT).await;
    let whole = events.clone();
    events.retain(|event| event.uuid != uuid(PROJECT, "g7"));
    app.holds(events);
    assert_eq!(verify(&world, &[]).await.0["days"][0]["verdict"], "missing");
    let due = async || {
        let output = world.producer(&["verify", "--json"]).await;
        serde_json::from_str::<Value>(&output.stdout).unwrap()["days"].clone()
    };
    assert_eq!(due().await, json!([]));
    app.holds(whole);
    alter(
        &world,
        "update posthog_export.runs set completed_at = now() - interval '2 hours'",
    )
    .await;
    assert_eq!(due().await[0]["verdict"], "arrived");
    assert_eq!(due().await, json!([]));
}

#[tokio::test]
async fn late_rows_and_rejects_may_be_absent_and_a_fresh_export_is_not_yet_missing() {
    let (world, app, mut events) = exported(PROJECT).await;
    alter(
        &world,
        "update scores set created_at = now() at time zone 'UTC' where id in ('s0', 's2')",
    )
    .await;
    alter(
        &world,
        "insert into posthog_export.rejects (project_id, day, run, stream, row_id, reason)
         values ('project one', '2024-06-01', 'daily', 'trace', 't1', 'too large')",
    )
    .await;
    let absent = ["s0", "t1"].map(|row| uuid(PROJECT, row));
    events.retain(|event| !absent.contains(&event.uuid));
    app.holds(events.clone());
    let (report, _, said) = verify(&world, &[]).await;
    let found = &report["days"][0];
    assert_eq!(
        (&found["verdict"], &found["late"], &found["extra"]),
        (&json!("arrived"), &json!(3), &json!(0)),
        "{said}"
    );
    events.retain(|event| event.uuid != uuid(PROJECT, "t40"));
    app.holds(events);
    alter(
        &world,
        "update posthog_export.runs set completed_at = now() - interval '23 hours'",
    )
    .await;
    let (report, code, said) = verify(&world, &[]).await;
    assert_eq!((code, &report["days"][0]["verdict"]), (0, &json!("not_yet")), "{said}");
}

#[tokio::test]
async fn a_day_that_went_elsewhere_or_nowhere_is_unknown() {
    let (world, app, _) = exported(PROJECT).await;
    langfuse::add_integration(&world.pool(), PROJECT, &format!("http://{}", app.host), "phc_new", true).await;
    let (report, code, _) = verify(&world, &[]).await;
    assert_eq!((code, &report["days"][0]["verdict"]), (0, &json!("unknown")));
    assert!(
        report["days"][0]["says"]
            .as_str()
            .unwrap()
            .contains("another host or with another key")
    );
    assert!(app.paths().is_empty());
    alter(&world, "update posthog_export.runs set state = 'dead'").await;
    assert_eq!(verify(&world, &[]).await.0["days"], json!([]));
}

#[tokio::test]
async fn an_old_server_is_compared_by_counts_and_says_so() {
    let (world, app, mut events) = exported(PROJECT).await;
    app.fails(Way::NoFunctions, usize::MAX);
    let (report, _, said) = verify(&world, &[]).await;
    assert_eq!(
        (&report["days"][0]["verdict"], &report["days"][0]["weaker"]),
        (&json!("arrived"), &json!(true)),
        "{said}"
    );
    events.retain(|event| event.uuid != uuid(PROJECT, "t9"));
    app.holds(events);
    let (report, _, said) = verify(&world, &[]).await;
    assert_eq!(
        (&report["days"][0]["missing"], &report["days"][0]["sample"]),
        (&json!(1), &json!(["trace/t9"])),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_too_much_at_once_is_asked_in_parts() {
    let (world, app, mut events) = exported(PROJECT).await;
    events.retain(|event| event.uuid != uuid(PROJECT, "t9") && event.uuid != uuid(PROJECT, "t40"));
    app.holds(events);
    for way in [
        // More than one event of a whole day, and more than five hours of it.
        Way::TooHeavyAbove(50),
        Way::TooHeavyAbove(10),
        // One, and a few: where two hours differ, two uuids are asked for at once in each.
        Way::Cut(1),
        Way::Cut(3),
    ] {
        app.fails(way, usize::MAX);
        let (report, code, said) = verify(&world, &[]).await;
        assert_eq!((code, &report["days"][0]["missing"]), (1, &json!(2)), "{way:?}: {said}");
    }
}

#[tokio::test]
async fn an_hour_that_is_too_much_for_an_answer_is_cut_by_the_digits_of_its_uuids() {
    let (world, app, mut events) = exported(PROJECT).await;
    let time = events
        .iter()
        .find(|event| event.uuid == uuid(PROJECT, "t9"))
        .unwrap()
        .time;
    events.retain(|event| event.uuid != uuid(PROJECT, "t9"));
    events.extend([0x10, 0x11, 0x12, 0x80_u128].map(|first| Event {
        name: "langfuse trace".to_owned(),
        uuid: Uuid::from_u128(first << 120),
        time,
    }));
    app.holds(events);
    app.fails(Way::Cut(1), usize::MAX);
    let (report, code, said) = verify(&world, &[]).await;
    let found = &report["days"][0];
    assert_eq!(
        (code, &found["missing"], &found["extra"], &found["sample"]),
        (1, &json!(1), &json!(4), &json!(["trace/t9"])),
        "{said}"
    );
    let last = app.queries().pop().unwrap();
    assert_eq!(last["query"]["values"]["digits"], 2);
}

#[tokio::test]
async fn a_day_that_takes_too_long_is_told_and_does_not_hold_up_the_next_verify() {
    let (world, app, mut events) = exported(PROJECT).await;
    events.retain(|event| event.uuid != uuid(PROJECT, "t9"));
    app.holds(events);
    app.fails(Way::Slow(Duration::from_secs(6)), usize::MAX);
    let (report, code, said) = verify(&world, &["--at-most", "5s"]).await;
    let found = &report["days"][0];
    assert_eq!((code, &found["verdict"]), (0, &json!("unknown")), "{said}");
    assert!(found["says"].as_str().unwrap().contains("--at-most"), "{said}");
    assert!(app.queries().len() <= 1, "no question is begun after that");
}

#[tokio::test]
async fn a_late_run_does_not_excuse_what_the_run_before_it_lost() {
    let (world, app, mut events) = exported(PROJECT).await;
    events.retain(|event| event.uuid != uuid(PROJECT, "t9"));
    app.holds(events);
    let now = Utc::now() - TimeDelta::minutes(30);
    completed(&world, PROJECT, "late-1", &target(&app.host, KEY), now).await;
    let since = "update posthog_export.runs set created_after = started_at - interval '1 day' where run = 'late-1'";
    sqlx::query(since).execute(&world.pool()).await.unwrap();
    let (report, code, said) = verify(&world, &[]).await;
    assert_eq!((code, &report["days"][0]["verdict"]), (1, &json!("missing")), "{said}");
    // A replay of the whole day has sent it again; it may be on its way.
    completed(&world, PROJECT, "replay", &target(&app.host, KEY), now).await;
    let (report, code, said) = verify(&world, &[]).await;
    assert_eq!(
        (code, &report["days"][0]["verdict"]),
        (1, &json!("missing")),
        "no alert ends by a hope: {said}"
    );
    sqlx::query("delete from posthog_export.arrivals")
        .execute(&world.pool())
        .await
        .unwrap();
    let (report, _, said) = verify(&world, &[]).await;
    assert_eq!(report["days"][0]["verdict"], "not_yet", "{said}");
}

/// PostHog counts hours from 1970 on.
#[tokio::test]
async fn a_day_that_posthog_cannot_count_is_unknown() {
    let (world, app, _) = exported(PROJECT).await;
    let statement = "insert into posthog_export.runs (project_id, day, run, state, target, started_at, completed_at)
                     select project_id, '1969-12-31', run, state, target, started_at, completed_at
                     from posthog_export.runs";
    sqlx::query(statement).execute(&world.pool()).await.unwrap();
    let output = world
        .producer(&["verify", "--to", "1969-12-31", "--from", "1969-12-31", "--json"])
        .await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let found = &report["days"][0];
    assert_eq!(found["verdict"], "unknown", "{report}");
    assert!(found["says"].as_str().unwrap().contains("from 1970"), "{report}");
    assert!(app.queries().is_empty());
}

#[tokio::test]
async fn each_way_to_fail_is_one_line_that_says_what_to_do() {
    let (world, app, _) = exported(PROJECT).await;
    for (way, times, words) in [
        (Way::Status(401), 9, "does not know the personal API key"),
        (Way::Scope("query:read"), 9, "lacks the scope query:read"),
        (Way::NoProjects, 9, "--posthog-project NUMBER"),
        (Way::Status(404), 9, "has no API of PostHog's app"),
        (Way::Busy(3_000), 1, "asks to wait 50 min"),
        (Way::Busy(0), 9, "is busy"),
        (Way::Broken, 9, "has no end"),
        (Way::Cached, 9, "from a cache"),
        (Way::Status(500), 9, "status 500"),
        (Way::TooHeavyAbove(0), 9, "within its limits"),
        (Way::Echo, 9, "what is Bearer (key)?"),
        (Way::Status(302), 9, "has no API"),
    ] {
        alter(&world, "delete from posthog_export.arrivals").await;
        if way != Way::Cached && !matches!(way, Way::TooHeavyAbove(_)) {
            alter(&world, "delete from posthog_export.posthog_projects").await;
        }
        app.fails(way, times);
        let (report, code, said) = verify(&world, &[]).await;
        let found = &report["days"][0];
        assert_eq!((code, &found["verdict"]), (0, &json!("unknown")), "{way:?}: {said}");
        assert!(found["says"].as_str().unwrap().contains(words), "{way:?}: {said}");
    }
    // A wait that is short is waited for.
    app.fails(Way::Busy(1), 2);
    assert_eq!(verify(&world, &[]).await.0["days"][0]["verdict"], "arrived");
    // Nothing found now does not replace what was found.
    app.fails(Way::Status(401), 9);
    verify(&world, &[]).await;
    let kept: String = sqlx::query_scalar("select verdict from posthog_export.arrivals")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(kept, "arrived");
    app.fails(Way::MayWrite, 0);
    let warnings = verify(&world, &[]).await.0["warnings"].to_string();
    assert!(warnings.contains("narrow it"), "{warnings}");
}

/// Fifty projects with the keys of another organisation must not use up what PostHog allows a key.
#[tokio::test]
async fn a_project_that_cannot_be_found_is_looked_for_once() {
    let (world, app, _) = exported(PROJECT).await;
    alter(
        &world,
        "insert into posthog_export.runs (project_id, day, run, state, target, started_at, completed_at)
         select project_id, day + 1, run, state, target, started_at, completed_at from posthog_export.runs",
    )
    .await;
    app.fails(Way::NoProjects, usize::MAX);
    let output = world
        .producer(&["verify", "--from", DAY, "--to", "2024-06-02", "--json"])
        .await;
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let verdicts: Vec<&Value> = report["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| &day["verdict"])
        .collect();
    assert_eq!(verdicts, ["unknown", "unknown"], "{report}");
    let listed = app.paths().into_iter().filter(|path| path == "/api/projects/").count();
    assert_eq!(listed, 1);
}

#[tokio::test]
async fn a_project_that_may_not_be_listed_is_named_by_its_number() {
    let (world, app, _) = exported(PROJECT).await;
    app.fails(Way::NoProjects, usize::MAX);
    let number = NUMBER.to_string();
    let known = async || {
        sqlx::query_scalar::<_, i64>("select posthog_project from posthog_export.posthog_projects")
            .fetch_all(&world.pool())
            .await
            .unwrap()
    };
    let named = async |number: &str| {
        verify(&world, &["--project", PROJECT, "--posthog-project", number])
            .await
            .0["days"][0]
            .clone()
    };
    let wrong = named("1").await;
    let says = wrong["says"].as_str().unwrap();
    assert!(says.contains("another project API key"), "{says}");
    // That PostHog is busy proves nothing of a number, nor does a number without an answer to a query.
    for (way, times) in [
        (Way::Busy(0), 3),
        (Way::Status(503), 3),
        (Way::Status(500), 1),
        (Way::TooHeavyAbove(0), usize::MAX),
    ] {
        app.fails(way, times);
        let number = if times == usize::MAX { &number } else { "1" };
        assert_eq!(named(number).await["verdict"], "unknown", "{way:?}");
        assert_eq!(known().await, Vec::<i64>::new(), "{way:?}");
    }
    app.fails(Way::NoProjects, usize::MAX);
    let named = verify(&world, &["--project", PROJECT, "--posthog-project", &number])
        .await
        .0;
    assert_eq!(named["days"][0]["verdict"], "arrived");
    assert_eq!(known().await, [NUMBER]);
    // A wrong one that is said later does not make it forgotten.
    app.fails(Way::Status(404), usize::MAX);
    verify(&world, &["--project", PROJECT, "--posthog-project", "2"]).await;
    assert_eq!(known().await, [NUMBER]);
    app.fails(Way::NoProjects, usize::MAX);
    // From now on it is known.
    assert_eq!(verify(&world, &[]).await.0["days"][0]["verdict"], "arrived");
    assert!(app.paths().iter().all(|path| path != "/api/projects/"));
    // Nor does an error, which may be a proxy's.
    for status in [403, 404] {
        app.fails(Way::Status(status), usize::MAX);
        assert_eq!(
            verify(&world, &[]).await.0["days"][0]["verdict"],
            "arrived",
            "as before"
        );
        assert_eq!(known().await, [NUMBER], "{status}");
    }
}

#[tokio::test]
async fn a_key_follows_no_host_and_an_id_is_no_query() {
    let odd = r#"a'b"c\d{x}{project}%"#;
    let (world, app, _) = exported(odd).await;
    let (report, _, said) = verify(&world, &[]).await;
    assert_eq!(report["days"][0]["verdict"], "arrived", "{said}");
    let queries = app.queries();
    assert!(
        queries
            .iter()
            .all(|query| !query["query"]["query"].as_str().unwrap().contains("a'b"))
    );
    // Another port of the same host is another host.
    let other = App::start(odd, KEY).await;
    langfuse::add_integration(&world.pool(), odd, &format!("http://{}", other.host), KEY, true).await;
    alter(&world, "delete from posthog_export.runs").await;
    completed(
        &world,
        odd,
        "daily",
        &target(&other.host, KEY),
        Utc::now() - TimeDelta::hours(48),
    )
    .await;
    let (report, _, said) = verify(&world, &[]).await;
    assert!(
        report["days"][0]["says"]
            .as_str()
            .unwrap()
            .contains("no personal API key"),
        "{said}"
    );
    assert!(other.paths().is_empty(), "the key was sent to another host");

    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", "");
    let output = world.producer(&["verify"]).await;
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("POSTHOG_PERSONAL_API_KEY"), "{}", output.stderr);
    let output = world
        .producer_with_env(&["verify"], &[("POSTHOG_PERSONAL_API_KEY", "phc_hunter2")])
        .await;
    assert_eq!(output.code, 2);
    assert!(
        output.stderr.contains("project API key") && !output.stderr.contains("hunter2"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn a_proxy_that_only_takes_events_has_its_app_elsewhere() {
    let (world, app, _) = exported(PROJECT).await;
    let proxy = App::start(PROJECT, KEY).await;
    langfuse::add_integration(&world.pool(), PROJECT, &format!("http://{}", proxy.host), KEY, true).await;
    alter(&world, "delete from posthog_export.runs").await;
    let began = Utc::now() - TimeDelta::hours(48);
    completed(&world, PROJECT, "daily", &target(&proxy.host, KEY), began).await;
    let keys = world.servers().directory().path().join("keys-of-a-proxy");
    std::fs::write(&keys, format!("{} http://{} {PERSONAL_KEY}\n", proxy.host, app.host)).unwrap();
    world.set("POSTHOG_PERSONAL_API_KEYS_FILE", keys.to_str().unwrap());
    let (report, _, said) = verify(&world, &[]).await;
    assert_eq!(report["days"][0]["verdict"], "arrived", "{said}");
    assert!(proxy.paths().is_empty(), "the key was sent to the proxy");
}

/// The same, with a day of last week, whenever the tests run.
async fn exported_last_week() -> (Arc<World>, App, Vec<Event>) {
    let (world, app, mut events) = exported(PROJECT).await;
    let back = "(now() at time zone 'UTC')::date - 5";
    for change in [
        format!("update traces set timestamp = {back} + timestamp::time"),
        format!("update observations set start_time = {back} + start_time::time"),
        format!("update scores set timestamp = {back} + timestamp::time"),
        format!(
            "insert into posthog_export.runs (project_id, day, run, state, target, started_at, completed_at)
             select project_id, {back}, run, state, target, started_at, completed_at from posthog_export.runs;
             update posthog_export.streams set day = {back};
             delete from posthog_export.runs where day = '{DAY}'"
        ),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(change))
            .execute(&world.pool())
            .await
            .unwrap();
    }
    let days = (Utc::now().date_naive() - chrono::Days::new(5)) - day(DAY);
    for event in &mut events {
        event.time += days;
    }
    app.holds(events.clone());
    (world, app, events)
}

#[tokio::test]
async fn a_day_is_due_once_until_it_is_exported_again() {
    let (world, _app, _) = exported_last_week().await;
    let due = async || json(&world, &["verify", "--json"]).await["days"].clone();
    let none = json(&world, &["verify", "--json", "--at-most", "0s"]).await;
    assert_eq!((&none["days"], &none["left"]), (&json!([]), &json!(1)));
    assert_eq!(due().await[0]["verdict"], "arrived");
    assert_eq!(due().await, json!([]));
    alter(
        &world,
        "update posthog_export.runs set completed_at = now() - interval '50 minutes'",
    )
    .await;
    assert_eq!(due().await, json!([]));
    alter(
        &world,
        "update posthog_export.runs set completed_at = now() - interval '70 minutes'",
    )
    .await;
    world.set("SETTLE_AFTER", "30d");
    assert_eq!(due().await, json!([]), "what changed since is still to be sent");
    world.set("SETTLE_AFTER", "off");
    assert_eq!(due().await[0]["verdict"], "arrived");
}

#[tokio::test]
async fn the_scheduler_verifies_by_itself_and_status_shows_it() {
    let (world, app, mut events) = exported_last_week().await;
    let lost = uuid(PROJECT, "t9");
    events.retain(|event| event.uuid != lost);
    app.holds(events);
    // What is found is no failure of a job.
    assert_eq!(world.producer(&["verify", "--log"]).await.code, 0);
    alter(&world, "delete from posthog_export.arrivals").await;
    let scheduler = world.spawn_producer(&["schedule"], &[]).await;
    let found = async || {
        let verdicts: Vec<String> = sqlx::query_scalar("select verdict from posthog_export.arrivals")
            .fetch_all(&world.pool())
            .await
            .unwrap();
        verdicts == ["missing"]
    };
    let verified = testkit::wait::until(Duration::from_secs(60), found).await;
    assert!(verified.is_some(), "{}", scheduler.tail());
    let log = "PostHog does not hold what was exported";
    let said = testkit::wait::until(Duration::from_secs(60), async || scheduler.stderr().contains(log)).await;
    assert!(said.is_some(), "{}", scheduler.tail());
    scheduler.terminate();

    let status = json(&world, &["status", "--json", "--project", PROJECT]).await;
    let line = &status["projects"][0];
    assert_eq!(
        (
            &line["days_not_arrived"],
            &line["standing"],
            &status["totals"]["days_not_arrived"]
        ),
        (&json!(1), &json!("needs_somebody"), &json!(1))
    );
    assert_eq!(status["arrivals"][0]["sample"], json!(["trace/t9"]));
    let text = world.succeeds(&["status", "--project", PROJECT]).await.stdout;
    assert!(
        text.contains("1 day MISSING") && text.contains("119 of 120 arrived"),
        "{text}"
    );
    assert!(text.contains("PostHog does not hold all of 1 exported day"), "{text}");
    let doctor = world.producer(&["doctor", "--json"]).await;
    assert!(
        doctor.stdout.contains("does not hold all events of 1 exported day\","),
        "{}",
        doctor.stdout
    );
}
