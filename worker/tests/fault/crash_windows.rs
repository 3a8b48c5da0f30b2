//! The order that must never change: *2xx for every batch up to here → save the cursor → … → mark
//! completed → ack*, and for every settlement *ledger → publish, confirmed → ack*. A process is
//! killed between every two of these steps.

use testkit::posthog::{Behavior, Rule};
use testkit::proxy::Flow;
use testkit::{BACKFILL, Count, DEAD, Ending, JOBS, Outcome, TcpProxy, World, lines};

use crate::gate::Gate;
use crate::{DAY, KEY, PATIENCE, SMALL, alter, ready, slow, world};

/// Parts of the names of a worker's connections: on one it consumes and acks, on the other it
/// publishes.
const CONSUMING: &str = "(consume)";
const PUBLISHING: &str = "(publish)";

const SLICES: [(&str, &str); 3] = [
    ("JOB_SLICE", "1s"),
    ("RETRY_BUDGET", "900ms"),
    ("SEND_TIMEOUT", "800ms"),
];

/// A proxy between a worker and the broker, and the URL that leads through it.
async fn through(world: &World) -> (TcpProxy, String) {
    let proxy = world.amqp_proxy().await;
    // Heartbeats are swallowed, too. With a long interval nobody notices before the test is over.
    let url = format!("{}?heartbeat=60", world.amqp_url_via(&proxy));
    (proxy, url)
}

#[tokio::test]
async fn after_a_send_before_its_checkpoint() {
    let (world, project) = world(200).await;
    let mut gate = Gate::before_a_checkpoint(&world).await;
    let first = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    gate.reached(&world).await;
    first.kill();
    gate.turn_away().await;
    gate.open().await;
    assert!(world.posthog.counts(KEY).stored > 0);
    assert_eq!(project.count("daily", Count::Sent).await, 0, "a checkpoint was saved");
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    assert!(world.posthog.counts(KEY).resent > 0, "the fault did not bite");
}

#[tokio::test]
async fn with_answers_on_their_way() {
    let (world, project) = world(200).await;
    world.posthog.script(Rule::next(2, Behavior::Hold));
    let first = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    world.posthog.held_requests(2).await;
    first.kill();
    world.posthog.release();
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    assert!(world.posthog.counts(KEY).resent > 0, "the fault did not bite");
}

#[tokio::test]
async fn after_the_last_checkpoint_before_complete() {
    let (world, project) = world(100).await;
    let mut gate = Gate::before_state(&world, "completed").await;
    let first = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    gate.reached(&world).await;
    first.kill();
    gate.turn_away().await;
    gate.open().await;
    assert_eq!(project.state(DAY, "daily").await, "running");
    project.assert_delivered(&[DAY]).await;
    let second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0, "what is saved is not sent again");
    second.wait_log(lines::TAKEN_OVER).await;
}

#[tokio::test]
async fn after_complete_before_the_ack() {
    let (world, project) = world(100).await;
    let (proxy, url) = through(&world).await;
    let first = ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    world.posthog.until(|posthog| posthog.counts(KEY).requests > 0).await;
    proxy.to_server_of(CONSUMING, Flow::Swallow);
    project.arrives(DAY).await;
    first.wait_outcome(Outcome::Completed, None).await;
    first.kill();
    world.wait_depth(JOBS, 1).await;
    let second = ready(&world, &[&SMALL]).await;
    second.wait_outcome(Outcome::DoneBefore, None).await;
    world.wait_depth(JOBS, 0).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
    project.assert_delivered(&[DAY]).await;
}

