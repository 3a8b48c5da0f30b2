//! PostHog misbehaves; the day arrives all the same, or ends dead with the right reason.

use std::sync::Arc;
use testkit::posthog::{Behavior, Cut, Rule};
use testkit::{Cause, Count, Message, Outcome, World};

use crate::{DAY, KEY, PATIENCE, PROJECT, day, world};

/// PostHog behaves by this rule, and the day is delivered all the same.
async fn survives(rule: Rule, settings: &[(&str, &str)]) -> Arc<World> {
    let (world, project) = world().await;
    project.seed(&[day()], 200, 5).await;
    world.posthog.script(rule);
    let settings = [&[("PAGE_ROWS", "50"), ("BATCH_MAX_EVENTS", "20")], settings].concat();
    let worker = world.ready_worker(&settings).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    drop(worker);
    world
}

#[tokio::test]
async fn now_and_then_a_503() {
    survives(Rule::every(4, Behavior::status(503)), &[]).await;
}

#[tokio::test]
async fn a_429_with_retry_after() {
    survives(Rule::next(2, Behavior::retry_after(429, 1)), &[]).await;
}

#[tokio::test]
async fn stored_and_then_cut() {
    let world = survives(Rule::next(3, Behavior::StoreThenCut(Cut::Rst)), &[]).await;
    assert!(world.posthog.counts(KEY).resent > 0, "the fault did not bite");
}

#[tokio::test]
async fn bodies_that_are_too_large_are_halved() {
    survives(Rule::always(Behavior::MaxEventsPerBatch(3)), &[]).await;
}

#[tokio::test]
async fn a_refused_row_is_rejected_alone() {
    let (world, project) = world().await;
    project.seed(&[day()], 200, 6).await;
    let culprit: String = sqlx::query_scalar("select id from traces order by timestamp, id offset 57 limit 1")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    let bad = culprit.clone();
    let refuse = Behavior::reject_events_where(move |event| event["properties"]["langfuse_id"] == bad.as_str());
    world.posthog.script(Rule::always(refuse));
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    let rejects: Vec<(String, String)> = sqlx::query_as("select row_id, reason from posthog_export.rejects")
        .fetch_all(&world.pool())
        .await
        .unwrap();
    assert_eq!(rejects.len(), 1);
    assert_eq!(rejects[0].0, culprit);
    assert!(rejects[0].1.contains("400"), "{}", rejects[0].1);
    assert_eq!(project.count("daily", Count::Rejected).await, 1);
}

#[tokio::test]
async fn when_everything_is_refused_it_is_the_mapping() {
    let (world, project) = world().await;
    project.seed(&[day()], 200, 7).await;
    world
        .posthog
        .script(Rule::always(Behavior::reject_events_where(|_| true)));
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    let headers = world.dead_letter().await.headers;
    assert_eq!(headers["x-error-code"], "mapping_refused");
    assert!(
        project.count("daily", Count::Rejected).await < 200,
        "the day was emptied into the rejects"
    );
}

#[tokio::test]
async fn an_outage_walks_the_ladder_and_ends_dead_when_it_is_used_up() {
    let (world, project) = world().await;
    project.seed(&[day()], 20, 8).await;
    world.posthog.script(Rule::always(Behavior::status(500)));
    let settings = [
        ("SEND_TIMEOUT", "1s"),
        ("RETRY_BUDGET", "1100ms"),
        ("RETRY_RUNGS", "300ms×2,500ms×1"),
    ];
    let _worker = world.ready_worker(&settings).await;
    project.publish(DAY, "daily").await;
    let Message { body, headers, .. } = world.dead_letter().await;
    assert_eq!(body, project.message(DAY, "daily"));
    assert_eq!(
        (&headers["x-error-code"], &headers["x-attempt"]),
        (&"posthog_unavailable".into(), &4.into())
    );
    assert_eq!(project.state(DAY, "daily").await, "dead");

    // A human requeues it once PostHog is back.
    world.posthog.behave();
    world.publish_job(&body).await;
    project.arrives(DAY).await;
    assert_eq!(project.field("daily", "error").await, None);
}

#[tokio::test]
async fn a_dead_letter_says_which_attempt_it_was() {
    let (world, project) = world().await;
    project.seed(&[day()], 5, 9).await;
    world.posthog.script(Rule::always(Behavior::status(500)));
    let settings = [
        ("SEND_TIMEOUT", "1s"),
        ("RETRY_BUDGET", "1100ms"),
        ("RETRY_RUNGS", "1s×3"),
    ];
    let _worker = world.ready_worker(&settings).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "waiting").await;
    world.posthog.behave();
    world.posthog.script(Rule::always(Behavior::status(402)));
    let headers = world.dead_letter().await.headers;
    assert_eq!(
        (&headers["x-error-code"], &headers["x-attempt"]),
        (&"billing_limit".into(), &2.into())
    );
    let moment = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
    let first = project.field("daily", "first_failed_at").await.unwrap();
    assert_eq!(
        moment(headers["x-first-failed-at"].as_str().unwrap()),
        moment(&first),
        "the ledger's moment of the first failure"
    );
}

