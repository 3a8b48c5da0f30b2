//! Messages and ledgers are lost; `enqueue` finds out, and publishes again what nobody is working on.

use testkit::{Outcome, TcpProxy, World, lines, seed};

use crate::{
    BACKFILL, DAY, JOBS, KEY, PROJECT, SMALL, alter, arrives, depth, field, publish, ready, slow, stored, succeeds,
    world,
};

/// Hours pass, as far as the ledger knows.
const LATER: &str = "update posthog_export.runs set queued_at = queued_at - interval '2 hours',
    lease_expires_at = lease_expires_at - interval '2 hours', retry_at = retry_at - interval '2 hours'";

async fn delete(world: &World, queue: &str) {
    let management = world.servers().rabbitmq.management();
    let segments = ["queues", &world.vhost, queue];
    management.request(reqwest::Method::DELETE, &segments, None).await;
}

#[tokio::test]
async fn a_purged_queue() {
    let world = world(50).await;
    succeeds(&world, &["enqueue"]).await;
    assert_eq!(world.purge(BACKFILL).await, 1);
    succeeds(&world, &["enqueue"]).await;
    assert_eq!(world.queue_depth(BACKFILL).await, 0, "an hour has not passed");
    alter(&world, LATER).await;
    succeeds(&world, &["enqueue"]).await;
    depth(&world, BACKFILL, 1).await;
    let _worker = ready(&world, &[&SMALL]).await;
    arrives(&world).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}

#[tokio::test]
async fn a_queue_that_is_deleted_while_its_job_is_at_work() {
    let world = world(200).await;
    slow(&world, 50);
    let worker = ready(&world, &[&SMALL]).await;
    publish(&world).await;
    stored(&world, 50).await;
    delete(&world, JOBS).await;
    worker.wait_outcome(Outcome::Abandoned, None).await;
    worker.wait_ready().await;
    assert_eq!(
        field(&world, "state").await.as_deref(),
        Some("queued"),
        "the lease was given back"
    );
    alter(&world, LATER).await;
    succeeds(&world, &["enqueue"]).await;
    arrives(&world).await;
    assert_eq!(field(&world, "attempt").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_worker_that_dies_with_the_queue() {
    let world = world(200).await;
    slow(&world, 50);
    let worker = ready(&world, &[&SMALL]).await;
    publish(&world).await;
    stored(&world, 50).await;
    worker.kill();
    world.purge(JOBS).await;
    delete(&world, JOBS).await;
    let _second = ready(&world, &[&SMALL]).await;
    assert_eq!(field(&world, "state").await.as_deref(), Some("running"));
    alter(&world, LATER).await;
    succeeds(&world, &["enqueue"]).await;
    arrives(&world).await;
}

#[tokio::test]
async fn a_broker_that_lost_its_disk() {
    let world = world(50).await;
    let day = "2024-06-02";
    seed::realistic(&world.pool(), PROJECT, &[day.parse().unwrap()], 50, 2).await;
    world
        .posthog
        .script(testkit::posthog::Rule::always(testkit::posthog::Behavior::status(500)));
    let quick = [("SEND_TIMEOUT", "200ms"), ("RETRY_BUDGET", "300ms")];
    let worker = ready(&world, &[&SMALL, &quick]).await;
    publish(&world).await;
    world.wait_state(PROJECT, DAY, "daily", "waiting").await;
    worker.kill();
    succeeds(&world, &["enqueue"]).await;
    // Everything in it is gone: jobs, rungs, dead letters, and the queues themselves.
    let management = world.servers().rabbitmq.management();
    management.delete_vhost(&world.vhost).await;
    management
        .create_vhost(&world.vhost, world.servers().rabbitmq.user())
        .await;
    world.posthog.behave();
    alter(&world, LATER).await;
    let _second = ready(&world, &[&SMALL]).await;
    succeeds(&world, &["enqueue"]).await;
    arrives_with(&world, &[DAY, day]).await;
}

#[tokio::test]
async fn a_ledger_that_was_restored_from_an_older_backup() {
    let world = world(50).await;
    let (second, third) = ("2024-06-02", "2024-06-03");
    seed::realistic(&world.pool(), PROJECT, &[second.parse().unwrap()], 50, 2).await;
    succeeds(&world, &["enqueue"]).await;
    let worker = ready(&world, &[&SMALL, &[("BACKFILL_CONCURRENCY", "1")]]).await;
    arrives_with(&world, &[DAY, second]).await;
    worker.terminate();
    worker.wait_exit().await;
    // The backup is from when one day was queued and the other at work; a third one is not known to it at all.
    alter(
        &world,
        "update posthog_export.runs set state = 'queued', started_at = null, completed_at = null where day = '2024-06-01';
         update posthog_export.runs set state = 'running', completed_at = null, lease_token = gen_random_uuid(),
             lease_expires_at = clock_timestamp() where day = '2024-06-02';
         update posthog_export.streams set cursor_time = null, cursor_id = null, done = false, sent = 0",
    )
    .await;
    seed::realistic(&world.pool(), PROJECT, &[third.parse().unwrap()], 50, 3).await;
    alter(&world, LATER).await;
    let _again = ready(&world, &[&SMALL]).await;
    succeeds(&world, &["enqueue"]).await;
    arrives_with(&world, &[DAY, second, third]).await;
    assert!(world.posthog.counts(KEY).resent > 0, "the fault did not bite");
}

#[tokio::test]
async fn a_ledger_that_is_lost_altogether() {
    let world = world(50).await;
    succeeds(&world, &["enqueue"]).await;
    let worker = ready(&world, &[&SMALL]).await;
    arrives(&world).await;
    let before = world.posthog.counts(KEY).stored;
    worker.kill();
    alter(&world, "drop schema posthog_export cascade").await;
    succeeds(&world, &["enqueue"]).await;
    let _again = ready(&world, &[&SMALL]).await;
    arrives(&world).await;
    let counts = world.posthog.counts(KEY);
    assert_eq!((counts.resent, counts.stored, counts.copies_kept), (before, before, 0));
}

/// A worker outlives its ledger being lost and made anew.
#[tokio::test]
async fn a_ledger_that_is_lost_under_a_worker() {
    let world = world(100).await;
    slow(&world, 50);
    let proxy = TcpProxy::start(world.servers().postgres.address()).await;
    let url = world.database_url_via(&proxy);
    let worker = ready(&world, &[&SMALL, &[("LEDGER_DATABASE_URL", &url)]]).await;
    publish(&world).await;
    stored(&world, 50).await;
    alter(&world, "drop schema posthog_export cascade").await;
    worker.wait_log(lines::LEDGER_NOT_TOLD).await;
    succeeds(&world, &["enqueue"]).await;
    world.posthog.behave();
    arrives(&world).await;
}

async fn arrives_with(world: &World, days: &[&str]) {
    for day in days {
        world.wait_state(PROJECT, day, "daily", "completed").await;
    }
    let days: Vec<_> = days.iter().map(|day| day.parse().unwrap()).collect();
    let oracle = testkit::oracle::Oracle::new(world.pool(), Some("https://langfuse.example.com"));
    oracle
        .check(&world.posthog, KEY, PROJECT, &days)
        .await
        .assert_delivered();
}
