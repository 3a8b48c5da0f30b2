//! What a job leaves in the log: one line with all that matters, and the trace of the one who asked
//! for it.

use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Map, Value};
use testkit::posthog::{Behavior, Rule};
use testkit::{Count, Ending, Outcome, Worker, World};

use crate::{DAY, PROJECT, day, world};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traceparent() -> String {
    format!("00-{TRACE_ID}-00f067aa0ba902b7-01")
}

/// As a program that knows W3C's trace context publishes.
async fn publish_traced(world: &World, body: &[u8], traceparent: &str) {
    let connection = Connection::connect(&world.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert(
        "traceparent".into(),
        AMQPValue::LongString(LongString::from(traceparent)),
    );
    let properties = BasicProperties::default().with_headers(headers);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("posthog-export".into(), "job".into(), options, body, properties);
    sent.await.unwrap().await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

/// The lines of ended jobs, in order, of a log whose every line is JSON.
fn ends(worker: &Worker) -> Vec<Map<String, Value>> {
    for line in worker.log().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    worker.endings().into_iter().map(|ending| ending.line).collect()
}

#[tokio::test]
async fn a_completed_job_leaves_one_line_with_all_that_matters() {
    let (world, project) = world().await;
    project.seed(&[day()], 60, 1).await;
    let worker = world
        .ready_worker(&[("PAGE_ROWS", "20"), ("SEND_TIMEOUT", "20s"), ("RETRY_BUDGET", "30s")])
        .await;
    publish_traced(&world, &project.message(DAY, "daily"), &traceparent()).await;
    let mut line = worker.wait_outcome(Outcome::Completed, None).await.line;
    project.wait_state(DAY, "daily", "completed").await;
    assert_eq!(ends(&worker).len(), 1);

    let (sent, bytes, batches): (i64, i64, i64) = sqlx::query_as(
        "select sum(sent)::bigint, sum(bytes)::bigint, sum(batches)::bigint from posthog_export.streams",
    )
    .fetch_one(&world.pool())
    .await
    .unwrap();
    assert_eq!(project.count("daily", Count::Sent).await, sent);
    let kinds = ["trace_events", "generation_events", "score_events"];
    let of_kinds: i64 = kinds
        .iter()
        .map(|kind| line.remove(*kind).unwrap().as_i64().unwrap())
        .sum();
    assert_eq!(of_kinds, sent);
    for gone in ["timestamp", "target", "span"] {
        assert!(line.remove(gone).is_some(), "{gone}");
    }
    let duration = line.remove("duration_ms").unwrap();
    assert!(duration.as_u64().is_some_and(|ms| ms > 0 && ms < 60_000), "{duration}");
    let name = line.remove("worker").unwrap();
    assert!(
        name.as_str().unwrap().ends_with(&format!("-{}", worker.pid())),
        "{name}"
    );
    let expected = serde_json::json!({
        "level": "INFO", "message": "completed", "outcome": "completed",
        "project_id": PROJECT, "day": DAY, "run": "daily", "lane": "job",
        "attempt": 1, "slice": 1, "redelivered": false, "trace_id": TRACE_ID,
        "events": sent, "rejected_rows": 0, "batches": batches, "sent_bytes": bytes,
    });
    assert_eq!(Value::Object(line), expected);
}

#[tokio::test]
async fn a_trace_goes_with_its_job_over_rungs_to_the_dead_letters() {
    let (world, project) = world().await;
    project.seed(&[day()], 5, 2).await;
    world.posthog.script(Rule::always(Behavior::status(503)));
    let settings = [
        ("SEND_TIMEOUT", "1s"),
        ("RETRY_BUDGET", "1100ms"),
        ("RETRY_RUNGS", "300ms×1"),
    ];
    let worker = world.ready_worker(&settings).await;
    publish_traced(&world, &project.message(DAY, "daily"), &traceparent()).await;
    let headers = world.dead_letter().await.headers;
    assert_eq!(headers["traceparent"], traceparent());

    let seen: Vec<_> = ends(&worker)
        .iter()
        .map(|line| {
            assert_eq!(line["trace_id"], TRACE_ID);
            assert_eq!(line["error_code"], "posthog_unavailable");
            assert!(line["error"].as_str().unwrap().contains("503"), "{line:?}");
            let field = |name: &str| line[name].as_str().unwrap().to_owned();
            (field("outcome"), field("level"), line["attempt"].as_i64().unwrap())
        })
        .collect();
    let expected = [("retry", "WARN", 1), ("dead", "ERROR", 2)]
        .map(|(outcome, level, attempt)| (outcome.to_owned(), level.to_owned(), attempt));
    assert_eq!(seen, expected);
    assert!(
        ends(&worker)[0]["retry_in_s"]
            .as_f64()
            .is_some_and(|seconds| seconds < 1.0)
    );
}

#[tokio::test]
async fn a_trace_that_is_not_valid_is_replaced_and_a_replay_keeps_its_own() {
    let (world, project) = world().await;
    let worker = world.ready_worker(&[]).await;
    publish_traced(
        &world,
        &project.message(DAY, "daily"),
        "00-not-a-trace; drop table runs",
    )
    .await;
    let line = worker.wait_outcome(Outcome::Completed, None).await.line;
    let made = line["trace_id"].as_str().unwrap();
    assert!(
        made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()),
        "{made}"
    );

    // A message without a run is given one, published again, and exported under the same trace.
    publish_traced(&world, &project.replay(DAY), &traceparent()).await;
    let is_replay = |ending: &Ending| ending.line["trace_id"] == TRACE_ID;
    let line = worker.wait_ending("the replay", is_replay).await.line;
    assert_eq!(line["outcome"], "completed");
    assert!(line["run"].as_str().unwrap().starts_with("replay-"));

    // A message that is no job has a line, too.
    publish_traced(&world, b"no job", &traceparent()).await;
    let line = worker.wait_outcome(Outcome::Dead, None).await.line;
    assert_eq!(
        (&line["error_code"], &line["trace_id"]),
        (&"bad_message".into(), &TRACE_ID.into())
    );
    assert!(!line.contains_key("project_id"), "{line:?}");
    assert_eq!(world.dead_letter().await.headers["traceparent"], traceparent());
}

#[tokio::test]
async fn each_slice_says_which_it_is() {
    let (world, project) = world().await;
    project.seed(&[day()], 100, 3).await;
    let slow = Behavior::Delay(std::time::Duration::from_millis(200));
    world.posthog.script(Rule::always(slow));
    let settings = [
        ("PAGE_ROWS", "20"),
        ("BATCH_MAX_EVENTS", "5"),
        ("SENDS_IN_FLIGHT", "1"),
        ("JOB_SLICE", "2s"),
        ("RETRY_BUDGET", "1900ms"),
        ("SEND_TIMEOUT", "1800ms"),
    ];
    let worker = world.ready_worker(&settings).await;
    project.publish(DAY, "daily").await;
    worker.wait_outcome(Outcome::HandedBack, None).await;
    world.posthog.behave();
    worker.wait_outcome(Outcome::Completed, None).await;
    let lines = ends(&worker);
    let slices: Vec<i64> = lines.iter().map(|line| line["slice"].as_i64().unwrap()).collect();
    assert_eq!(slices, (1..=i64::try_from(lines.len()).unwrap()).collect::<Vec<_>>());
    assert!(lines.len() > 1);
    let traces: std::collections::BTreeSet<String> = lines.iter().map(|line| line["trace_id"].to_string()).collect();
    assert_eq!(traces.len(), 1);
    // The counts are those of the run so far.
    let events: Vec<i64> = lines.iter().map(|line| line["events"].as_i64().unwrap()).collect();
    assert!(
        events.is_sorted() && *events.last().unwrap() == project.count("daily", Count::Sent).await,
        "{events:?}"
    );
}