#[tokio::test]
async fn after_a_slice_was_published_before_the_ack() {
    let (world, project) = world(200).await;
    slow(&world, 100);
    let (proxy, url) = through(&world).await;
    let first = ready(&world, &[&SMALL, &SLICES, &[("AMQP_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    project.stored(1).await;
    proxy.to_server_of(CONSUMING, Flow::Swallow);
    // The worker believes that it has acked, but the broker got no ack. So the worker gets no new
    // delivery, and the next slice stays in the queue.
    world.wait_depth(JOBS, 1).await;
    first.kill();
    world.wait_depth(JOBS, 2).await;
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    world.wait_depth(JOBS, 0).await;
    assert_eq!(project.field("daily", "attempt").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn with_the_confirm_of_a_slice_on_its_way() {
    let (world, project) = world(200).await;
    slow(&world, 100);
    let (proxy, url) = through(&world).await;
    let mut gate = Gate::before_state(&world, "queued").await;
    let first = ready(&world, &[&SMALL, &SLICES, &[("AMQP_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    gate.reached(&world).await;
    proxy.to_client(Flow::Swallow);
    gate.open().await;
    world.wait_depth(JOBS, 1).await;
    first.kill();
    world.wait_depth(JOBS, 2).await;
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    world.wait_depth(JOBS, 0).await;
}

#[tokio::test]
async fn a_slice_that_the_broker_never_got_is_not_acked() {
    let (world, project) = world(200).await;
    slow(&world, 100);
    let (proxy, url) = through(&world).await;
    let worker = ready(&world, &[&SMALL, &SLICES, &[("AMQP_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    project.stored(1).await;
    proxy.to_server_of(PUBLISHING, Flow::Swallow);
    worker.wait_log(lines::SESSION_ENDED).await;
    proxy.pass();
    world.posthog.behave();
    project.arrives(DAY).await;
    worker
        .wait_ending("a delivery that the broker made again", Ending::is_redelivered)
        .await;
}

#[tokio::test]
async fn after_a_retry_was_published_before_the_ack() {
    let (world, project) = world(50).await;
    world.posthog.script(Rule::always(Behavior::status(500)));
    let (proxy, url) = through(&world).await;
    let budget = [
        ("SEND_TIMEOUT", "800ms"),
        ("RETRY_BUDGET", "900ms"),
        ("AMQP_URL", url.as_str()),
    ];
    let first = ready(&world, &[&SMALL, &budget]).await;
    project.publish(DAY, "daily").await;
    world.posthog.until(|posthog| !posthog.batches().is_empty()).await;
    proxy.to_server_of(CONSUMING, Flow::Swallow);
    project.wait_state(DAY, "daily", "waiting").await;
    // The message is back from its rung.
    world.wait_depth(JOBS, 1).await;
    first.kill();
    world.wait_depth(JOBS, 2).await;
    world.posthog.behave();
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    world.wait_depth(JOBS, 0).await;
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn after_a_dead_letter_was_published_before_the_ack() {
    let (world, project) = world(50).await;
    world.posthog.forget_key(KEY);
    let (proxy, url) = through(&world).await;
    let mut gate = Gate::before_state(&world, "dead").await;
    let first = ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await;
    project.publish(DAY, "daily").await;
    gate.reached(&world).await;
    proxy.to_server_of(CONSUMING, Flow::Swallow);
    gate.open().await;
    world.wait_depth(DEAD, 1).await;
    first.kill();
    world.wait_depth(JOBS, 1).await;
    world.posthog.known_key(KEY);
    // The job is delivered again, and its project is paused by now. The requeue ends the pause.
    let _second = ready(&world, &[&SMALL]).await;
    project.wait_state(DAY, "daily", "skipped").await;
    world.succeeds(&["dead-letters", "requeue", "--all", "--yes"]).await;
    project.arrives(DAY).await;
    assert_eq!(
        (world.queue_depth(DEAD).await, world.posthog.counts(KEY).resent),
        (0, 0)
    );
}

#[tokio::test]
async fn after_a_run_was_given_before_the_ack() {
    let (world, project) = world(100).await;
    let (proxy, url) = through(&world).await;
    let first = ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await;
    proxy.to_server_of(CONSUMING, Flow::Swallow);
    world.publish_job(&project.replay(DAY)).await;
    world.wait_depth(JOBS, 1).await;
    first.kill();
    world.wait_depth(JOBS, 2).await;
    let _second = ready(&world, &[&SMALL]).await;
    world
        .wait_until("two runs are completed", PATIENCE, async || {
            let completed = "select count(*) from posthog_export.runs where state = 'completed'";
            sqlx::query_scalar::<_, i64>(completed)
                .fetch_one(&world.pool())
                .await
                .unwrap()
                == 2
        })
        .await;
    project.assert_delivered(&[DAY]).await;
    assert!(world.posthog.counts(KEY).resent > 0, "the fault did not bite");
}

#[tokio::test]
async fn in_the_middle_of_an_enqueue() {
    let (world, project) = world(50).await;
    let mut gate = Gate::close(&world, "insert", "runs", "true").await;
    let first = world.spawn_producer(&["enqueue", "--json"], &[]).await;
    gate.reached(&world).await;
    first.kill();
    gate.turn_away().await;
    gate.open().await;
    // Confirmed by the broker, and unknown to the ledger.
    world.wait_depth(BACKFILL, 1).await;
    assert_eq!(project.field("daily", "state").await, None);
    world.succeeds(&["enqueue"]).await;
    world.wait_depth(BACKFILL, 2).await;
    world.succeeds(&["enqueue"]).await;
    world.wait_depth(BACKFILL, 2).await;
    let worker = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    worker.wait_outcome(Outcome::DoneBefore, None).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}

#[tokio::test]
async fn in_the_middle_of_a_dead_letter_requeue() {
    let (world, project) = world(50).await;
    world.posthog.forget_key(KEY);
    let worker = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    world.wait_depth(DEAD, 1).await;
    worker.terminate();
    worker.wait_exit().await;
    world.posthog.known_key(KEY);
    let mut gate = Gate::before_state(&world, "queued").await;
    let requeue = ["dead-letters", "requeue", "--all", "--yes"];
    let first = world.spawn_producer(&requeue, &[]).await;
    gate.reached(&world).await;
    first.kill();
    gate.turn_away().await;
    gate.open().await;
    // Published, and still a dead letter.
    world.wait_depth(BACKFILL, 1).await;
    world.wait_depth(DEAD, 1).await;
    alter(&world, "drop trigger fault_gate on posthog_export.runs").await;
    world.succeeds(&requeue).await;
    world.wait_depth(DEAD, 0).await;
    let _second = ready(&world, &[&SMALL]).await;
    project.arrives(DAY).await;
    world.wait_depth(BACKFILL, 0).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}
