//! Golden events: every property of every kind, byte for byte as docs/EVENTS.md has them.

use std::sync::Arc;

use serde_json::{Value, json};
use smol_str::SmolStr;

use super::*;

const PROJECT: &str = "pro/ject";

fn time(text: &str) -> NaiveDateTime {
    text.parse().unwrap()
}

fn event_with(row: &Row, langfuse_url: Option<&str>) -> Value {
    let mut out = Vec::new();
    write(
        row,
        &ProjectContext::new(PROJECT, Some("My \"project\""), langfuse_url),
        &mut out,
    );
    serde_json::from_slice(&out).unwrap()
}

fn event(row: &Row) -> Value {
    event_with(row, Some("https://langfuse.example.com/"))
}

fn trace() -> TraceColumns {
    TraceColumns {
        name: Some("chat".into()),
        user_id: Some("jane doe+1@example.com".into()),
        session_id: Some("sess-1".into()),
        release: Some("v1".into()),
        tags: Some(vec![Some("prod".into()), Some("say \"hi\"".into())]),
        posthog_distinct_id: None,
        posthog_session_id: Some("0190".into()),
        ..TraceColumns::default()
    }
}

#[test]
fn a_trace() {
    let row = Row::Trace(TraceRow {
        time: time("2024-06-01T09:30:00.123"),
        id: "tr 1/ü".into(),
        trace: trace().into(),
        version: Some("7".into()),
        observations: 3,
        first_start: Some(time("2024-06-01T09:30:00")),
        last_end: Some(time("2024-06-01T09:30:02.5")),
        cost: Some(0.1),
        ..TraceRow::default()
    });
    let uuid = Uuid::new_v5(
        &"0f6c91df-d035-4813-b838-9741ba38ef0b".parse().unwrap(),
        "pro/ject-tr 1/ü".as_bytes(),
    );
    assert_eq!(
        event(&row),
        json!({
            "event": "langfuse trace",
            "timestamp": "2024-06-01T09:30:00.123Z",
            "uuid": uuid,
            "distinct_id": "jane doe+1@example.com",
            "properties": {
                "$session_id": "0190",
                "$set": {"langfuse_user_url": "https://langfuse.example.com/project/pro%2Fject/users/jane%20doe%2B1%40example.com"},
                "$geoip_disable": true,
                "$lib": "langfuse-posthog-export",
                "$lib_version": env!("CARGO_PKG_VERSION"),
                "langfuse_trace_name": "chat",
                "langfuse_url": "https://langfuse.example.com/project/pro%2Fject/traces/tr%201%2F%C3%BC",
                "langfuse_id": "tr 1/ü",
                "langfuse_cost_usd": 0.1,
                "langfuse_count_observations": 3,
                "langfuse_session_id": "sess-1",
                "langfuse_project_id": "pro/ject",
                "langfuse_project_name": "My \"project\"",
                "langfuse_user_id": "jane doe+1@example.com",
                "langfuse_latency": 2.5,
                "langfuse_release": "v1",
                "langfuse_version": "7",
                "langfuse_tags": ["prod", "say \"hi\""],
                "langfuse_integration_version": "1.1.0",
            },
        })
    );
}

