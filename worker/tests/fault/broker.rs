//! RabbitMQ dies, is cut off, takes no messages, or takes a delivery away from its worker.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::posthog::{Behavior, Rule};
use testkit::proxy::Flow;
use testkit::{BACKFILL, DEAD, Ending, JOBS, Outcome, Project, Servers, World, lines};

use crate::{DAY, KEY, PATIENCE, SMALL, day, fragile, heartbeat, prepared, ready, slow, world};

/// Two workers export; the broker ends as `end` says, and comes back.
async fn outage(end: impl AsyncFnOnce(&Servers)) {
    let servers = fragile().await;
    let servers = servers.as_ref().unwrap();
    let (world, project) = prepared(World::on(servers.clone()).await, 300).await;
    servers.rabbitmq.keep_names().await;
    slow(&world, 100);
    let workers = [ready(&world, &[&SMALL]).await, ready(&world, &[&SMALL]).await];
    project.publish(DAY, "daily").await;
    project.stored(100).await;
    end(servers).await;
    for worker in &workers {
        worker.wait_log(lines::SESSION_ENDED).await;
        worker.wait_unready().await;
    }
    servers.rabbitmq.start_again().await;
    project.arrives(DAY).await;
    for worker in &workers {
        worker.wait_ready().await;
    }
    let at_work = workers.iter().find(|worker| worker.count(Outcome::Abandoned, None) > 0);
    assert!(at_work.is_some(), "the fault did not bite");
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
    world.wait_depth(JOBS, 0).await;
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn it_is_killed_and_comes_back() {
    outage(async |servers| servers.rabbitmq.kill()).await;
}

#[tokio::test]
async fn it_is_stopped_and_comes_back() {
    outage(async |servers| servers.rabbitmq.stop().await).await;
}

/// A worker at work behind a proxy, whose broker falls silent as `fault` says.
async fn silence(fault: impl Fn(&testkit::TcpProxy)) {
    let (world, project) = world(300).await;
    slow(&world, 150);
    let proxy = world.amqp_proxy().await;
    let url = heartbeat(&world.amqp_url_via(&proxy));
    let worker = ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    project.stored(50).await;
    fault(&proxy);
    worker.wait_log(lines::SESSION_ENDED).await;
    proxy.cut();
    proxy.pass();
    project.arrives(DAY).await;
    worker.wait_ready().await;
    world.wait_depth(JOBS, 0).await;
    worker
        .wait_ending("a delivery that the broker made again", Ending::is_redelivered)
        .await;
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn what_it_says_is_swallowed() {
    silence(|proxy| proxy.to_client(Flow::Swallow)).await;
}

#[tokio::test]
async fn what_is_said_to_it_is_swallowed() {
    silence(|proxy| proxy.to_server(Flow::Swallow)).await;
}

#[tokio::test]
async fn no_byte_moves() {
    silence(testkit::TcpProxy::stall).await;
}

#[tokio::test]
async fn its_memory_alarm_holds_up_neither_acks_nor_the_worker() {
    let servers = fragile().await;
    let servers = servers.as_ref().unwrap();
    // Many slices: on a busy machine it takes a while to turn the alarm on.
    let (world, project) = prepared(World::on(servers.clone()).await, 1_000).await;
    slow(&world, 500);
    let slices = [("JOB_SLICE", "2s"), ("RETRY_BUDGET", "1s"), ("SEND_TIMEOUT", "900ms")];
    let worker = ready(&world, &[&SMALL, &slices]).await;
    project.publish(DAY, "daily").await;
    // The broker blocks only connections that have published something.
    worker.wait_outcome(Outcome::HandedBack, None).await;
    alarm(servers, &world, true).await;
    worker.wait_log(lines::PUBLISHING_BLOCKED).await;
    // The next slice cannot be published, so the run stays without a lease. The worker keeps its
    // session even when this lasts longer than a confirm may take.
    let since = Cell::new(None);
    let handed_back = async || {
        let is_held = "select lease_token is not null from posthog_export.runs";
        let is_held: bool = sqlx::query_scalar(is_held).fetch_one(&world.pool()).await.unwrap();
        let free_since = if is_held {
            None
        } else {
            Some(since.get().unwrap_or_else(Instant::now))
        };
        since.set(free_since);
        free_since.is_some_and(|at| at.elapsed() > Duration::from_secs(2))
    };
    world
        .wait_until("a slice is over meanwhile", PATIENCE, handed_back)
        .await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(!worker.log().contains(lines::SESSION_ENDED), "{}", worker.log());
    alarm(servers, &world, false).await;
    world.posthog.behave();
    project.arrives(DAY).await;
    world.wait_depth(JOBS, 0).await;

    worker.terminate();
    worker.wait_exit().await;

    // A job that completes during the alarm is acked during the alarm. The broker blocks a
    // connection only once it publishes. Here the worker publishes when it gives a run to a message
    // without one, which gets its turn when the message before it is done.
    let second = Project::add(&world, "second", "phc_second").await;
    second.seed(&[day()], 3, 2).await;
    let patient = [
        ("SENDS_IN_FLIGHT", "8"),
        ("SEND_TIMEOUT", "100s"),
        ("RETRY_BUDGET", "110s"),
        ("JOB_SLICE", "120s"),
    ];
    let worker = ready(&world, &[&SMALL, &patient]).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    for body in [second.message(DAY, "first"), second.replay(DAY)] {
        assert!(world.publish("posthog-export", "backfill", &body).await);
    }
    world.posthog.held().await;
    project.publish(DAY, "another").await;
    // More than the three bodies of the other project.
    world.posthog.held_requests(4).await;
    alarm(servers, &world, true).await;
    world.posthog.behave();
    world.posthog.script(Rule::always(Behavior::Hold).for_key(KEY));
    world.posthog.release();
    worker.wait_log(lines::PUBLISHING_BLOCKED).await;
    world
        .wait_until("the job is not acked yet", PATIENCE, async || {
            world.queue_messages(JOBS).await == Some(1)
        })
        .await;
    world.posthog.behave();
    world.posthog.release();
    project.wait_state(DAY, "another", "completed").await;
    world
        .wait_until("the ack has reached the broker", PATIENCE, async || {
            world.queue_messages(JOBS).await == Some(0)
        })
        .await;
    alarm(servers, &world, false).await;
    world.wait_depth(BACKFILL, 0).await;
}

async fn alarm(servers: &Servers, world: &World, on: bool) {
    let rabbitmq = servers.rabbitmq.clone();
    let limit = if on { ["absolute", "1MB"] } else { ["absolute", "4GB"] };
    tokio::task::spawn_blocking(move || rabbitmq.ctl(&[&["set_vm_memory_high_watermark"], &limit[..]].concat()))
        .await
        .unwrap();
    let is_on = if on { "alarms are on" } else { "alarms are off" };
    world
        .wait_until(is_on, PATIENCE, async || {
            let rabbitmq = servers.rabbitmq.management();
            let segments = ["health", "checks", "alarms"];
            let answer = rabbitmq.try_request(reqwest::Method::GET, &segments, None).await;
            answer.is_ok_and(|(status, _)| status.is_success() != on)
        })
        .await;
}

#[tokio::test]
async fn its_consumer_timeout_is_never_met_by_a_job_of_any_length() {
    let servers = Arc::new(Servers::start_with("consumer_timeout = 12000").await);
    let (world, project) = prepared(World::on(servers).await, 300).await;
    slow(&world, 250);
    let slices = [("JOB_SLICE", "3s"), ("RETRY_BUDGET", "2s"), ("SEND_TIMEOUT", "1900ms")];
    let settings = [&SMALL[..], &[("SENDS_IN_FLIGHT", "1")], &slices].concat();
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(ready(&world, &[&settings]).await);
    }
    let began = std::time::Instant::now();
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    assert!(
        began.elapsed() > Duration::from_secs(24),
        "the day was too short to show anything"
    );
    for worker in &workers {
        assert!(!worker.log().contains(lines::SESSION_ENDED), "{}", worker.log());
    }
    assert_eq!(world.posthog.counts(KEY).resent, 0);
    let slices: Vec<usize> = workers
        .iter()
        .map(|worker| worker.count(Outcome::HandedBack, None))
        .collect();
    let at_work = slices.iter().filter(|slices| **slices > 0).count();
    assert!(at_work >= 2, "slices of each worker: {slices:?}");
    drop(workers);

    // A delivery that is held for too long is taken away. The worker notices, and the day arrives
    // all the same.
    let long = ready(&world, &[&SMALL, &[("SENDS_IN_FLIGHT", "1")]]).await;
    project.publish(DAY, "long").await;
    long.wait_log(lines::SESSION_ENDED).await;
    world.posthog.behave();
    project.wait_state(DAY, "long", "completed").await;
    project.assert_delivered(&[DAY]).await;
}
