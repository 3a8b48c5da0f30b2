//! Workers stop, die and go on.

use testkit::posthog::{Behavior, Rule};
use testkit::{JOBS, Outcome, lines};

use crate::{DAY, KEY, day, world};

const SMALL: [(&str, &str); 3] = [
    ("PAGE_ROWS", "50"),
    ("BATCH_MAX_EVENTS", "10"),
    ("SENDS_IN_FLIGHT", "2"),
];

#[tokio::test]
async fn sigterm_hands_back_at_once_and_counts_nothing() {
    let (world, project) = world().await;
    project.seed(&[day()], 300, 1).await;
    // Every request takes a while, so that the signal meets a job at work.
    world
        .posthog
        .script(Rule::always(Behavior::Delay(std::time::Duration::from_millis(40))));
    let first = world.ready_worker(&SMALL).await;
    project.publish(DAY, "daily").await;
    world.posthog.until(|posthog| posthog.counts(KEY).stored > 50).await;
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(0), "{}", first.log());
    assert_eq!(project.state(DAY, "daily").await, "queued");
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
    assert_eq!(world.queue_depth(JOBS).await, 1);
    let before = world.posthog.counts(KEY).stored;

    world.posthog.behave();
    let _second = world.ready_worker(&SMALL).await;
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "takeovers").await.as_deref(), Some("0"));
    let resent = world.posthog.counts(KEY).resent;
    assert!(
        resent < before,
        "it went on from the checkpoint: {resent} of {before} were sent again"
    );
}

#[tokio::test]
async fn a_killed_workers_job_is_taken_over_when_its_lease_has_run_out() {
    let (world, project) = world().await;
    project.seed(&[day()], 300, 2).await;
    world
        .posthog
        .script(Rule::always(Behavior::Delay(std::time::Duration::from_millis(40))));
    let first = world.ready_worker(&SMALL).await;
    project.publish(DAY, "daily").await;
    world.posthog.until(|posthog| posthog.counts(KEY).stored > 50).await;
    first.kill();
    assert_eq!(project.state(DAY, "daily").await, "running");
    world.posthog.behave();
    let second = world.ready_worker(&SMALL).await;
    project.arrives(DAY).await;
    assert!(
        second
            .metrics()
            .await
            .contains("posthog_export_lease_takeovers_total 1")
    );
}

#[tokio::test]
async fn a_long_job_goes_on_slice_by_slice() {
    let (world, project) = world().await;
    project.seed(&[day()], 300, 3).await;
    world
        .posthog
        .script(Rule::always(Behavior::Delay(std::time::Duration::from_millis(100))));
    let slices = [
        ("JOB_SLICE", "1s"),
        ("RETRY_BUDGET", "900ms"),
        ("SEND_TIMEOUT", "800ms"),
    ];
    let worker = world.ready_worker(&[&SMALL[..], &slices[..]].concat()).await;
    project.publish(DAY, "daily").await;
    worker.wait_outcome(Outcome::HandedBack, None).await;
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_deleted_queue_is_declared_anew() {
    let (world, project) = world().await;
    let worker = world.ready_worker(&[]).await;
    let connection = lapin::Connection::connect(&world.amqp_url, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .queue_delete(JOBS.into(), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
    worker.wait_log(lines::SESSION_ENDED).await;
    worker.wait_ready().await;
    project.seed(&[day()], 20, 4).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
}
