//! Outages that last: the ladder is climbed rung by rung, only failures are counted, and all arrives in the end.

use testkit::posthog::{Behavior, Rule};
use testkit::{Cause, Ending, Outcome};

use crate::{
    DEAD, JOBS, PROJECT, SMALL, arrives, dead_letter, depth, field, message, publish, publish_body, ready, slow,
    stored, world,
};

const RUNGS: &str = "200ms×1,300ms×3,400ms×4,500ms×5";
const TRIES: i64 = 13;
const QUICK: [(&str, &str); 3] = [
    ("SEND_TIMEOUT", "200ms"),
    ("RETRY_BUDGET", "250ms"),
    ("RETRY_RUNGS", RUNGS),
];

async fn ladder_world(traces: usize) -> testkit::World {
    let mut world = world(traces).await;
    world.set("RETRY_RUNGS", RUNGS);
    crate::succeeds(&world, &["declare"]).await;
    world
}

#[tokio::test]
async fn everything_arrives_after_an_outage_as_long_as_the_ladder() {
    let world = ladder_world(30).await;
    world.posthog.script(Rule::always(Behavior::status(503)));
    let worker = ready(&world, &[&SMALL, &QUICK]).await;
    publish(&world).await;
    let is_last = |ending: &Ending| ending.outcome == Outcome::Retry && ending.attempt() == TRIES;
    worker.wait_ending("the last try", is_last).await;
    world.posthog.behave();
    arrives(&world).await;
    let endings = worker.endings();
    let retries = endings.iter().filter(|ending| ending.outcome == Outcome::Retry);
    let attempts: Vec<i64> = retries.map(Ending::attempt).collect();
    assert_eq!(
        attempts,
        (1..=TRIES).collect::<Vec<_>>(),
        "each attempt was counted once"
    );
    assert_eq!(world.queue_depth(DEAD).await, 0);
    assert_eq!(field(&world, "error").await, None);
}

#[tokio::test]
async fn nothing_is_dead_lettered_before_its_tries_are_used() {
    let world = ladder_world(30).await;
    world.posthog.script(Rule::always(Behavior::status(503)));
    let _worker = ready(&world, &[&SMALL, &QUICK]).await;
    publish(&world).await;
    let letter = dead_letter(&world).await;
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
    let world = ladder_world(200).await;
    slow(&world, 40);
    let slices = [
        ("JOB_SLICE", "1s"),
        ("RETRY_BUDGET", "900ms"),
        ("SEND_TIMEOUT", "800ms"),
    ];
    let first = ready(&world, &[&SMALL, &slices]).await;
    publish(&world).await;
    stored(&world, 20).await;
    // Held: another run of the same day, and a second delivery.
    publish_body(&world, &message(PROJECT, Some("another"))).await;
    publish(&world).await;
    let second = ready(&world, &[&SMALL, &slices]).await;
    second.wait_outcome(Outcome::Later, Cause::LeaseHeld).await;
    first.wait_outcome(Outcome::HandedBack, None).await;
    first.terminate();
    assert_eq!(first.wait_exit().await.code(), Some(0));
    world.posthog.behave();
    arrives(&world).await;
    world.wait_state(PROJECT, crate::DAY, "another", "completed").await;
    let counted =
        "select count(*) from posthog_export.runs where attempt > 0 or takeovers > 0 or first_failed_at is not null";
    let counted: i64 = sqlx::query_scalar(counted).fetch_one(&world.pool()).await.unwrap();
    assert_eq!(counted, 0);
    depth(&world, JOBS, 0).await;
}
