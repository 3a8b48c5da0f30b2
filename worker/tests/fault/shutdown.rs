//! Workers are asked to stop.

use std::time::{Duration, Instant};

use chrono::NaiveDate;
use testkit::posthog::{Behavior, Rule};
use testkit::{Count, JOBS, Outcome, Worker, World, lines};

use crate::{DAY, KEY, PATIENCE, SMALL, day, heartbeat, ready, slow, world};

#[tokio::test]
async fn sigint_hands_back_too() {
    let (world, project) = world(200).await;
    slow(&world, 50);
    let first = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    project.stored(50).await;
    first.interrupt();
    assert_eq!(first.wait_exit().await.code(), Some(0), "{}", first.log());
    assert_eq!(project.state(DAY, "daily").await, "queued");
    world.wait_depth(JOBS, 1).await;
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "takeovers").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_second_signal_ends_it_now() {
    let (world, project) = world(50).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    let settings = [
        ("SEND_TIMEOUT", "50s"),
        ("RETRY_BUDGET", "55s"),
        ("SHUTDOWN_GRACE", "40s"),
    ];
    let first = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    world.posthog.held().await;
    first.terminate();
    first.wait_log(lines::STOPPING).await;
    let began = Instant::now();
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(5));
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn a_request_that_hangs_does_not_outlast_the_grace() {
    let (world, project) = world(50).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    let settings = [
        ("SEND_TIMEOUT", "50s"),
        ("RETRY_BUDGET", "55s"),
        ("SHUTDOWN_GRACE", "4s"),
    ];
    let first = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    world.posthog.held().await;
    let began = Instant::now();
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // The request was given up, and the job was handed back all the same.
    assert_eq!(project.state(DAY, "daily").await, "queued");
    world.wait_depth(JOBS, 1).await;
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn asked_to_stop_it_sends_no_further_body() {
    let (world, project) = world(200).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    let patient = [
        ("SEND_TIMEOUT", "20s"),
        ("RETRY_BUDGET", "30s"),
        ("SHUTDOWN_GRACE", "40s"),
    ];
    let first = ready(&world, &[&SMALL, &patient]).await;
    project.publish(DAY, "daily").await;
    // Each page has five bodies; two bodies are on their way.
    world.posthog.held_requests(2).await;
    first.terminate();
    first.wait_log(lines::STOPPING).await;
    world.posthog.behave();
    assert_eq!(first.wait_exit().await.code(), Some(0), "{}", first.log());
    assert_eq!(world.posthog.batches().len(), 2);
    let stored = world.posthog.counts(KEY).stored;
    assert_eq!(
        usize::try_from(project.count("daily", Count::Sent).await),
        Ok(stored),
        "what was accepted was not saved"
    );
    assert_eq!(project.state(DAY, "daily").await, "queued");
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}

#[tokio::test]
async fn it_hands_back_though_rabbitmq_goes_while_it_stops() {
    let (world, project) = world(100).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    let proxy = world.amqp_proxy().await;
    let url = heartbeat(&world.amqp_url_via(&proxy));
    let patient = [
        ("SEND_TIMEOUT", "20s"),
        ("RETRY_BUDGET", "30s"),
        ("SHUTDOWN_GRACE", "40s"),
    ];
    let first = ready(&world, &[&SMALL, &patient, &[("AMQP_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    world.posthog.held().await;
    first.terminate();
    first.wait_log(lines::STOPPING).await;
    proxy.refuse();
    proxy.cut();
    first.wait_log(lines::LOST_WHILE_STOPPING).await;
    world.posthog.behave();
    assert_eq!(first.wait_exit().await.code(), Some(0), "{}", first.log());
    // A lease that is not given back would run out, and count as a worker's death.
    assert_eq!(project.state(DAY, "daily").await, "queued");
    assert!(
        project.count("daily", Count::Sent).await > 0,
        "what was accepted was not saved"
    );
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "takeovers").await.as_deref(), Some("0"));
}

/// As in a container: the first process of a PID namespace, where a signal without a handler does
/// nothing.
#[tokio::test]
async fn it_stops_as_pid_1() {
    let (world, project) = world(200).await;
    slow(&world, 50);
    let first = world.worker_as_pid_1(&SMALL).await;
    first.wait_ready().await;
    project.publish(DAY, "daily").await;
    project.stored(50).await;
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(0), "{}", first.log());
    assert_eq!(project.state(DAY, "daily").await, "queued");
    world.wait_depth(JOBS, 1).await;
}

/// As an orchestrator does it with `maxSurge: 1` and `maxUnavailable: 0`.
#[tokio::test]
async fn a_rolling_restart_of_three_workers_loses_nothing() {
    let (world, project) = world(0).await;
    let days: Vec<NaiveDate> = day().iter_days().take(9).collect();
    project.seed(&days, 200, 1).await;
    slow(&world, 100);
    let one_at_a_time = [("BACKFILL_CONCURRENCY", "0")];
    let mut old = Vec::new();
    for _ in 0..3 {
        old.push(ready(&world, &[&SMALL, &one_at_a_time]).await);
    }
    project.publish_all(&days).await;
    let mut new = Vec::new();
    for worker in old {
        new.push(ready(&world, &[&SMALL, &one_at_a_time]).await);
        is_sending(&world, &worker).await;
        worker.terminate();
        assert_eq!(worker.wait_exit().await.code(), Some(0), "{}", worker.log());
        assert!(worker.count(Outcome::HandedBack, None) > 0, "{}", worker.log());
    }
    assert!(open_runs(&world).await > 0, "there was no load to the end");
    world.posthog.behave();
    world
        .wait_until("all runs are completed", PATIENCE, async || {
            open_runs(&world).await == 0
        })
        .await;
    project.assert_delivered(&days).await;
    let counted: i64 = sqlx::query_scalar(
        "select count(*) from posthog_export.runs where attempt > 0 or takeovers > 0 or error_code is not null",
    )
    .fetch_one(&world.pool())
    .await
    .unwrap();
    assert_eq!(counted, 0, "a restart is no failure");
}

/// Waits until that worker is in the middle of a day.
async fn is_sending(world: &World, worker: &Worker) {
    let name = format!("worker-{}", worker.pid());
    let query =
        "select exists (select 1 from posthog_export.runs r join posthog_export.streams s using (project_id, day, run)
                 where r.state = 'running' and r.worker = $1 and s.sent > 0)";
    let look = async || {
        let sending = sqlx::query_scalar::<_, bool>(query).bind(&name);
        sending.fetch_one(&world.pool()).await.unwrap()
    };
    world.wait_until("the worker is sending", PATIENCE, look).await;
}

/// Runs that are not completed.
async fn open_runs(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from posthog_export.runs where state <> 'completed'")
        .fetch_one(&world.pool())
        .await
        .unwrap()
}
