//! What arrives.

use testkit::{Outcome, langfuse, seed};

use crate::{DAY, KEY, PATIENCE, PROJECT, assert_delivered, counts, day, field, message, publish, world};

/// Where nothing may be sent twice: a busy machine answers late.
const PATIENT: [(&str, &str); 2] = [("SEND_TIMEOUT", "20s"), ("RETRY_BUDGET", "30s")];

#[tokio::test]
async fn a_day_arrives_complete_and_exactly() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day(), day().succ_opt().unwrap()], 700, 1).await;
    let worker = world
        .worker(&[("PAGE_ROWS", "100"), ("BATCH_MAX_EVENTS", "70"), PATIENT[0], PATIENT[1]])
        .await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_delivered(&world).await;

    let stored = world.posthog.counts(KEY);
    assert_eq!(stored.resent, 0);
    assert_eq!(
        counts(&world, "daily").await,
        (i64::try_from(stored.stored).unwrap(), 0)
    );
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
    let world = world().await;
    seed::adversarial(&world.pool(), PROJECT, day()).await;
    let worker = world.worker(&[("PAGE_ROWS", "7")]).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_delivered(&world).await;
    assert_eq!(counts(&world, "daily").await.1, 0, "nothing was refused");
}

#[tokio::test]
async fn tags_are_a_list_however_they_are_stored() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day()], 2, 1).await;
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
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
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
    let world = world().await;
    seed::ties(&world.pool(), PROJECT, day(), 10_000).await;
    let worker = world.worker(&[("PAGE_ROWS", "999"), PATIENT[0], PATIENT[1]]).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_delivered(&world).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
}

#[tokio::test]
async fn a_day_without_rows_completes_with_no_event() {
    let world = world().await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_eq!(counts(&world, "daily").await, (0, 0));
    assert!(world.posthog.batches().is_empty());
}

#[tokio::test]
async fn a_replay_is_a_bare_message_and_keeps_no_second_copy() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day()], 300, 2).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    let once = world.posthog.counts(KEY);

    publish(
        &world,
        format!(r#"{{"project_id": "{PROJECT}", "day": "{DAY}"}}"#).as_bytes(),
    )
    .await;
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
    assert_delivered(&world).await;

    // Straight to the queue, as the management UI's queue page does.
    assert!(
        world
            .publish("amq.default", "posthog-export.jobs", &message("daily"))
            .await
    );
    worker.wait_outcome(Outcome::DoneBefore, None).await;
    assert_eq!(world.posthog.counts(KEY).received, twice.received);
}

#[tokio::test]
async fn a_replay_may_be_of_some_streams_only() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day()], 100, 3).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    publish(
        &world,
        format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"s","events":["score"]}}"#).as_bytes(),
    )
    .await;
    world.wait_state(PROJECT, DAY, "s", "completed").await;
    let events = world.posthog.events(KEY);
    assert!(!events.is_empty() && events.iter().all(|event| event["event"] == "langfuse score"));
}

#[tokio::test]
async fn a_changed_target_is_exported_to_from_the_beginning() {
    let world = world().await;
    seed::realistic(&world.pool(), PROJECT, &[day()], 50, 4).await;
    let worker = world.worker(&[]).await;
    worker.wait_ready().await;
    publish(&world, &message("daily")).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    let before = field(&world, "daily", "target").await.unwrap();

    sqlx::query("delete from posthog_integrations")
        .execute(&world.pool())
        .await
        .unwrap();
    world.posthog.known_key("phc_another");
    langfuse::add_integration(&world.pool(), PROJECT, &world.posthog.url(), "phc_another", true).await;
    publish(&world, &message("daily")).await;
    let complete = async || world.posthog.counts("phc_another").stored == world.posthog.counts(KEY).stored;
    world.wait_until("the other key has it all", PATIENCE, complete).await;
    world.wait_state(PROJECT, DAY, "daily", "completed").await;
    assert_ne!(field(&world, "daily", "target").await.unwrap(), before);
}
