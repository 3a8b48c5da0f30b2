//! `schedule` catches up when it starts, stands by while another is at work, takes over, and ends
//! well.

use std::time::Duration;

use testkit::{BACKFILL, JOBS, lines, wait};

use crate::{PROJECT, add_traces, day, world, yesterday};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_of_two_is_at_work_and_the_other_takes_over() {
    let world = world().await;
    add_traces(&world, PROJECT, &[yesterday(), day("2024-06-01")]).await;
    let start = async || world.spawn_producer(&["schedule", "--at", "03:15"], &[]).await;
    let says = async |process: &testkit::Process, text: &str| {
        let found = wait::until(PATIENCE, async || process.stderr().contains(text)).await;
        assert!(found.is_some(), "{text} in {}", process.tail());
    };
    let first = start().await;
    says(&first, lines::NEXT_ENQUEUE).await;
    assert!(first.stderr().contains("T03:15:00Z"), "{}", first.stderr());
    // The days that were missed have been enqueued.
    assert_eq!(
        (world.queue_depth(JOBS).await, world.queue_depth(BACKFILL).await),
        (1, 1)
    );

    let second = start().await;
    says(&second, lines::STANDING_BY).await;
    assert!(!second.stderr().contains(lines::NEXT_ENQUEUE));
    add_traces(&world, PROJECT, &[day("2024-06-02")]).await;
    first.terminate();
    assert_eq!(
        first.exited_within(PATIENCE).await.and_then(|status| status.code()),
        Some(0)
    );
    says(&second, lines::NEXT_ENQUEUE).await;
    assert_eq!(world.queue_depth(BACKFILL).await, 2);
    second.signal(2);
    assert_eq!(
        second.exited_within(PATIENCE).await.and_then(|status| status.code()),
        Some(0)
    );
}

#[tokio::test]
async fn what_fails_is_said_and_the_signal_still_ends_it_well() {
    let world = world().await;
    let nowhere = [("AMQP_URL", "amqp://127.0.0.1:1/%2f")];
    let process = world.spawn_producer(&["schedule"], &nowhere).await;
    let failed = wait::until(PATIENCE, async || process.stderr().contains(lines::ENQUEUE_FAILED)).await;
    assert!(failed.is_some(), "{}", process.tail());
    process.terminate();
    assert_eq!(
        process.exited_within(PATIENCE).await.and_then(|status| status.code()),
        Some(0)
    );
}

#[tokio::test]
async fn a_time_at_which_yesterday_is_not_over_is_refused() {
    let world = world().await;
    let late = [("EXPORT_LAG", "30m")];
    let output = world.producer_with_env(&["schedule", "--at", "00:10"], &late).await;
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("EXPORT_LAG=30m"), "{}", output.stderr);
    assert_eq!(world.producer(&["schedule", "--at", "1am"]).await.code, 2);
    let text = world.succeeds(&["schedule", "--help"]).await.stdout;
    assert!(text.contains("stand by and take over"), "{text}");
}
