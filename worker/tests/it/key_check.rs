//! The host is asked whether it knows the key while the first pages are read; nothing is sent
//! before its answer.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use testkit::posthog::{Behavior, Route, Rule};
use testkit::{Project, World};

use crate::{DAY, KEY, PROJECT, day, world};

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

/// The answer "known" holds for a minute, so a backfill asks once a minute, and not before each day.
#[tokio::test]
async fn the_days_of_a_project_ask_once_and_another_key_asks_again() {
    let (world, project) = world().await;
    let days: Vec<NaiveDate> = (0..20).map(|number| day() + Days::new(number)).collect();
    project.seed(&days, 2, 1).await;
    let _worker = world.ready_worker(&[("BACKFILL_CONCURRENCY", "4")]).await;
    project.publish_all(&days).await;
    project.all_arrive(&days).await;
    let asked = |key: &str| {
        let requests = world.posthog.requests().into_iter();
        let mut of_key =
            requests.filter(|request| request.route == Route::Flags && request.key.as_deref() == Some(key));
        let first = of_key.next().expect("nobody asked for the key");
        // A busy machine may need longer than a minute.
        let soon = of_key.find(|request| request.at - first.at < Duration::from_secs(55));
        assert!(soon.is_none(), "asked again: {soon:?}");
    };
    asked(KEY);
    let other = Project::add(&world, PROJECT, "phc_another_key").await;
    other.publish(DAY, "replay-1").await;
    other.wait_state(DAY, "replay-1", "completed").await;
    asked("phc_another_key");
    // A key that PostHog does not know is not taken for one that it knows.
    let unknown = Project::of(&world, PROJECT, "phc_unknown_key");
    unknown.leads_to(&world.posthog.url()).await;
    unknown.publish(DAY, "replay-2").await;
    assert_eq!(world.dead_letter().await.headers["x-error-code"], "unauthorized");
}
