//! Workers are asked to stop.

use std::time::{Duration, Instant};

use testkit::posthog::{Behavior, Rule};

use crate::{JOBS, SMALL, arrives, depth, field, publish, ready, slow, stored, world};

#[tokio::test]
async fn sigint_hands_back_too() {
    let world = world(200).await;
    slow(&world, 50);
    let first = ready(&world, &[&SMALL]).await;
    publish(&world).await;
    stored(&world, 50).await;
    first.interrupt();
    assert_eq!(first.wait_exit().await.code(), Some(0), "{}", first.log());
    assert_eq!(field(&world, "state").await.as_deref(), Some("queued"));
    depth(&world, JOBS, 1).await;
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    arrives(&world).await;
    assert_eq!(field(&world, "takeovers").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_second_signal_ends_it_now() {
    let world = world(50).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    let settings = [
        ("SEND_TIMEOUT", "50s"),
        ("RETRY_BUDGET", "55s"),
        ("SHUTDOWN_GRACE", "40s"),
    ];
    let first = ready(&world, &[&SMALL, &settings]).await;
    publish(&world).await;
    world.posthog.held().await;
    first.terminate();
    first.wait_log("stopping").await;
    let began = Instant::now();
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(5));
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    arrives(&world).await;
}

#[tokio::test]
async fn a_request_that_hangs_does_not_outlast_the_grace() {
    let world = world(50).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    let settings = [
        ("SEND_TIMEOUT", "50s"),
        ("RETRY_BUDGET", "55s"),
        ("SHUTDOWN_GRACE", "4s"),
    ];
    let first = ready(&world, &[&SMALL, &settings]).await;
    publish(&world).await;
    world.posthog.held().await;
    let began = Instant::now();
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // Given up, and still handed back.
    assert_eq!(field(&world, "state").await.as_deref(), Some("queued"));
    depth(&world, JOBS, 1).await;
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    arrives(&world).await;
}

/// As in a container: the first process of a PID namespace, where a signal without a handler does nothing.
#[tokio::test]
async fn it_stops_as_pid_1() {
    let world = world(200).await;
    slow(&world, 50);
    let first = world.worker_as_pid_1(&SMALL).await;
    first.wait_ready().await;
    publish(&world).await;
    stored(&world, 50).await;
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(0), "{}", first.log());
    assert_eq!(field(&world, "state").await.as_deref(), Some("queued"));
    depth(&world, JOBS, 1).await;
}
