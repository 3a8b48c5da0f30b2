//! What arrives.

use testkit::{Count, JOBS, Outcome, langfuse, seed};

use crate::{DAY, KEY, PATIENCE, PROJECT, day, world};

/// For tests in which nothing may be sent twice: on a busy machine answers may be late.
const PATIENT: [(&str, &str); 2] = [("SEND_TIMEOUT", "20s"), ("RETRY_BUDGET", "30s")];

/// The message of a run that exports other observations, too.
fn of_all_kinds(run: &str) -> Vec<u8> {
    let events = r#"["trace","generation","score","observation"]"#;
    format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"{run}","events":{events}}}"#).into_bytes()
}

#[tokio::test]
async fn a_day_arrives_complete_and_exactly() {
    let (world, project) = world().await;
    project.seed(&[day(), day().succ_opt().unwrap()], 700, 1).await;
    let worker = world
        .ready_worker(&[("PAGE_ROWS", "100"), ("BATCH_MAX_EVENTS", "70"), PATIENT[0], PATIENT[1]])
        .await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;

    let stored = world.posthog.counts(KEY);
    assert_eq!(stored.resent, 0);
    let sent = project.count("daily", Count::Sent).await;
    assert_eq!(usize::try_from(sent), Ok(stored.stored));
    assert_eq!(project.count("daily", Count::Rejected).await, 0);
    for batch in world.posthog.batches() {
        assert_eq!(batch.header("content-encoding"), Some("gzip"));
        assert_eq!(batch.header("content-type"), Some("application/json"));
        assert!(!batch.sent_at && batch.events <= 70);
    }
    let metrics = worker.metrics().await;
    assert!(
        metrics.contains("posthog_export_events_total{kind=\"trace\"} 700"),
        "{metrics}"
    );
}

#[tokio::test]
async fn rows_of_every_ugly_shape_arrive() {
    let (world, project) = world().await;
    seed::adversarial(&world.pool(), PROJECT, day()).await;
    let _worker = world.ready_worker(&[("PAGE_ROWS", "7")]).await;
    world.publish_job(&of_all_kinds("daily")).await;
    project.wait_state(DAY, "daily", "completed").await;
    project.assert_all_kinds_delivered(&[DAY]).await;
    assert_eq!(project.count("daily", Count::Rejected).await, 0, "nothing was refused");
}

#[tokio::test]
async fn tags_are_a_list_however_they_are_stored() {
    let (world, project) = world().await;
    project.seed(&[day()], 2, 1).await;
    let stored = ["{{a,b},{c,d}}", "[0:1]={a,b}"];
    for (number, tags) in stored.into_iter().enumerate() {
        let nth = "update traces set tags = $1::text::text[] where id = (select id from traces order by id offset $2 limit 1)";
        sqlx::query(nth)
            .bind(tags)
            .bind(i64::try_from(number).unwrap())
            .execute(&world.pool())
            .await
            .unwrap();
    }
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    let events = world.posthog.events(KEY);
    let mut tags: Vec<&serde_json::Value> = events
        .iter()
        .filter(|event| event["event"] == "langfuse trace")
        .map(|event| &event["properties"]["langfuse_tags"])
        .collect();
    tags.sort_by_key(|tags| tags.as_array().map(Vec::len));
    assert_eq!(
        tags,
        [&serde_json::json!(["a", "b"]), &serde_json::json!(["a", "b", "c", "d"])]
    );
}

#[tokio::test]
async fn ten_thousand_rows_in_one_millisecond_arrive() {
    let (world, project) = world().await;
    seed::ties(&world.pool(), PROJECT, day(), 10_000).await;
    let _worker = world
        .ready_worker(&[("PAGE_ROWS", "999"), PATIENT[0], PATIENT[1]])
        .await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}

#[tokio::test]
async fn a_day_without_rows_completes_with_no_event() {
    let (world, project) = world().await;
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    for count in [Count::Sent, Count::Rejected] {
        assert_eq!(project.count("daily", count).await, 0);
    }
    assert!(world.posthog.batches().is_empty());
}