#[test]
fn a_generation() {
    let row = Row::Generation(ObservationRow {
        time: time("2024-06-01T00:00:00"),
        id: "gen'1".into(),
        trace: Arc::new(TraceColumns {
            posthog_distinct_id: Some("ph-1".into()),
            ..trace()
        }),
        trace_id: Some("t 1".into()),
        kind: None,
        name: Some("answer".into()),
        version: None,
        model: Some("gpt-4o".into()),
        level: Some("DEFAULT".into()),
        unit: Some("TOKENS".into()),
        end: Some(time("2024-05-31T23:59:59.5")),
        completion_start: Some(time("2024-06-01T00:00:00.25")),
        input_units: 10,
        output_units: 20,
        total_units: 30,
        cost: Some(f64::NAN),
        ..ObservationRow::default()
    });
    let event = event(&row);
    assert_eq!(event["distinct_id"], "ph-1");
    assert_eq!(
        event["properties"],
        json!({
            "$session_id": "0190",
            "$set": {"langfuse_user_url": "https://langfuse.example.com/project/pro%2Fject/users/jane%20doe%2B1%40example.com"},
            "$geoip_disable": true,
            "$lib": "langfuse-posthog-export",
            "$lib_version": env!("CARGO_PKG_VERSION"),
            "langfuse_generation_name": "answer",
            "langfuse_trace_name": "chat",
            "langfuse_trace_id": "t 1",
            "langfuse_url": "https://langfuse.example.com/project/pro%2Fject/traces/t%201?observation=gen'1",
            "langfuse_id": "gen'1",
            "langfuse_cost_usd": null,
            "langfuse_input_units": 10,
            "langfuse_output_units": 20,
            "langfuse_total_units": 30,
            "langfuse_unit": "TOKENS",
            "langfuse_session_id": "sess-1",
            "langfuse_project_id": "pro/ject",
            "langfuse_project_name": "My \"project\"",
            "langfuse_user_id": "jane doe+1@example.com",
            "langfuse_latency": null,
            "langfuse_time_to_first_token": 0.25,
            "langfuse_release": "v1",
            "langfuse_version": null,
            "langfuse_model": "gpt-4o",
            "langfuse_level": "DEFAULT",
            "langfuse_tags": ["prod", "say \"hi\""],
            "langfuse_integration_version": "1.1.0",
        })
    );
}

#[test]
fn an_observation_is_a_generation_with_a_name_and_a_type_of_its_own() {
    let row = ObservationRow {
        time: time("2024-06-01T00:00:00"),
        id: "span 1".into(),
        trace: trace().into(),
        trace_id: Some("t 1".into()),
        kind: Some("SPAN".into()),
        name: Some("retrieve".into()),
        end: Some(time("2024-06-01T00:00:00.5")),
        level: Some("ERROR".into()),
        ..ObservationRow::default()
    };
    let mut as_generation = event(&Row::Generation(row.clone()));
    let as_observation = event(&Row::Observation(row));
    assert_eq!(as_observation["event"], "langfuse observation");
    let properties = &as_observation["properties"];
    assert_eq!(properties["langfuse_observation_name"], "retrieve");
    assert_eq!(properties["langfuse_type"], "SPAN");
    assert_eq!(properties["langfuse_latency"], 0.5);
    // All else is the same.
    as_generation["event"] = "langfuse observation".into();
    let all = as_generation["properties"].as_object_mut().unwrap();
    let name = all.remove("langfuse_generation_name").unwrap();
    all.insert("langfuse_observation_name".to_owned(), name);
    all.insert("langfuse_type".to_owned(), "SPAN".into());
    assert_eq!(as_observation, as_generation);
}

#[test]
fn a_score_whose_trace_is_missing() {
    let row = Row::Score(ScoreRow {
        time: time("2024-06-01T23:59:59.999"),
        id: "s1".into(),
        trace: Arc::default(),
        trace_id: Some("gone".into()),
        name: Some("helpful".into()),
        value: Some(f64::INFINITY),
        string_value: Some("yes".into()),
        data_type: Some("BOOLEAN".into()),
        comment: None,
        source: Some("ANNOTATION".into()),
        observation_id: Some("o 1".into()),
        ..ScoreRow::default()
    });
    let event = event(&row);
    assert_eq!(
        event["distinct_id"], event["uuid"],
        "nobody is known: an anonymous event"
    );
    assert_eq!(
        event["properties"],
        json!({
            "$process_person_profile": false,
            "$geoip_disable": true,
            "$lib": "langfuse-posthog-export",
            "$lib_version": env!("CARGO_PKG_VERSION"),
            "langfuse_score_name": "helpful",
            "langfuse_score_value": null,
            "langfuse_score_string_value": "yes",
            "langfuse_score_data_type": "BOOLEAN",
            "langfuse_score_comment": null,
            "langfuse_score_source": "ANNOTATION",
            "langfuse_observation_id": "o 1",
            "langfuse_trace_name": null,
            "langfuse_trace_id": "gone",
            "langfuse_id": "s1",
            "langfuse_session_id": null,
            "langfuse_project_id": "pro/ject",
            "langfuse_project_name": "My \"project\"",
            "langfuse_user_id": "langfuse_unknown_user",
            "langfuse_release": null,
            "langfuse_tags": null,
            "langfuse_integration_version": "1.1.0",
        })
    );
}

