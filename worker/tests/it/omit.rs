//! Properties that the operator keeps at home.

use std::collections::BTreeSet;

use crate::{DAY, KEY, day, world};

#[tokio::test]
async fn what_is_left_out_never_leaves() {
    let (world, project) = world().await;
    project.seed(&[day()], 20, 1).await;
    let left_out = [
        "langfuse_score_comment",
        "langfuse_tags",
        "langfuse_trace_name",
        "langfuse_user_id",
    ];
    let _worker = world.ready_worker(&[("OMIT_PROPERTIES", &left_out.join(", "))]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    let events = world.posthog.events(KEY);
    let kinds: BTreeSet<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    for event in &events {
        let properties = event["properties"].as_object().unwrap();
        assert!(left_out.iter().all(|name| !properties.contains_key(*name)), "{event}");
        // It would hold the user's id.
        assert!(!properties.contains_key("$set"), "{event}");
        assert!(
            properties.contains_key("langfuse_session_id") && event["distinct_id"].is_string(),
            "{event}"
        );
    }
}
