//! Runs that leave out what completed runs have sent, and runs of a part of a day.

use testkit::langfuse::add_integration;
use testkit::posthog::{Behavior, Rule};
use testkit::{Cause, Count, Outcome, World};

use crate::{DAY, KEY, PROJECT, day, world};

/// The message of a run, with these fields beside those that every message has.
fn message(run: &str, fields: &str) -> Vec<u8> {
    format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"{run}",{fields}}}"#).into_bytes()
}

async fn alter(world: &World, change: &'static str) {
    sqlx::raw_sql(change).execute(&world.pool()).await.unwrap();
}

/// Makes all rows look as if nobody had touched them since their day.
async fn lie_still(world: &World) {
    for change in [
        "update traces set created_at = '2024-06-01 23:59', updated_at = '2024-06-01 23:59'",
        "update observations set created_at = '2024-06-01 23:59', updated_at = '2024-06-01 23:59'",
        "update scores set created_at = '2024-06-01 23:59', updated_at = '2024-06-01 23:59'",
    ] {
        alter(world, change).await;
    }
}

async fn number(world: &World, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&world.pool()).await.unwrap()
}

#[tokio::test]
async fn what_was_touched_since_is_sent_again_and_nothing_else() {
    let (world, project) = world().await;
    project.seed(&[day()], 60, 1).await;
    lie_still(&world).await;
    let _worker = world
        .ready_worker(&[("PAGE_ROWS", "7"), ("BATCH_MAX_EVENTS", "5")])
        .await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    let sends = async |run: &str| {
        world.publish_job(&message(run, r#""changed":true"#)).await;
        project.wait_state(DAY, run, "completed").await;
        project.assert_delivered(&[DAY]).await;
        project.count(run, Count::Sent).await
    };
    assert_eq!(sends("still").await, 0);

    // Its trace's user stands in each of its events.
    alter(
        &world,
        "update traces set name = 'another', updated_at = now() at time zone 'UTC'
         where id = (select min(trace_id) from scores)",
    )
    .await;
    let of_trace = number(
        &world,
        "with t as (select min(trace_id) as id from scores)
         select 1 + (select count(*) from observations o, t where trace_id = t.id and type = 'GENERATION')
                  + (select count(*) from scores s, t where trace_id = t.id)",
    )
    .await;
    assert!(of_trace > 1);
    assert_eq!(sends("trace").await, of_trace);

    // What was touched lately may have been read or not: it is sent once more. And a trace's
    // observations stand in its totals.
    alter(
        &world,
        "update observations set end_time = start_time + interval '5 seconds', updated_at = now() at time zone 'UTC'
         where id = (select max(id) from observations where type <> 'GENERATION')",
    )
    .await;
    assert_eq!(sends("span").await, of_trace + 1);
    alter(
        &world,
        "update posthog_export.runs set started_at = started_at + interval '10 minutes' where run = 'span'",
    )
    .await;
    assert_eq!(sends("quiet").await, 0);
    let walked = "select count(*) from posthog_export.streams where run = 'quiet' and done and cursor_id is not null";
    assert_eq!(number(&world, walked).await, 3, "each stream was walked to its end");
}

#[tokio::test]
async fn parts_of_a_day_and_the_rest_of_it_are_sent_once() {
    let (world, project) = world().await;
    project.seed(&[day()], 80, 2).await;
    lie_still(&world).await;
    let _worker = world.ready_worker(&[("PAGE_ROWS", "9")]).await;
    let part =
        |from: &str, until: &str| format!(r#""changed":true,"from":"{DAY}T{from}:00Z","until":"{DAY}T{until}:00Z""#);
    for (run, from, until) in [
        ("early", "00:00", "08:00"),
        ("noon", "10:00", "12:00"),
        ("again", "07:00", "11:00"),
    ] {
        world.publish_job(&message(run, &part(from, until))).await;
        project.wait_state(DAY, run, "completed").await;
    }
    let before_noon = number(
        &world,
        "select (select count(*) from traces where timestamp < '2024-06-01 12:00')
              + (select count(*) from observations where start_time < '2024-06-01 12:00' and type = 'GENERATION')
              + (select count(*) from scores where timestamp < '2024-06-01 12:00')",
    )
    .await;
    assert_eq!(i64::try_from(world.posthog.counts(KEY).stored), Ok(before_noon));
    world.publish_job(&message("daily", r#""changed":true"#)).await;
    project.wait_state(DAY, "daily", "completed").await;
    project.assert_delivered(&[DAY]).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}

#[tokio::test]
async fn a_step_of_a_day_that_is_over_is_discarded_without_a_word_to_posthog() {
    let (world, project) = world().await;
    project.seed(&[day()], 10, 3).await;
    let _worker = world.ready_worker(&[]).await;
    let span = format!(r#""changed":true,"from":"{DAY}T09:00:00Z","until":"{DAY}T10:00:00Z""#);
    world.publish_job(&message("step-0900", &span)).await;
    project.wait_state(DAY, "step-0900", "discarded").await;
    assert!(world.posthog.batches().is_empty());
}

/// A run began when it was first claimed, not when it read its first page in a later attempt: a row
/// that it had sent by then, and that changed before it went on, is sent by the next run.
#[tokio::test]
async fn a_row_that_changed_behind_the_cursor_of_a_run_on_the_ladder_is_sent_by_the_next() {
    let (world, project) = world().await;
    let clock = world.clock("2024-06-02 00:35").await;
    project.seed(&[day()], 60, 4).await;
    lie_still(&world).await;
    alter(
        &world,
        "update scores set created_at = timestamp, updated_at = timestamp",
    )
    .await;
    world.posthog.script(Rule::next(1, Behavior::Ok));
    world.posthog.script(Rule::always(Behavior::status(503)));
    let worker = world
        .ready_worker(&[
            ("PAGE_ROWS", "7"),
            ("BATCH_MAX_EVENTS", "5"),
            ("SENDS_IN_FLIGHT", "1"),
            ("SEND_TIMEOUT", "900ms"),
            ("RETRY_BUDGET", "1s"),
            ("RETRY_RUNGS", "5s×5"),
        ])
        .await;
    world.publish_job(&message("scores", r#""events":["score"]"#)).await;
    worker
        .wait_outcome(Outcome::Retry, Some(Cause::PosthogUnavailable))
        .await;
    clock.set("2024-06-02 01:00").await;
    alter(
        &world,
        "update scores set comment = 'changed', updated_at = '2024-06-02 01:00'
         where (timestamp, id) = (select cursor_time, cursor_id from posthog_export.streams)",
    )
    .await;
    let behind = "select count(*) from scores where comment = 'changed'";
    assert_eq!(number(&world, behind).await, 1, "the fault did not bite");
    clock.set("2024-06-02 01:30").await;
    world.posthog.behave();
    project.wait_state(DAY, "scores", "completed").await;
    let changed = r#""events":["score"],"changed":true"#;
    world.publish_job(&message("next", changed)).await;
    project.wait_state(DAY, "next", "completed").await;
    assert_eq!(project.count("next", Count::Sent).await, 1);
}

/// What was sent to another PostHog project was not sent to this one.
#[tokio::test]
async fn what_another_target_holds_is_sent_to_this_one() {
    let (world, project) = world().await;
    project.seed(&[day()], 30, 5).await;
    lie_still(&world).await;
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    let sent = project.count("daily", Count::Sent).await;
    assert!(sent > 0);
    world.posthog.known_key("phc_another");
    add_integration(&world.pool(), PROJECT, &world.posthog.url(), "phc_another", true).await;
    world.publish_job(&message("settled", r#""changed":true"#)).await;
    project.wait_state(DAY, "settled", "completed").await;
    assert_eq!(project.count("settled", Count::Sent).await, sent);
}