#[test]
fn without_a_langfuse_url_there_are_no_links() {
    let row = Row::Trace(TraceRow {
        time: time("2024-06-01T00:00:00"),
        id: "t".into(),
        trace: trace().into(),
        ..TraceRow::default()
    });
    let properties = &event_with(&row, None)["properties"];
    assert!(properties.get("langfuse_url").is_none() && properties.get("$set").is_none());
    assert_eq!(properties["langfuse_latency"], Value::Null);
}

#[test]
fn what_a_project_and_a_score_do_not_have_is_null() {
    let row = Row::Score(ScoreRow {
        time: time("2024-06-01T00:00:00"),
        id: "s".into(),
        ..ScoreRow::default()
    });
    for name in [None, Some(""), Some(" ")] {
        let mut out = Vec::new();
        write(&row, &ProjectContext::new(PROJECT, name, None), &mut out);
        let event: Value = serde_json::from_slice(&out).unwrap();
        for property in [
            "langfuse_project_name",
            "langfuse_score_source",
            "langfuse_observation_id",
        ] {
            assert_eq!(
                event["properties"].get(property),
                Some(&Value::Null),
                "{property}, {name:?}"
            );
        }
    }
}

/// Such times are in real databases: a client that never set the start, a clock that was put back.
#[test]
fn a_span_that_cannot_be_a_latency_is_null() {
    let (second, month) = ("2024-06-01T00:00:01", "2024-07-02T00:00:01");
    for (start, end, wanted) in [
        ("2024-06-01T00:00:00", second, Some(1.0)),
        (second, second, Some(0.0)),
        (second, "2024-06-01T00:00:00.999", None),
        (second, month, Some(31.0 * 86_400.0)),
        ("2024-06-01T00:00:00.999", month, None),
        ("0001-01-01T08:53:00", second, None),
        (second, "0001-01-01T08:53:00", None),
    ] {
        let of_trace = event(&Row::Trace(TraceRow {
            time: time(second),
            first_start: Some(time(start)),
            last_end: Some(time(end)),
            ..TraceRow::default()
        }));
        let of_generation = event(&Row::Generation(ObservationRow {
            time: time(start),
            end: Some(time(end)),
            completion_start: Some(time(end)),
            ..ObservationRow::default()
        }));
        let wanted = json!(wanted);
        assert_eq!(of_trace["properties"]["langfuse_latency"], wanted, "{start} to {end}");
        for name in ["langfuse_latency", "langfuse_time_to_first_token"] {
            assert_eq!(of_generation["properties"][name], wanted, "{name}, {start} to {end}");
        }
    }
}

#[test]
fn white_space_is_no_user() {
    let columns = TraceColumns {
        user_id: Some(" \t".into()),
        posthog_distinct_id: Some("".into()),
        ..trace()
    };
    let row = Row::Trace(TraceRow {
        time: time("2024-06-01T00:00:00"),
        id: "t".into(),
        trace: columns.into(),
        ..TraceRow::default()
    });
    let event = event(&row);
    assert_eq!(event["distinct_id"], event["uuid"]);
    assert_eq!(event["properties"]["langfuse_user_id"], "langfuse_unknown_user");
    assert_eq!(event["properties"]["$process_person_profile"], false);
    assert!(event["properties"].get("$set").is_none());
}

