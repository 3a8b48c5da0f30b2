//! Rules of docs/EVENTS.md for which the database's own answer matters, written out by hand.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::job::{Day, Stream};
use testkit::World;
use testkit::seed::{Rows, Trace, at};
use testkit::world::LANGFUSE_URL;
use worker::langfuse::source::{Source, Window};
use worker::posthog::event::{self, ProjectContext};

use crate::{PROJECT, day, world};

/// The events of a stream's first page, by the ids of their rows.
async fn events(world: &World, stream: Stream) -> BTreeMap<String, Value> {
    let source = Source::new(world.pool(), 1_000, None);
    let window = Window {
        project_id: PROJECT.to_owned(),
        day: Day(day()),
        created_after: None,
    };
    let mut page = source.page(stream, &window, None).await.unwrap();
    source.join_missing(PROJECT, &mut page.rows).await.unwrap();
    let project = ProjectContext::new(PROJECT, Some(LANGFUSE_URL));
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
