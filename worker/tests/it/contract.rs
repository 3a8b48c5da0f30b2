//! Rules of docs/EVENTS.md for which the database's own answer matters, written out by hand.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::job::{Day, Stream};
use testkit::seed::{Rows, Score, Trace, at};
use testkit::world::LANGFUSE_URL;
use testkit::{World, langfuse};
use worker::langfuse::source::{Source, Window};
use worker::posthog::event::{self, ProjectContext};

use crate::{DAY, KEY, PROJECT, day, world};

/// The events of a stream's first page, by the ids of their rows.
async fn events(world: &World, stream: Stream) -> BTreeMap<String, Value> {
    let source = Source::new(world.pool(), 1_000, None);
    let window = Window {
        project_id: PROJECT.to_owned(),
        day: Day(day()),
        span: None,
        created_after: None,
    };
    let mut page = source.page(stream, &window, None).await.unwrap();
    source.join_missing(PROJECT, &mut page.rows).await.unwrap();
    let project = ProjectContext::new(PROJECT, None, Some(LANGFUSE_URL));
    let event = |row| {
        let mut json = Vec::new();
        event::write(row, &project, &mut json);
        let event: Value = serde_json::from_slice(&json).unwrap();
        (event["properties"]["langfuse_id"].as_str().unwrap().to_owned(), event)
    };
    page.rows.iter().map(event).collect()
}

#[tokio::test]
async fn numbers_in_metadata_count_as_their_decimal_text() {
    let (world, _) = world().await;
    let numbers = [
        ("7", Some("7")),
        ("12345678901234567890", Some("12345678901234567890")),
        ("1.0", Some("1.0")),
        ("1e2", Some("100")),
        ("-0.50", Some("-0.50")),
        ("\" 7 \"", Some(" 7 ")),
        ("true", None),
        ("[7]", None),
        ("null", None),
    ];
    let traces = numbers.map(|(json, _)| Trace {
        metadata: Some(format!(
            r#"{{"$posthog_distinct_id": {json}, "$posthog_session_id": {json}}}"#
        )),
        ..Trace::new(PROJECT, json, at(day(), 9, 0, 0, 0))
    });
    let rows = Rows {
        traces: traces.to_vec(),
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    let events = events(&world, Stream::Trace).await;
    for (json, text) in numbers {
        let event = &events[json];
        let uuid = event["uuid"].as_str().unwrap();
        assert_eq!(event["distinct_id"], text.unwrap_or(uuid), "{json}");
        let session = event["properties"].get("$session_id").and_then(Value::as_str);
        assert_eq!(session, text, "{json}");
    }
}

#[tokio::test]
async fn the_name_of_a_project_is_that_at_the_time_of_the_export() {
    let (world, project) = world().await;
    let score = Score {
        source: "ANNOTATION",
        observation_id: Some("o 1".to_owned()),
        ..Score::new(PROJECT, "s", "t", at(day(), 9, 0, 0, 0))
    };
    let rows = Rows {
        scores: vec![score],
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    let _worker = world.ready_worker(&[]).await;
    for (run, name) in [("daily", "before"), ("again", "after")] {
        langfuse::add_project(&world.pool(), PROJECT, name).await;
        project.publish(DAY, run).await;
        project.wait_state(DAY, run, "completed").await;
        let events = world.posthog.events(KEY);
        let properties = &events[0]["properties"];
        assert_eq!(events.len(), 1, "the second folds into the first");
        assert_eq!(properties["langfuse_project_name"], name);
        assert_eq!(properties["langfuse_score_source"], "ANNOTATION");
        assert_eq!(properties["langfuse_observation_id"], "o 1");
    }
    project.assert_delivered(&[DAY]).await;
}
