//! Bad input: each ends as a dead letter with its reason, the body untouched, and its neighbours
//! unaffected.

use testkit::{DEAD, JOBS, Message, langfuse, seed};

use crate::{DAY, PATIENCE, PROJECT, day, world};

async fn refused(body: &str, code: &str, reason: &str) {
    let (world, project) = world().await;
    let _worker = world.ready_worker(&[]).await;
    world.publish_job(body.as_bytes()).await;
    let Message {
        body: dead, headers, ..
    } = world.dead_letter().await;
    assert_eq!(dead, body.as_bytes());
    assert_eq!(headers["x-error-code"], code);
    let error = headers["x-error"].as_str().unwrap();
    assert!(error.contains(reason), "{error}");
    // Its neighbour is exported all the same.
    project.seed(&[day()], 5, 1).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn no_json() {
    refused("select * from users", "bad_message", "expected").await;
}

#[tokio::test]
async fn an_unknown_field() {
    refused(
        r#"{"project_id":"p","day":"2024-06-01","dya":"x"}"#,
        "bad_message",
        "dya",
    )
    .await;
}

#[tokio::test]
async fn a_missing_field() {
    refused(r#"{"day":"2024-06-01"}"#, "bad_message", "project_id").await;
}

#[tokio::test]
async fn a_bad_date() {
    refused(r#"{"project_id":"p","day":"2024-02-30"}"#, "bad_message", "YYYY-MM-DD").await;
}

/// It does not fit into an index of the ledger.
#[tokio::test]
async fn a_project_id_of_ten_thousand_bytes() {
    let id: String = (0..10_000_u32)
        .map(|n| char::from(b'!' + (n * 7919 % 89) as u8))
        .collect();
    let body = serde_json::json!({"project_id": id, "day": DAY, "run": "r"}).to_string();
    refused(&body, "bad_message", "10000 bytes").await;
}

#[tokio::test]
async fn a_list_of_the_fields() {
    refused(r#"["p1","2024-02-29"]"#, "bad_message", "JSON object").await;
}

#[tokio::test]
async fn a_day_that_is_not_over() {
    refused(
        &format!(r#"{{"project_id":"{PROJECT}","day":"2999-01-01","run":"r"}}"#),
        "day_not_over",
        "not ended",
    )
    .await;
}

/// A replay that was published by hand is in the ledger as soon as it has a run, not only once a
/// worker has claimed it.
#[tokio::test]
async fn a_replay_that_waits_is_queued_in_the_ledger() {
    let (world, project) = world().await;
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, lease_token, lease_expires_at)
         values ($1, $2::text::date, 'daily', 'running', gen_random_uuid(), now() + interval '1 hour')",
    )
    .bind(PROJECT)
    .bind(DAY)
    .execute(&world.pool())
    .await
    .unwrap();
    let _worker = world.ready_worker(&[]).await;
    let body = format!(r#"{{"project_id":"{PROJECT}","day":"{DAY}","events":["score"]}}"#);
    world.publish_job(body.as_bytes()).await;
    let queued = "select count(*) from posthog_export.runs
        where run like 'replay-%' and state = 'queued' and events = '{score}'";
    let look = async || {
        let found = sqlx::query_scalar::<_, i64>(queued).fetch_one(&world.pool()).await;
        found.unwrap() == 1
    };
    world.wait_until("the replay is queued", PATIENCE, look).await;
    assert_eq!(project.state(DAY, "daily").await, "running");
}

/// The broker is about to give the message up, and it could not tell the ledger: `enqueue` would
/// publish the run again for ever.
#[tokio::test]
async fn one_that_kills_workers_before_its_claim_is_dead_in_the_ledger() {
    let (world, project) = world().await;
    project.seed(&[day()], 5, 1).await;
    sqlx::query("insert into posthog_export.runs (project_id, day, run) values ($1, $2::text::date, 'daily')")
        .bind(PROJECT)
        .bind(DAY)
        .execute(&world.pool())
        .await
        .unwrap();
    world.succeeds(&["declare"]).await;
    project.publish(DAY, "daily").await;
    world.fail_deliveries(JOBS, 18).await;
    let _worker = world.ready_worker(&[]).await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.headers["x-error-code"], "delivery_limit", "{}", letter.headers);
    assert_eq!(project.state(DAY, "daily").await, "dead");
    assert!(world.posthog.batches().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn one_that_was_delivered_in_vain_a_few_times_is_exported() {
    let (world, project) = world().await;
    project.seed(&[day()], 5, 1).await;
    world.succeeds(&["declare"]).await;
    project.publish(DAY, "daily").await;
    world.fail_deliveries(JOBS, 17).await;
    let _worker = world.ready_worker(&[]).await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn an_unknown_project() {
    refused(
        r#"{"project_id":"nobody","day":"2024-06-01","run":"r"}"#,
        "unknown_project",
        "nobody",
    )
    .await;
}

/// A project with these settings ends as a dead letter with this code.
async fn settings_refused(host: Option<&str>, stored_key: Option<&str>, allow: &str, code: &str) {
    let (world, project) = world().await;
    let pool = world.pool();
    sqlx::query("delete from posthog_integrations")
        .execute(&pool)
        .await
        .unwrap();
    let url = world.posthog.url();
    if let Some(host) = host {
        let host = if host.is_empty() { url.as_str() } else { host };
        match stored_key {
            Some(stored) => langfuse::add_integration_as_stored(&pool, PROJECT, host, stored, true).await,
            None => langfuse::add_integration(&pool, PROJECT, host, "phc_unknown_to_posthog", true).await,
        }
    }
    seed::realistic(&pool, PROJECT, &[day()], 5, 1).await;
    let worker = world.ready_worker(&[("EGRESS_ALLOW", allow)]).await;
    project.publish(DAY, "daily").await;
    let headers = world.dead_letter().await.headers;
    assert_eq!(headers["x-error-code"], code, "{headers}");
    assert!(headers["x-first-failed-at"].is_string());
    project.wait_state(DAY, "daily", "dead").await;
    assert_eq!(project.field("daily", "error_code").await.as_deref(), Some(code));
    assert!(world.posthog.batches().is_empty(), "nothing was sent");
    assert!(
        !worker.log().contains("phc_unknown_to_posthog"),
        "the key reached the log"
    );
}

#[tokio::test]
async fn no_integration() {
    settings_refused(None, None, "127.0.0.1", "no_integration").await;
}

#[tokio::test]
async fn a_key_that_cannot_be_decrypted() {
    settings_refused(Some(""), Some("00:11:22"), "127.0.0.1", "key_undecryptable").await;
}

#[tokio::test]
async fn a_key_that_posthog_does_not_know() {
    settings_refused(Some(""), None, "127.0.0.1", "unauthorized").await;
}

#[tokio::test]
async fn a_host_that_is_no_url() {
    settings_refused(Some("posthog"), None, "127.0.0.1", "bad_host").await;
}

#[tokio::test]
async fn plain_http_to_a_host_that_is_not_listed() {
    settings_refused(Some("http://eu.i.posthog.com"), None, "127.0.0.1", "host_not_allowed").await;
}

#[tokio::test]
async fn a_private_address_that_is_not_listed() {
    settings_refused(Some(""), None, "10.9.8.7", "host_not_allowed").await;
}

#[tokio::test]
async fn a_disabled_integration_is_skipped_and_acked() {
    let (world, project) = world().await;
    sqlx::query("update posthog_integrations set enabled = false")
        .execute(&world.pool())
        .await
        .unwrap();
    let _worker = world.ready_worker(&[]).await;
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "skipped").await;
    assert_eq!(world.queue_depth(DEAD).await, 0);
    sqlx::query("update posthog_integrations set enabled = true")
        .execute(&world.pool())
        .await
        .unwrap();
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
}

#[tokio::test]
async fn bad_environment_variables_are_all_named_at_once() {
    let (world, _) = world().await;
    let bad = [
        ("JOB_SLICE", "soon"),
        ("PAGE_ROWS", "-1"),
        ("AMQP_URL", "http://u:hunter2@h"),
        ("ENCRYPTION_KEY", "xyz"),
    ];
    let worker = world.worker(&bad).await;
    assert_eq!(worker.wait_exit().await.code(), Some(2));
    let log = worker.log();
    for (name, _) in bad {
        assert!(log.contains(name), "{name} in {log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}