/// PostHog would put everybody whose id is `null` into one person.
#[test]
fn a_placeholder_is_nobody_and_stays_in_langfuse_user_id() {
    let event_of = |user: &str, chosen: Option<&str>| {
        event(&Row::Trace(TraceRow {
            time: time("2024-06-01T00:00:00"),
            id: "t".into(),
            trace: Arc::new(TraceColumns {
                user_id: Some(user.into()),
                posthog_distinct_id: chosen.map(Into::into),
                ..trace()
            }),
            ..TraceRow::default()
        }))
    };
    for (user, chosen) in [
        ("null", None),
        ("\"Undefined\"", None),
        ("guest", Some("0")),
        ("Guest", Some(" ")),
    ] {
        let event = event_of(user, chosen);
        assert_eq!(event["distinct_id"], event["uuid"], "{user}");
        let properties = &event["properties"];
        assert_eq!(properties["langfuse_user_id"], user);
        assert_eq!(properties["$process_person_profile"], false, "{user}");
        assert!(properties.get("$set").is_none(), "{user}");
    }
    // One of the two that names a person is enough.
    let by_user = event_of("jane", Some("'NaN'"));
    assert_eq!(by_user["distinct_id"], "jane");
    let by_choice = event_of("null", Some("ph-1"));
    assert_eq!(by_choice["distinct_id"], "ph-1");
    assert!(by_choice["properties"].get("$set").is_none());
    for event in [by_user, by_choice] {
        assert!(event["properties"].get("$process_person_profile").is_none());
    }
}

#[test]
fn a_generation_without_a_trace_id_has_no_link() {
    let row = Row::Generation(ObservationRow {
        time: time("2024-06-01T00:00:00"),
        id: "g".into(),
        ..ObservationRow::default()
    });
    let properties = &event(&row)["properties"];
    assert!(properties.get("langfuse_url").is_none());
    assert_eq!(properties["langfuse_trace_id"], Value::Null);
}

/// One row of each kind, with everything that a row can have.
fn full_rows() -> [Row; 4] {
    let (time, id): (_, SmolStr) = (time("2024-06-01T09:30:00"), "row".into());
    let trace = Arc::new(trace());
    let observation = ObservationRow {
        time,
        id: id.clone(),
        trace: Arc::clone(&trace),
        trace_id: Some("trace".into()),
        ..ObservationRow::default()
    };
    [
        Row::Trace(TraceRow {
            time,
            id: id.clone(),
            trace: Arc::clone(&trace),
            ..TraceRow::default()
        }),
        Row::Generation(observation.clone()),
        Row::Observation(observation),
        Row::Score(ScoreRow {
            time,
            id,
            trace,
            trace_id: Some("trace".into()),
            ..ScoreRow::default()
        }),
    ]
}

#[test]
fn what_is_left_out_is_absent_and_all_else_stays_the_same() {
    let written = |row: &Row, omitted: Omitted| {
        let project = ProjectContext::new(PROJECT, Some("name"), Some("https://langfuse.example.com"));
        let mut out = Vec::new();
        write(row, &project.omitting(omitted), &mut out);
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    for row in full_rows() {
        let whole = written(&row, Omitted::default());
        let names: Vec<&String> = whole["properties"].as_object().unwrap().keys().collect();
        assert!(names.len() > 15, "{names:?}");
        for name in [
            "langfuse_tags",
            "langfuse_trace_name",
            "langfuse_project_name",
            "langfuse_score_comment",
            "langfuse_observation_name",
            "langfuse_type",
        ] {
            let mut expected = whole.clone();
            expected["properties"].as_object_mut().unwrap().remove(name);
            assert_eq!(written(&row, Omitted::of(name)), expected, "{name}");
        }
        // Even then it is JSON, with its identity.
        let mut expected = whole;
        expected["properties"].as_object_mut().unwrap().retain(|name, _| {
            [
                "$geoip_disable",
                "$lib",
                "$lib_version",
                "langfuse_id",
                "langfuse_project_id",
                "langfuse_integration_version",
            ]
            .contains(&name.as_str())
        });
        assert_eq!(written(&row, Omitted::everything()), expected);
    }
}

#[test]
fn an_id_that_is_left_out_is_in_no_link_either() {
    for (name, id) in [
        ("langfuse_user_id", "jane"),
        ("langfuse_session_id", "0190"),
        ("langfuse_session_id", "sess-1"),
        ("langfuse_trace_id", "traces/trace"),
    ] {
        for row in full_rows() {
            let project = ProjectContext::new(PROJECT, None, Some("https://langfuse.example.com"));
            let mut out = Vec::new();
            write(&row, &project.omitting(Omitted::of(name)), &mut out);
            let event: Value = serde_json::from_slice(&out).unwrap();
            let properties = event["properties"].to_string();
            assert!(!properties.contains(id), "{name}: {properties}");
        }
    }
}
