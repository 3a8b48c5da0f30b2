//! The oracle must find every kind of mistake, and none where there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

mod sequence;

use chrono::NaiveDate;
use serde_json::{Value, json};
use testkit::oracle::{Kind, Oracle, Report, altered};
use testkit::posthog::FakePosthog;
use testkit::seed::{self, Observation, Rows, Score, Trace, at};
use testkit::{World, langfuse};

const KEY: &str = "phc_oracle";
const URL: &str = "https://langfuse.example.com";

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2024, 6, 1).unwrap()
}

async fn deliver(posthog: &FakePosthog, events: &[Value]) {
    let client = reqwest::Client::new();
    for some in events.chunks(200) {
        let body = json!({"api_key": KEY, "batch": some}).to_string();
        let sent = client
            .post(format!("{}/batch/", posthog.url()))
            .header("content-type", "application/json")
            .body(body);
        let answer = sent.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}

/// A world with a project `p` and this oracle's own expectation delivered, after `spoil` has been
/// at it.
async fn delivered(rows: Rows, spoil: impl FnOnce(&mut Vec<Value>)) -> (World, Report) {
    let world = World::new().await;
    langfuse::add_project(&world.pool(), "p", "Project").await;
    rows.insert(&world.pool()).await;
    let oracle = Oracle::new(world.pool(), Some(URL));
    let mut events = oracle.expected("p", day()).await;
    spoil(&mut events);
    world.posthog.known_key(KEY);
    deliver(&world.posthog, &events).await;
    let report = oracle.check(&world.posthog, KEY, "p", &[day()]).await;
    (world, report)
}

/// A trace with a user, a generation and a score.
fn three() -> Rows {
    let time = at(day(), 9, 30, 0, 123);
    Rows {
        traces: vec![Trace {
            user_id: Some("jo".to_owned()),
            name: Some("chat".to_owned()),
            ..Trace::new("p", "t/1", time)
        }],
        observations: vec![Observation {
            calculated_total_cost: Some("0.1".to_owned()),
            ..Observation::generation("p", "g 1", "t/1", time)
        }],
        scores: vec![Score::new("p", "s", "t/1", time)],
        models: vec![],
    }
}

#[tokio::test]
async fn what_must_arrive_is_written_down_once_by_hand() {
    let (world, report) = delivered(three(), |_| {}).await;
    report.assert_delivered();
    assert_eq!(
        report.to_string(),
        "delivered 3 of 3 events, 0 missing, 0 unexpected, 0 copies kept"
    );
    let events = Oracle::new(world.pool(), Some("https://langfuse.example.com/"))
        .expected("p", day())
        .await;
    let trace = json!({
        "event": "langfuse trace",
        "timestamp": "2024-06-01T09:30:00.123Z",
        // python3 -c 'import uuid;
        // print(uuid.uuid5(uuid.UUID("0f6c91df-d035-4813-b838-9741ba38ef0b"), "p-t/1"))'
        "uuid": "c39766de-ace6-545f-9c60-82b51d794694",
        "distinct_id": "jo",
        "properties": {
            "langfuse_trace_name": "chat",
            "langfuse_url": "https://langfuse.example.com/project/p/traces/t%2F1",
            "langfuse_id": "t/1",
            "langfuse_cost_usd": 0.1,
            "langfuse_count_observations": 1,
            "langfuse_session_id": null,
            "langfuse_project_id": "p",
            "langfuse_project_name": "Project",
            "langfuse_user_id": "jo",
            "langfuse_latency": 1.0,
            "langfuse_release": null,
            "langfuse_version": null,
            "langfuse_tags": [],
            "langfuse_integration_version": "1.1.0",
            "$set": {"langfuse_user_url": "https://langfuse.example.com/project/p/users/jo"},
            "$geoip_disable": true,
            "$lib": "by hand",
            "$lib_version": "1",
        },
    });
    let differences = altered(&events[0], &trace);
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{}", lines.join("\n"));
}

#[tokio::test]
async fn every_nasty_row_and_a_realistic_day_are_clean_when_delivered_as_expected() {
    let world = World::new().await;
    langfuse::add_project(&world.pool(), "p", "Project").await;
    seed::adversarial(&world.pool(), "p", day()).await;
    seed::realistic(&world.pool(), "p", &[day()], 200, 1).await;
    seed::ties(&world.pool(), "p", day(), 50).await;
    let oracle = Oracle::new(world.pool(), None);
    let mut events = oracle.expected("p", day()).await;
    let mut shortened = 0;
    for event in &mut events {
        shortened += usize::from(shorten(event));
    }
    assert_eq!(shortened, 16, "events that do not fit");
    world.posthog.known_key(KEY);
    deliver(&world.posthog, &events).await;
    let report = oracle.check(&world.posthog, KEY, "p", &[day()]).await;
    report.assert_delivered();
    assert_eq!(report.by_day[&("p".to_owned(), day())].expected, events.len());
    let ids: Vec<_> = events
        .iter()
        .map(|event| event["properties"]["langfuse_id"].as_str().unwrap())
        .collect();
    for (name, expected) in [
        ("first ~", 3),
        ("last ~", 3),
        ("next day's first ~", 0),
        ("day before's last ~", 0),
        ("SPAN ~", 0),
    ] {
        assert_eq!(ids.iter().filter(|id| id.starts_with(name)).count(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_missing_event_is_found() {
    let (_world, report) = delivered(three(), |events| drop(events.pop())).await;
    assert_eq!(
        report.to_string(),
        "delivered 2 of 3 events, 1 missing, 0 unexpected, 0 copies kept"
    );
    assert!(
        report.findings[0].contains("missing: langfuse score \"s\""),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn an_unexpected_event_is_found() {
    let spoil = |events: &mut Vec<Value>| {
        let mut another = events[0].clone();
        another["uuid"] = "11111111-1111-4111-8111-111111111111".into();
        events.push(another);
    };
    let (_world, report) = delivered(three(), spoil).await;
    assert_eq!(
        report.to_string(),
        "delivered 3 of 3 events, 0 missing, 1 unexpected, 0 copies kept"
    );
}

#[tokio::test]
async fn a_copy_with_another_distinct_id_is_kept_and_found() {
    let spoil = |events: &mut Vec<Value>| {
        let mut copy = events[0].clone();
        copy["distinct_id"] = "someone else".into();
        events.push(copy);
    };
    let (_world, report) = delivered(three(), spoil).await;
    assert_eq!(
        report.to_string(),
        "delivered 3 of 3 events, 0 missing, 0 unexpected, 1 copies kept"
    );
    assert!(report.findings[0].contains("someone else"), "{:?}", report.findings);
}

#[tokio::test]
async fn a_copy_that_is_folded_is_counted_and_clean() {
    let (world, report) = delivered(three(), |events| events.extend(events.clone())).await;
    report.assert_delivered();
    assert_eq!(report.resent, 3);
    assert_eq!(world.posthog.counts(KEY).changed, 0);
}

#[tokio::test]
async fn every_alteration_is_found() {
    type Spoil = fn(&mut Value);
    let alterations: [(&str, Spoil); 12] = [
        ("properties.langfuse_cost_usd", |event| {
            event["properties"]["langfuse_cost_usd"] = 0.100_000_000_000_000_02.into();
        }),
        ("properties.langfuse_cost_usd", |event| {
            event["properties"]["langfuse_cost_usd"] = "0.1".into();
        }),
        ("properties.langfuse_tags", |event| {
            event["properties"]["langfuse_tags"] = Value::Null;
        }),
        ("properties.langfuse_latency", |event| {
            event["properties"]["langfuse_latency"] = 1.001.into();
        }),
        ("properties.langfuse_release", |event| {
            drop(properties(event).remove("langfuse_release"));
        }),
        ("properties.langfuse_new", |event| {
            event["properties"]["langfuse_new"] = Value::Null;
        }),
        ("properties.$lib", |event| event["properties"]["$lib"] = "".into()),
        ("properties.$set.langfuse_user_url", |event| {
            event["properties"]["$set"]["langfuse_user_url"] = "x".into();
        }),
        ("timestamp", |event| {
            event["timestamp"] = "2024-06-01T09:30:00.124Z".into();
        }),
        ("distinct_id", |event| event["distinct_id"] = "jo ".into()),
        ("offset", |event| event["offset"] = 1.into()),
        ("langfuse_truncated", |event| {
            event["properties"]["langfuse_truncated"] = json!(["langfuse_id"]);
        }),
    ];
    let world = World::new().await;
    langfuse::add_project(&world.pool(), "p", "Project").await;
    three().insert(&world.pool()).await;
    let oracle = Oracle::new(world.pool(), Some(URL));
    let expected = oracle.expected("p", day()).await;
    for (path, spoil) in alterations {
        let mut event = expected[0].clone();
        spoil(&mut event);
        let differences = altered(&expected[0], &event);
        assert!(
            differences.iter().any(|one| one.path.contains(path)),
            "{path}: {differences:?}"
        );
    }
    world.posthog.known_key(KEY);
    let mut events = expected;
    events[1]["properties"]["langfuse_model"] = "another".into();
    deliver(&world.posthog, &events).await;
    let report = oracle.check(&world.posthog, KEY, "p", &[day()]).await;
    assert_eq!(
        report.to_string(),
        "delivered 3 of 3 events, 0 missing, 0 unexpected, 0 copies kept, 1 altered"
    );
    assert!(
        report.findings[0].contains("langfuse_model: expected null, delivered \"another\""),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn what_is_too_long_must_be_shortened_and_nothing_else() {
    let mut rows = three();
    rows.scores[0].comment = Some("x\"".repeat(1_000_000));
    let (world, report) = delivered(rows, |events| drop(events.pop())).await;
    assert_eq!(report.missing, 1);
    let expected = Oracle::new(world.pool(), Some(URL))
        .expected("p", day())
        .await
        .pop()
        .unwrap();
    let cut_to = |characters: usize| {
        let mut event = expected.clone();
        let comment: String = event["properties"]["langfuse_score_comment"]
            .as_str()
            .unwrap()
            .chars()
            .take(characters)
            .collect();
        event["properties"]["langfuse_score_comment"] = comment.into();
        event["properties"]["langfuse_truncated"] = json!(["langfuse_score_comment"]);
        altered(&expected, &event)
    };
    assert!(cut_to(359_000).is_empty(), "{:?}", cut_to(359_000));
    assert!(cut_to(100_000)[0].to_string().contains("would have fitted"));
    assert!(cut_to(400_000)[0].to_string().contains("more than 900000"));
    assert!(
        altered(&expected, &expected)[0]
            .to_string()
            .contains("more than 900000")
    );
    let mut other = expected.clone();
    other["properties"]["langfuse_score_comment"] = "y".repeat(895_000).into();
    other["properties"]["langfuse_truncated"] = json!(["langfuse_score_comment"]);
    assert!(
        altered(&expected, &other)[0]
            .to_string()
            .contains("is not a shortened text")
    );
}

#[tokio::test]
async fn late_rows_and_traces_with_late_observations_are_known() {
    let world = World::new().await;
    let pool = world.pool();
    langfuse::add_project(&pool, "p", "Project").await;
    three().insert(&pool).await;
    seed::late(&pool, "p", day(), 4, "a").await;
    let oracle = Oracle::new(pool.clone(), Some(URL));
    let since = at(day(), 0, 0, 0, 0) + chrono::TimeDelta::days(30);
    assert_eq!(oracle.expected("p", day()).await.len(), 15);
    assert_eq!(
        oracle
            .expected_filtered("p", day(), &Kind::USUAL, Some(since))
            .await
            .len(),
        12
    );
    assert_eq!(
        oracle
            .expected_filtered("p", day(), &[Kind::Score], Some(since))
            .await
            .len(),
        4
    );
    seed::late_observations(&pool, "p", day(), 100, "b").await;
    let events = oracle.expected_filtered("p", day(), &Kind::USUAL, Some(since)).await;
    assert_eq!(
        events.len(),
        13,
        "the first trace again, as one of its observations is late"
    );
    let first = events
        .iter()
        .find(|event| event["properties"]["langfuse_id"] == "t/1")
        .unwrap();
    assert_eq!(first["properties"]["langfuse_cost_usd"], 0.225);
    assert_eq!(first["properties"]["langfuse_latency"], 86_401.0);
}

#[tokio::test]
async fn other_observations_are_expected_where_they_were_asked_for() {
    let mut rows = three();
    rows.observations.push(Observation {
        name: Some("retrieve".to_owned()),
        ..Observation::span("p", "o", "t/1", at(day(), 9, 30, 1, 0))
    });
    let (world, report) = delivered(rows, |_| {}).await;
    report.assert_delivered();
    assert_eq!(report.expected, 3);
    let oracle = Oracle::new(world.pool(), Some(URL)).of(&Kind::ALL);
    let report = oracle.check(&world.posthog, KEY, "p", &[day()]).await;
    assert_eq!((report.expected, report.missing), (4, 1));
    let events = oracle.expected_filtered("p", day(), &[Kind::Observation], None).await;
    let properties = &events[0]["properties"];
    assert_eq!(events[0]["event"], "langfuse observation");
    assert_eq!(properties["langfuse_observation_name"], "retrieve");
    assert_eq!(properties["langfuse_type"], "SPAN");
    assert_eq!(properties["langfuse_latency"], 1.0);
    assert!(properties.get("langfuse_generation_name").is_none());
}

fn properties(event: &mut Value) -> &mut serde_json::Map<String, Value> {
    event["properties"].as_object_mut().unwrap()
}

/// Shortens the longest text until the event fits. Answers whether that was necessary.
fn shorten(event: &mut Value) -> bool {
    let mut names: Vec<String> = Vec::new();
    loop {
        let sent = event.to_string();
        let size = sent.len() + sent.matches(['"', '\\']).count() + 220;
        if size <= 900_000 {
            return !names.is_empty();
        }
        let texts = properties(event)
            .iter()
            .filter_map(|(name, value)| Some((value.as_str()?.len(), name.clone())));
        let (_, longest) = texts.max().unwrap();
        if !names.contains(&longest) {
            names.push(longest.clone());
        }
        event["properties"]["langfuse_truncated"] = json!(names);
        // The list of shortened names is not counted yet.
        let text = event["properties"][&longest].as_str().unwrap();
        let (mut end, mut excess) = (text.len(), size + 100 - 900_000);
        for (at, last) in text.char_indices().rev() {
            let counted = match last {
                '"' | '\\' => 4,
                '\n' | '\r' | '\t' => 3,
                '\0'..' ' => 7,
                other => other.len_utf8(),
            };
            (end, excess) = (at, excess.saturating_sub(counted));
            if excess == 0 {
                break;
            }
        }
        event["properties"][&longest] = text[..end].into();
    }
}