#[tokio::test]
async fn answers_that_no_retry_mends_end_dead_at_once() {
    for (status, code) in [
        (402, "billing_limit"),
        (403, "endpoint_refused"),
        (302, "endpoint_refused"),
        (401, "unauthorized"),
    ] {
        let (world, project) = world().await;
        project.seed(&[day()], 5, 9).await;
        world.posthog.script(Rule::always(Behavior::status(status)));
        let _worker = world.ready_worker(&[]).await;
        project.publish(DAY, "daily").await;
        let headers = world.dead_letter().await.headers;
        assert_eq!(
            (&headers["x-error-code"], &headers["x-attempt"]),
            (&code.into(), &1.into()),
            "{status}"
        );
    }
}

#[tokio::test]
async fn two_runs_of_a_day_do_not_work_at_once() {
    let (world, project) = world().await;
    project.seed(&[day()], 50, 10).await;
    world.posthog.script(Rule::next(1, Behavior::Hold));
    let worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    world.posthog.held().await;
    project.publish(DAY, "another").await;
    worker.wait_outcome(Outcome::Later, Cause::LeaseHeld).await;
    let state = async || project.field("another", "state").await.is_none();
    world.wait_until("the second run was not begun", PATIENCE, state).await;
    world.posthog.release();
    project.wait_state(DAY, "daily", "completed").await;
    project.wait_state(DAY, "another", "completed").await;
    project.assert_delivered(&[DAY]).await;
}

/// A failure before the claim that no retry mends: the message carries the count, so it ends dead
/// and does not go round the shortest rung for ever.
async fn ends_dead_before_its_claim(broken: &str, mended: &str) {
    let (world, project) = world().await;
    project.seed(&[day()], 5, 9).await;
    let sql = async |statement: &str| {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
        statement.execute(&world.pool()).await.unwrap();
    };
    sql(&format!(
        "insert into posthog_export.runs (project_id, day, run) values ('{PROJECT}', '{DAY}', 'daily'); {broken}"
    ))
    .await;
    let _worker = world.ready_worker(&[("RETRY_RUNGS", "300ms×2,500ms×1")]).await;
    project.publish(DAY, "daily").await;
    let dead = world.dead_letter().await;
    assert_eq!(
        (&dead.headers["x-error-code"], &dead.headers["x-attempt"]),
        (&"database_error".into(), &4.into())
    );
    assert!(dead.headers["x-first-failed-at"].is_string());
    assert_eq!(
        project.state(DAY, "daily").await,
        "dead",
        "nobody would publish it again"
    );
    sql(mended).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn a_ledger_that_refuses_every_claim_ends_dead() {
    ends_dead_before_its_claim(
        "alter table posthog_export.runs add constraint closed check (state <> 'running')",
        "alter table posthog_export.runs drop constraint closed",
    )
    .await;
}

/// The ledger takes every claim and refuses to count the failures. The message counts them, and the
/// lease that is given back each time is no worker's death.
#[tokio::test]
async fn a_ledger_that_refuses_to_count_ends_dead() {
    let (world, project) = world().await;
    project.seed(&[day()], 5, 9).await;
    world.posthog.script(Rule::always(Behavior::status(500)));
    let closed = "alter table posthog_export.runs add constraint closed check (state <> 'waiting')";
    sqlx::raw_sql(closed).execute(&world.pool()).await.unwrap();
    let settings = [
        ("SEND_TIMEOUT", "1s"),
        ("RETRY_BUDGET", "1100ms"),
        ("RETRY_RUNGS", "300ms×2,500ms×1"),
    ];
    let _worker = world.ready_worker(&settings).await;
    project.publish(DAY, "daily").await;
    let dead = world.dead_letter().await;
    assert_eq!(
        (&dead.headers["x-error-code"], &dead.headers["x-attempt"]),
        (&"posthog_unavailable".into(), &4.into())
    );
    let field = async |name| project.field("daily", name).await;
    assert_eq!(field("state").await.as_deref(), Some("dead"));
    assert_eq!(field("attempt").await.as_deref(), Some("4"));
    assert_eq!(field("takeovers").await.as_deref(), Some("0"));
}

#[tokio::test]
async fn settings_that_cannot_be_read_end_dead() {
    ends_dead_before_its_claim(
        "alter table posthog_integrations rename column enabled to switched_on",
        "alter table posthog_integrations rename column switched_on to enabled",
    )
    .await;
}
