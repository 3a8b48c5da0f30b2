//! Outages that last: the ladder is climbed rung by rung, only failures are counted, and all
//! arrives in the end.

use std::sync::Arc;

use testkit::posthog::{Behavior, Rule};
use testkit::{Cause, DEAD, Ending, JOBS, Outcome, Project, World};

use crate::{DAY, SMALL, ready, slow, world};

const RUNGS: &str = "200ms×1,300ms×3,400ms×4,500ms×5";
const TRIES: i64 = 13;
const QUICK: [(&str, &str); 3] = [
    ("SEND_TIMEOUT", "200ms"),
    ("RETRY_BUDGET", "250ms"),
    ("RETRY_RUNGS", RUNGS),
];

async fn ladder_world(traces: usize) -> (Arc<World>, Project) {
    let (world, project) = world(traces).await;
    world.set("RETRY_RUNGS", RUNGS);
    world.succeeds(&["declare"]).await;
    (world, project)
}

#[tokio::test]
async fn everything_arrives_after_an_outage_as_long_as_the_ladder() {
    let (world, project) = ladder_world(30).await;
    world.posthog.script(Rule::always(Behavior::status(503)));
    let worker = ready(&world, &[&SMALL, &QUICK]).await;
    project.publish(DAY, "daily").await;
    let is_last = |ending: &Ending| ending.outcome == Outcome::Retry && ending.attempt() == TRIES;
    worker.wait_ending("the last try", is_last).await;
    world.posthog.behave();
    project.arrives(DAY).await;
    let endings = worker.endings();
    let retries = endings.iter().filter(|ending| ending.outcome == Outcome::Retry);
    let attempts: Vec<i64> = retries.map(Ending::attempt).collect();
    assert_eq!(
        attempts,
        (1..=TRIES).collect::<Vec<_>>(),
        "each attempt was counted once"
    );
    assert_eq!(world.queue_depth(DEAD).await, 0);
    assert_eq!(project.field("daily", "error").await, None);
}

#[tokio::test]
async fn nothing_is_dead_lettered_before_its_tries_are_used() {
    let (world, project) = ladder_world(30).await;
    world.posthog.script(Rule::always(Behavior::status(503)));
    let _worker = ready(&world, &[&SMALL, &QUICK]).await;
    project.publish(DAY, "daily").await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.headers["x-attempt"], TRIES + 1);
    assert_eq!(letter.headers["x-error-code"], "posthog_unavailable");
    assert!(
        letter.headers["x-death"].is_null(),
        "the broker's headers were copied: {}",
        letter.headers
    );
}

#[tokio::test]
async fn interruptions_and_held_leases_are_not_counted() {
    let (world, project) = ladder_world(200).await;
    slow(&world, 40);
    let slices = [
        ("JOB_SLICE", "1s"),
        ("RETRY_BUDGET", "900ms"),
        ("SEND_TIMEOUT", "800ms"),
    ];
    let first = ready(&world, &[&SMALL, &slices]).await;
    project.publish(DAY, "daily").await;
    project.stored(20).await;
    // These two meet a lease that is held: another run of the same day, and a second delivery.
    project.publish(DAY, "another").await;
    project.publish(DAY, "daily").await;
    let second = ready(&world, &[&SMALL, &slices]).await;
    second.wait_outcome(Outcome::Later, Cause::LeaseHeld).await;
    first.wait_outcome(Outcome::HandedBack, None).await;
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(0));
    world.posthog.behave();
    project.arrives(DAY).await;
    project.wait_state(DAY, "another", "completed").await;
    let counted =
        "select count(*) from posthog_export.runs where attempt > 0 or takeovers > 0 or first_failed_at is not null";
    let counted: i64 = sqlx::query_scalar(counted).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(counted, 0);
    world.wait_depth(JOBS, 0).await;
}
