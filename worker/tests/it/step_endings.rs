//! How steps end: runs of a part of a day that is going on.

use std::sync::Arc;

use testkit::posthog::{Behavior, Rule};
use testkit::{Cause, Clock, DEAD, Outcome, Project, World};

use crate::{DAY, KEY, PROJECT, day};

/// It is this time of the day in the database, and the day has rows.
async fn world_at(time: &str) -> (Arc<World>, Project, Clock) {
    let world = Arc::new(World::new().await);
    let clock = world.clock(format!("{DAY} {time}")).await;
    shared::ledger::migrator().run(&world.pool()).await.unwrap();
    let project = Project::add(&world, PROJECT, KEY).await;
    project.seed(&[day()], 40, 1).await;
    (world, project, clock)
}

/// The message of a run that exports the day until this hour.
fn until(run: &str, hour: u32) -> Vec<u8> {
    format!(
        r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"{run}","from":"{DAY}T00:00:00Z","until":"{DAY}T{hour:02}:00:00Z"}}"#
    )
    .into_bytes()
}

#[tokio::test]
async fn a_step_that_posthog_does_not_take_is_discarded_and_says_why() {
    let (world, project, _clock) = world_at("10:35").await;
    let worker = world
        .ready_worker(&[
            ("SEND_TIMEOUT", "900ms"),
            ("RETRY_BUDGET", "1s"),
            ("RETRY_RUNGS", "1s×1,1h×3"),
        ])
        .await;
    world.posthog.script(Rule::always(Behavior::status(503)));
    world.publish_job(&until("step-0000", 10)).await;
    worker
        .wait_outcome(Outcome::Retry, Some(Cause::PosthogUnavailable))
        .await;
    worker
        .wait_outcome(Outcome::Discarded, Some(Cause::PosthogUnavailable))
        .await;
    project.wait_state(DAY, "step-0000", "discarded").await;
    assert_eq!(
        (
            project.field("step-0000", "error_code").await.as_deref(),
            project.field("step-0000", "attempt").await.as_deref()
        ),
        (Some("posthog_unavailable"), Some("2"))
    );
    assert_eq!(world.queue_depth(DEAD).await, 0);
    // The next one exports its rows, too.
    world.posthog.behave();
    world.publish_job(&until("step-0000-2", 10)).await;
    project.wait_state(DAY, "step-0000-2", "completed").await;
    assert!(world.posthog.counts(KEY).stored > 0);
}

#[tokio::test]
async fn a_step_with_a_wrong_key_pauses_its_project_without_a_dead_letter() {
    let (world, project, _clock) = world_at("10:35").await;
    let worker = world.ready_worker(&[]).await;
    world.posthog.forget_key(KEY);
    world.publish_job(&until("step-0000", 9)).await;
    worker.wait_outcome(Outcome::Discarded, Some(Cause::Unauthorized)).await;
    world.publish_job(&until("step-0000-2", 10)).await;
    worker.wait_outcome(Outcome::Skipped, Some(Cause::ProjectPaused)).await;
    project.wait_state(DAY, "step-0000", "discarded").await;
    project.wait_state(DAY, "step-0000-2", "skipped").await;
    assert_eq!(world.queue_depth(DEAD).await, 0);
}

#[tokio::test]
async fn a_part_that_has_not_ended_is_refused() {
    let (world, project, clock) = world_at("09:59").await;
    let worker = world.ready_worker(&[]).await;
    world.publish_job(&until("step-0000", 10)).await;
    worker.wait_outcome(Outcome::Dead, Some(Cause::DayNotOver)).await;
    assert_eq!(world.dead_letter().await.headers["x-error-code"], "day_not_over");
    clock.set(format!("{DAY} 10:00")).await;
    world.publish_job(&until("step-0000", 10)).await;
    project.wait_state(DAY, "step-0000", "completed").await;
}
