//! Steps: parts of a day that are exported while it is going on. Whatever becomes of one, its day's
//! own run makes up for it, and nothing is sent twice that was sent before.

use std::sync::Arc;

use testkit::posthog::{Behavior, Rule};
use testkit::proxy::Flow;
use testkit::{Cause, Clock, DEAD, JOBS, Outcome, Project, World};

use crate::{DAY, KEY, PROJECT, SMALL, alter, day, prepared, ready};

/// It is this time of the day in the database, and the day has rows that nobody touches any more.
async fn world_at(time: &str) -> (Arc<World>, Project, Clock) {
    let world = World::new().await;
    let clock = world.clock(format!("{DAY} {time}")).await;
    let (world, project) = prepared(world, 0).await;
    project.seed(&[day()], 80, 1).await;
    for change in [
        "update traces set created_at = timestamp, updated_at = timestamp",
        "update observations set created_at = start_time, updated_at = start_time",
        "update scores set created_at = timestamp, updated_at = timestamp",
    ] {
        alter(&world, change).await;
    }
    (world, project, clock)
}

/// Asks for the day until ten o'clock.
async fn ask_for_a_step(world: &World) {
    let span = format!(r#""from":"{DAY}T00:00:00Z","until":"{DAY}T10:00:00Z""#);
    let message = format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"step-0000",{span}}}"#);
    world.publish_job(message.as_bytes()).await;
}

/// Asks for the run that the nightly enqueue publishes for a day with steps.
async fn ask_for_the_rest(world: &World) {
    let message = format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"daily","changed":true}}"#);
    world.publish_job(message.as_bytes()).await;
}

#[tokio::test]
async fn killed_between_a_steps_completion_and_its_ack() {
    let (world, project, clock) = world_at("10:35").await;
    let proxy = world.amqp_proxy().await;
    let url = format!("{}?heartbeat=60", world.amqp_url_via(&proxy));
    let first = ready(&world, &[&SMALL, &[("AMQP_URL", &url)]]).await;
    ask_for_a_step(&world).await;
    world.posthog.until(|posthog| posthog.counts(KEY).requests > 0).await;
    proxy.to_server_of("(consume)", Flow::Swallow);
    first.wait_outcome(Outcome::Completed, None).await;
    first.kill();
    world.wait_depth(JOBS, 1).await;
    // The broker delivers it again when its day is over. It is done, and stays done.
    clock.set("2024-06-02 00:35").await;
    let second = ready(&world, &[&SMALL]).await;
    second.wait_outcome(Outcome::DoneBefore, None).await;
    assert_eq!(project.state(DAY, "step-0000").await, "completed");
    let of_step = world.posthog.counts(KEY).stored;
    assert!(of_step > 0, "the step has sent nothing");
    ask_for_the_rest(&world).await;
    project.arrives(DAY).await;
    let counts = world.posthog.counts(KEY);
    assert!(counts.stored > of_step);
    assert_eq!(counts.resent, 0, "what the step has sent is not sent again");
}

#[tokio::test]
async fn on_the_ladder_at_midnight() {
    let (world, project, clock) = world_at("10:35").await;
    let short = [
        ("SEND_TIMEOUT", "900ms"),
        ("RETRY_BUDGET", "1s"),
        ("RETRY_RUNGS", "5s×5"),
    ];
    // The first batch is accepted, the next ones are not.
    world.posthog.script(Rule::next(1, Behavior::Ok));
    world.posthog.script(Rule::always(Behavior::status(503)));
    let worker = ready(&world, &[&SMALL, &short]).await;
    ask_for_a_step(&world).await;
    worker
        .wait_outcome(Outcome::Retry, Some(Cause::PosthogUnavailable))
        .await;
    assert_eq!(
        project.state(DAY, "step-0000").await,
        "waiting",
        "the fault did not bite"
    );
    clock.set("2024-06-02 00:35").await;
    world.posthog.behave();
    worker.wait_outcome(Outcome::Superseded, None).await;
    assert_eq!(project.state(DAY, "step-0000").await, "discarded");
    assert!(
        world.posthog.counts(KEY).stored > 0,
        "the step has sent a part of its rows"
    );
    assert_eq!((world.queue_depth(JOBS).await, world.queue_depth(DEAD).await), (0, 0));
    ask_for_the_rest(&world).await;
    project.arrives(DAY).await;
}
