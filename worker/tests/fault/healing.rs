//! Messages and ledgers are lost; `enqueue` finds out, and publishes again what nobody is working
//! on.

use testkit::{BACKFILL, JOBS, Outcome, TcpProxy, World, lines};

use crate::{DAY, KEY, SMALL, alter, ready, slow, world};

/// Makes the ledger believe that hours have passed.
const LATER: &str = "update posthog_export.runs set queued_at = queued_at - interval '2 hours',
    lease_expires_at = lease_expires_at - interval '2 hours', retry_at = retry_at - interval '2 hours'";

async fn delete(world: &World, queue: &str) {
    let management = world.servers().rabbitmq.management();
    let segments = ["queues", &world.vhost, queue];
    management.request(reqwest::Method::DELETE, &segments, None).await;
}

#[tokio::test]
async fn a_purged_queue() {
    let (world, project) = world(50).await;
    world.succeeds(&["enqueue"]).await;
    assert_eq!(world.purge(BACKFILL).await, 1);
    world.succeeds(&["enqueue"]).await;
    assert_eq!(world.queue_depth(BACKFILL).await, 0, "an hour has not passed");
    alter(&world, LATER).await;
    world.succeeds(&["enqueue"]).await;
    world.wait_depth(BACKFILL, 1).await;
    let _worker = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}

#[tokio::test]
async fn a_queue_that_is_deleted_while_its_job_is_at_work() {
    let (world, project) = world(200).await;
    slow(&world, 50);
    let worker = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    project.stored(50).await;
    delete(&world, JOBS).await;
    worker.wait_outcome(Outcome::Abandoned, None).await;
    worker.wait_ready().await;
    assert_eq!(project.state(DAY, "daily").await, "queued", "the lease was given back");
    alter(&world, LATER).await;
    world.succeeds(&["enqueue"]).await;
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn a_worker_that_dies_with_the_queue() {
    let (world, project) = world(200).await;
    slow(&world, 50);
    let worker = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    project.stored(50).await;
    worker.kill();
    world.purge(JOBS).await;
    delete(&world, JOBS).await;
    let _second = ready(&world, &[&SMALL]).await;
    assert_eq!(project.state(DAY, "daily").await, "running");
    alter(&world, LATER).await;
    world.succeeds(&["enqueue"]).await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn a_broker_that_lost_its_disk() {
    let (world, project) = world(50).await;
    let day = "2024-06-02";
    project.seed(&[day.parse().unwrap()], 50, 2).await;
    world
        .posthog
        .script(testkit::posthog::Rule::always(testkit::posthog::Behavior::status(500)));
    let quick = [("SEND_TIMEOUT", "200ms"), ("RETRY_BUDGET", "300ms")];
    let worker = ready(&world, &[&SMALL, &quick]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "waiting").await;
    worker.kill();
    world.succeeds(&["enqueue"]).await;
    // Everything in it is gone: jobs, rungs, dead letters, and the queues themselves.
    let management = world.servers().rabbitmq.management();
    management.delete_vhost(&world.vhost).await;
    management
        .create_vhost(&world.vhost, world.servers().rabbitmq.user())
        .await;
    world.posthog.behave();
    alter(&world, LATER).await;
    let _second = ready(&world, &[&SMALL]).await;
    world.succeeds(&["enqueue"]).await;
    project.all_arrive(&[DAY, day]).await;
}

#[tokio::test]
async fn a_ledger_that_was_restored_from_an_older_backup() {
    let (world, project) = world(50).await;
    let (second, third) = ("2024-06-02", "2024-06-03");
    project.seed(&[second.parse().unwrap()], 50, 2).await;
    world.succeeds(&["enqueue"]).await;
    let worker = ready(&world, &[&SMALL, &[("BACKFILL_CONCURRENCY", "1")]]).await;
    project.all_arrive(&[DAY, second]).await;
    worker.terminate();
    worker.wait_exit().await;
    // At the time of the backup one day was queued, one was at work, and the third was not known
    // yet.
    alter(
        &world,
        "update posthog_export.runs set state = 'queued', started_at = null, completed_at = null where day = '2024-06-01';
         update posthog_export.runs set state = 'running', completed_at = null, lease_token = gen_random_uuid(),
             lease_expires_at = clock_timestamp() where day = '2024-06-02';
         update posthog_export.streams set cursor_time = null, cursor_id = null, done = false, sent = 0",
    )
    .await;
    project.seed(&[third.parse().unwrap()], 50, 3).await;
    alter(&world, LATER).await;
    let _again = ready(&world, &[&SMALL]).await;
    world.succeeds(&["enqueue"]).await;
    project.all_arrive(&[DAY, second, third]).await;
    assert!(world.posthog.counts(KEY).resent > 0, "the fault did not bite");
}

#[tokio::test]
async fn a_ledger_that_is_lost_altogether() {
    let (world, project) = world(50).await;
    world.succeeds(&["enqueue"]).await;
    let worker = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    let before = world.posthog.counts(KEY).stored;
    worker.kill();
    alter(&world, "drop schema posthog_export cascade").await;
    world.succeeds(&["enqueue"]).await;
    let _again = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    let counts = world.posthog.counts(KEY);
    assert_eq!((counts.resent, counts.stored, counts.copies_kept), (before, before, 0));
}

/// A worker outlives its ledger being lost and made anew.
#[tokio::test]
async fn a_ledger_that_is_lost_under_a_worker() {
    let (world, project) = world(100).await;
    slow(&world, 50);
    let proxy = TcpProxy::start(world.servers().postgres.address()).await;
    let url = world.database_url_via(&proxy);
    let worker = ready(&world, &[&SMALL, &[("LEDGER_DATABASE_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    project.stored(50).await;
    alter(&world, "drop schema posthog_export cascade").await;
    worker.wait_log(lines::LEDGER_NOT_TOLD).await;
    world.succeeds(&["enqueue"]).await;
    world.posthog.behave();
    project.arrives(DAY).await;
}
