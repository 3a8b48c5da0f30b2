//! RabbitMQ dies, is cut off, does not take messages, or takes away what it gave.

use std::sync::Arc;
use std::time::Duration;

use testkit::posthog::{Behavior, Rule};
use testkit::proxy::Flow;
use testkit::{Servers, World};

use crate::{
    DEAD, JOBS, KEY, PATIENCE, PROJECT, SMALL, arrives, depth, field, fragile, heartbeat, prepared, publish, ready,
    slow, stored, world,
};

/// Two workers export; the broker ends as `end` says, and comes back.
async fn outage(end: impl AsyncFnOnce(&Servers)) {
    let servers = fragile().await;
    let servers = servers.as_ref().unwrap();
    let world = prepared(World::on(servers.clone()).await, 300).await;
    servers.rabbitmq.keep_names().await;
    slow(&world, 100);
    let workers = [ready(&world, &[&SMALL]).await, ready(&world, &[&SMALL]).await];
    publish(&world).await;
    stored(&world, 100).await;
    end(servers).await;
    for worker in &workers {
        worker.wait_log("the session with RabbitMQ ended").await;
    }
    servers.rabbitmq.start_again().await;
    arrives(&world).await;
    let at_work = workers
        .iter()
        .find(|worker| worker.log().contains("the connection to RabbitMQ was lost"));
    assert!(at_work.is_some(), "the fault did not bite");
    assert_eq!(field(&world, "attempt").await.as_deref(), Some("0"));
    depth(&world, JOBS, 0).await;
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
    let world = world(300).await;
    slow(&world, 150);
    let proxy = world.amqp_proxy().await;
    let url = heartbeat(&world.amqp_url_via(&proxy));
    let worker = ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await;
    publish(&world).await;
    stored(&world, 50).await;
    fault(&proxy);
    worker.wait_log("the session with RabbitMQ ended").await;
    proxy.cut();
    proxy.pass();
    arrives(&world).await;
    worker.wait_ready().await;
    depth(&world, JOBS, 0).await;
    assert!(worker.log().contains("\"redelivered\":true"), "the fault did not bite");
    assert_eq!(field(&world, "attempt").await.as_deref(), Some("0"));
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
    let world = prepared(World::on(servers.clone()).await, 200).await;
    slow(&world, 500);
    let slices = [("JOB_SLICE", "2s"), ("RETRY_BUDGET", "1s"), ("SEND_TIMEOUT", "900ms")];
    let worker = ready(&world, &[&SMALL, &slices]).await;
    publish(&world).await;
    // The broker blocks only connections that have published something.
    worker.wait_log("handed back at a checkpoint").await;
    alarm(servers, &world, true).await;
    worker.wait_log("RabbitMQ blocks publishing").await;
    let before = worker.log().matches("handed back at a checkpoint").count();
    // Its next slice cannot be published; longer than a confirm may take, nothing is given up.
    let handed_back = async || worker.log().matches("handed back at a checkpoint").count() > before;
    world
        .wait_until("a slice is over meanwhile", PATIENCE, handed_back)
        .await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(
        !worker.log().contains("session with RabbitMQ ended"),
        "{}",
        worker.log()
    );
    alarm(servers, &world, false).await;
    world.posthog.behave();
    arrives(&world).await;
    depth(&world, JOBS, 0).await;

    // A job that completes meanwhile is acked meanwhile.
    world.posthog.script(Rule::next(1, Behavior::Hold));
    crate::publish_body(&world, &crate::message(PROJECT, Some("another"))).await;
    world.posthog.held().await;
    alarm(servers, &world, true).await;
    world.posthog.release();
    world.wait_state(PROJECT, crate::DAY, "another", "completed").await;
    world
        .wait_until("the ack has reached the broker", PATIENCE, async || {
            world.queue_messages(JOBS).await == Some(0)
        })
        .await;
    alarm(servers, &world, false).await;
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
    let servers = Arc::new(Servers::start_with("consumer_timeout = 4000").await);
    let world = prepared(World::on(servers).await, 150).await;
    slow(&world, 150);
    let slices = [
        ("JOB_SLICE", "1500ms"),
        ("RETRY_BUDGET", "1s"),
        ("SEND_TIMEOUT", "900ms"),
    ];
    let settings = [&SMALL[..], &[("SENDS_IN_FLIGHT", "1")], &slices].concat();
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(ready(&world, &[&settings]).await);
    }
    let began = std::time::Instant::now();
    publish(&world).await;
    arrives(&world).await;
    assert!(
        began.elapsed() > Duration::from_secs(8),
        "the day was too short to show anything"
    );
    for worker in &workers {
        assert!(
            !worker.log().contains("session with RabbitMQ ended"),
            "{}",
            worker.log()
        );
    }
    assert_eq!(world.posthog.counts(KEY).resent, 0);
    let slices: usize = workers
        .iter()
        .map(|worker| worker.log().matches("handed back at a checkpoint").count())
        .sum();
    assert!(slices >= 2, "{slices} slices");
    drop(workers);

    // Held for longer, a delivery is taken away; the worker notices, and the day arrives all the same.
    let long = ready(&world, &[&SMALL, &[("SENDS_IN_FLIGHT", "1")]]).await;
    crate::publish_body(&world, &crate::message(PROJECT, Some("long"))).await;
    long.wait_log("session with RabbitMQ ended").await;
    world.posthog.behave();
    world.wait_state(PROJECT, crate::DAY, "long", "completed").await;
    crate::assert_delivered(&world).await;
}
