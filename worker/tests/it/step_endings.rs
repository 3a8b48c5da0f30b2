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
    let (world, project, clock) = world_at("08:30").await;
    let worker = world.ready_worker(&[]).await;
    world.publish_job(&until("step-0000", 10)).await;
    worker.wait_outcome(Outcome::Dead, Some(Cause::DayNotOver)).await;
    assert_eq!(world.dead_letter().await.headers["x-error-code"], "day_not_over");
    clock.set(format!("{DAY} 10:00")).await;
    world.publish_job(&until("step-0000", 10)).await;
    project.wait_state(DAY, "step-0000", "completed").await;
}

#[tokio::test]
async fn a_row_never_says_more_than_the_message_that_was_worked_on() {
    let (world, project, _clock) = world_at("11:35").await;
    // The producer's record of an earlier message of that name is lost; a later one is recorded.
    sqlx::raw_sql(
        "insert into posthog_export.runs (project_id, day, run, span_from, span_until)
         values ('project one', '2024-06-01', 'step-0000', '2024-06-01 00:00Z', '2024-06-01 11:00Z')",
    )
    .execute(&world.pool())
    .await
    .unwrap();
    let worker = world.ready_worker(&[]).await;
    world.publish_job(&until("step-0000", 10)).await;
    project.wait_state(DAY, "step-0000", "completed").await;
    let says = project.field("step-0000", "span_until").await.unwrap();
    assert!(says.starts_with("2024-06-01T10:00:00"), "{says}");
    world.publish_job(&until("step-0000", 11)).await;
    worker.wait_outcome(Outcome::DoneBefore, None).await;
    // What is left of the morning is the rest of the day's.
    let rest = format!(
        r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"rest","changed":true,"from":"{DAY}T00:00:00Z","until":"{DAY}T11:00:00Z"}}"#
    );
    world.publish_job(rest.as_bytes()).await;
    project.wait_state(DAY, "rest", "completed").await;
    let of_the_morning: i64 = sqlx::query_scalar(
        "select (select count(*) from traces where timestamp < '2024-06-01 11:00')
              + (select count(*) from observations where start_time < '2024-06-01 11:00' and type = 'GENERATION')
              + (select count(*) from scores where timestamp < '2024-06-01 11:00')",
    )
    .fetch_one(&world.pool())
    .await
    .unwrap();
    assert_eq!(i64::try_from(world.posthog.counts(KEY).stored), Ok(of_the_morning));
}

#[tokio::test]
async fn a_step_of_a_day_that_is_over_does_not_wait_for_a_host_that_is_away() {
    let (world, project, clock) = world_at("10:35").await;
    let other = "2024-05-31";
    project.seed(&[other.parse().unwrap()], 10, 2).await;
    let worker = world
        .ready_worker(&[
            ("WORKER_CONCURRENCY", "2"),
            ("RETRY_BUDGET", "30s"),
            ("RETRY_RUNGS", "1s×9"),
        ])
        .await;
    world.posthog.script(Rule::always(Behavior::status(503)));
    project.publish(other, "daily").await;
    world.posthog.until(|posthog| posthog.batches().len() > 1).await;
    world.publish_job(&until("step-0000", 10)).await;
    worker.wait_outcome(Outcome::Later, Some(Cause::HostBusy)).await;
    clock.set("2024-06-02 00:35").await;
    worker.wait_outcome(Outcome::Superseded, None).await;
    project.wait_state(DAY, "step-0000", "discarded").await;
}