#[tokio::test]
async fn a_replay_is_a_bare_message_and_keeps_no_second_copy() {
    let (world, project) = world().await;
    project.seed(&[day()], 300, 2).await;
    let worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    let once = world.posthog.counts(KEY);

    world.publish_job(&project.replay(DAY)).await;
    let replayed = "select run from posthog_export.runs where run like 'replay-%' and state = 'completed'";
    let look = async || {
        sqlx::query_scalar::<_, String>(replayed)
            .fetch_optional(&world.pool())
            .await
            .unwrap()
    };
    world.wait_until("the replay is completed", PATIENCE, look).await;
    let twice = world.posthog.counts(KEY);
    assert_eq!(
        (twice.stored, twice.resent, twice.changed),
        (once.stored, once.stored, 0)
    );
    project.assert_delivered(&[DAY]).await;

    // Published straight to the queue, as the queue page of the management UI does it.
    assert!(world.publish("amq.default", JOBS, &project.message(DAY, "daily")).await);
    worker.wait_outcome(Outcome::DoneBefore, None).await;
    assert_eq!(world.posthog.counts(KEY).received, twice.received);
}

#[tokio::test]
async fn a_replay_may_be_of_some_streams_only() {
    let (world, project) = world().await;
    project.seed(&[day()], 100, 3).await;
    let _worker = world.ready_worker(&[]).await;
    let scores = format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"s","events":["score"]}}"#);
    world.publish_job(scores.as_bytes()).await;
    project.wait_state(DAY, "s", "completed").await;
    let events = world.posthog.events(KEY);
    assert!(!events.is_empty() && events.iter().all(|event| event["event"] == "langfuse score"));
}

/// The message alone decides: a job that does not name them leaves other observations out.
#[tokio::test]
async fn other_observations_are_a_stream_where_the_message_names_them() {
    let (world, project) = world().await;
    project.seed(&[day()], 120, 5).await;
    let worker = world.ready_worker(&[("PAGE_ROWS", "50"), PATIENT[0], PATIENT[1]]).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;

    let others = format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"o","events":["observation"]}}"#);
    world.publish_job(others.as_bytes()).await;
    project.wait_state(DAY, "o", "completed").await;
    project.assert_all_kinds_delivered(&[DAY]).await;
    let stored = world.posthog.counts(KEY);
    assert_eq!(stored.resent, 0, "nothing but observations was sent");
    let sent = project.count("o", Count::Sent).await;
    let metrics = worker.metrics().await;
    let counted = format!("posthog_export_events_total{{kind=\"observation\"}} {sent}");
    assert!(sent >= 240 && metrics.contains(&counted), "{metrics}");

    // A whole run with them is one run, and folds into what is there.
    world.publish_job(&of_all_kinds("all")).await;
    project.wait_state(DAY, "all", "completed").await;
    project.assert_all_kinds_delivered(&[DAY]).await;
    let again = world.posthog.counts(KEY);
    assert_eq!((again.stored, again.changed), (stored.stored, 0));
}

#[tokio::test]
async fn a_changed_target_is_exported_to_from_the_beginning() {
    let (world, project) = world().await;
    project.seed(&[day()], 50, 4).await;
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    let before = project.field("daily", "target").await.unwrap();

    sqlx::query("delete from posthog_integrations")
        .execute(&world.pool())
        .await
        .unwrap();
    world.posthog.known_key("phc_another");
    langfuse::add_integration(&world.pool(), PROJECT, &world.posthog.url(), "phc_another", true).await;
    project.publish(DAY, "daily").await;
    let complete = async || world.posthog.counts("phc_another").stored == world.posthog.counts(KEY).stored;
    world.wait_until("the other key has it all", PATIENCE, complete).await;
    project.wait_state(DAY, "daily", "completed").await;
    assert_ne!(project.field("daily", "target").await.unwrap(), before);
}
