//! The host is asked whether it knows the key while the first pages are read; nothing is sent
//! before its answer.

use std::sync::Arc;
use std::time::Duration;

use testkit::posthog::{Behavior, Route, Rule};
use testkit::{Project, World};

use crate::{DAY, KEY, day, world};

/// Rows for several bodies, and an answer about the key that takes three seconds.
async fn slow_to_answer() -> (Arc<World>, Project) {
    let (world, project) = world().await;
    project.seed(&[day()], 40, 1).await;
    let late = Rule::always(Behavior::Delay(Duration::from_secs(3)));
    world.posthog.script(late.on(Route::Flags));
    (world, project)
}

#[tokio::test]
async fn nothing_leaves_before_the_answer() {
    let (world, project) = slow_to_answer().await;
    world.posthog.forget_key(KEY);
    let worker = world
        .ready_worker(&[("PAGE_ROWS", "20"), ("BATCH_MAX_EVENTS", "10")])
        .await;
    project.publish(DAY, "daily").await;
    let headers = world.dead_letter().await.headers;
    assert_eq!(headers["x-error-code"], "unauthorized");
    let metrics = worker.metrics().await;
    let read = metrics
        .lines()
        .any(|line| line.starts_with("posthog_export_page_duration_seconds_count") && !line.ends_with(" 0"));
    assert!(read, "there was nothing to send before the answer\n{metrics}");
    assert!(world.posthog.batches().is_empty(), "a body left before the answer");
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_a_slice_is_waited_for() {
    let (world, project) = slow_to_answer().await;
    let slice = [("SEND_TIMEOUT", "500ms"), ("RETRY_BUDGET", "1s"), ("JOB_SLICE", "2s")];
    let _worker = world.ready_worker(&slice).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
}
