//! PostHog fails in every way it has; the day arrives, or ends dead with the right reason.

use std::time::Duration;

use testkit::Count;
use testkit::posthog::{Behavior, Cut, Part, Route, Rule};

use crate::{DAY, KEY, PATIENCE, PROJECT, SMALL, ready, world};

/// The first three answers are this fault, and the day arrives. `sent_again` says whether events
/// must be sent again: yes, if the fake stores them without saying so, else no. It is `None` for a
/// fault that sends the job to the ladder, which may also resend later batches.
async fn survives(fault: Behavior, settings: &[(&str, &str)], sent_again: Option<bool>) {
    let (world, project) = world(60).await;
    world.posthog.script(Rule::next(3, fault));
    // On a busy machine the answers that shall succeed may be slow.
    let patient = [("SEND_TIMEOUT", "20s"), ("RETRY_BUDGET", "30s")];
    let _worker = ready(&world, &[&SMALL, &patient, settings]).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    let counts = world.posthog.counts(KEY);
    if let Some(sent_again) = sent_again {
        assert_eq!(counts.resent > 0, sent_again, "{counts:?}");
    }
    let batches = usize::try_from(project.count("daily", Count::Batches).await).unwrap();
    let asked = world.posthog.batches().len();
    assert!(
        asked > batches,
        "{asked} requests for {batches} batches: the fault did not bite"
    );
}

const IMPATIENT: [(&str, &str); 1] = [("SEND_TIMEOUT", "1s")];

macro_rules! faults {
    ($($name:ident: $fault:expr, $settings:expr, sent_again $sent_again:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            survives($fault, &$settings, $sent_again).await;
        })*
    };
}

faults! {
    it_answers_500: Behavior::status(500), [], sent_again Some(false);
    it_answers_502_with_a_page_of_html: Behavior::Status(502, "<html>bad gateway</html>".into(), vec![]), [], sent_again Some(false);
    it_answers_408: Behavior::status(408), [], sent_again Some(false);
    it_answers_429: Behavior::status(429), [], sent_again Some(false);
    // Even the capped wait is longer than the budget here, so the job waits on the ladder. A test
    // in `retry.rs` holds the cap itself.
    it_answers_429_with_a_time_far_off: Behavior::retry_after(429, 999_999_999), [], sent_again None;
    it_stores_and_answers_500: Behavior::StoreThenStatus(500), [], sent_again Some(true);
    it_stores_some_and_answers_503: Behavior::StoreSomeThenStatus(3, 503), [], sent_again Some(true);
    it_resets_after_the_body: Behavior::StoreThenCut(Cut::Rst), [], sent_again Some(true);
    it_closes_after_the_body: Behavior::StoreThenCut(Cut::Fin), [], sent_again Some(true);
    it_resets_before_the_body: Behavior::CutBeforeReading(Cut::Rst), [], sent_again Some(false);
    it_closes_before_the_body: Behavior::CutBeforeReading(Cut::Fin), [], sent_again Some(false);
    its_answer_ends_in_the_head: Behavior::AnswerPartially(Part::Head), [], sent_again Some(true);
    its_answer_ends_in_the_body: Behavior::AnswerPartially(Part::Body), [], sent_again Some(true);
    it_accepts_and_hangs: Behavior::HangAfterAccept, IMPATIENT, sent_again Some(false);
    its_answer_drips: Behavior::SlowDrip(Duration::from_millis(200)), IMPATIENT, sent_again Some(true);
}

/// Two answers say when to send again. Neither body is sent again before that.
async fn comes_again(when: impl Fn() -> String + Send + 'static, earliest: Duration) {
    let (world, project) = world(60).await;
    let mut left = 2;
    world.posthog.script(Rule::choose(move |_| {
        left -= i32::from(left >= 0);
        (left >= 0).then(|| Behavior::Status(429, String::new(), vec![("retry-after".to_owned(), when())]))
    }));
    // One body at a time, so that the request after a refusal is the same body again.
    let one = [
        ("SENDS_IN_FLIGHT", "1"),
        ("SEND_TIMEOUT", "20s"),
        ("RETRY_BUDGET", "30s"),
    ];
    let _worker = ready(&world, &[&SMALL, &one]).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    assert_eq!(world.posthog.counts(KEY).resent, 0);
    let batches = world.posthog.batches();
    let gaps: Vec<Duration> = batches
        .windows(2)
        .filter(|pair| pair[0].status == Some(429))
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    assert_eq!(gaps.len(), 2, "the fault did not bite");
    assert!(gaps.iter().all(|gap| *gap >= earliest), "{gaps:?}");
}

/// Longer than the pauses that we would make ourselves.
const A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn it_answers_429_with_seconds() {
    comes_again(|| A_WHILE.as_secs().to_string(), A_WHILE).await;
}

#[tokio::test]
async fn it_answers_429_with_a_date() {
    // A date has whole seconds only, so one more is needed.
    comes_again(|| http_date(4), A_WHILE).await;
}

fn http_date(seconds: i64) -> String {
    let at = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds);
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[tokio::test]
async fn it_takes_small_bodies_only() {
    survives_always(Behavior::MaxEventsPerBatch(3)).await;
}

async fn survives_always(fault: Behavior) {
    let (world, project) = world(60).await;
    world.posthog.script(Rule::always(fault));
    let worker = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
    assert!(worker.metrics().await.contains("posthog_export_batch_splits_total"));
}

/// The day ends as a dead letter with this cause; `host` is where the project sends.
async fn ends_dead(host: impl FnOnce(&testkit::World) -> String, code: &str) {
    let (world, project) = world(20).await;
    let host = host(&world);
    project.leads_to(&host).await;
    world.set("RETRY_RUNGS", "300ms×1");
    world.succeeds(&["declare"]).await;
    let _worker = ready(&world, &[&[("SEND_TIMEOUT", "500ms"), ("RETRY_BUDGET", "600ms")]]).await;
    project.publish(DAY, "daily").await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.headers["x-error-code"], code, "{}", letter.headers);
    assert_eq!(project.field("daily", "error_code").await.as_deref(), Some(code));
    assert_eq!(world.posthog.counts(KEY).received, 0);
}

#[tokio::test]
async fn its_port_speaks_no_tls() {
    ends_dead(
        |world| world.posthog.url().replace("http:", "https:"),
        "posthog_unavailable",
    )
    .await;
}

#[tokio::test]
async fn its_name_is_unknown() {
    ends_dead(|_| "https://posthog.invalid".to_owned(), "posthog_unavailable").await;
}

#[tokio::test]
async fn nobody_listens() {
    ends_dead(|_| "http://127.0.0.1:9".to_owned(), "posthog_unavailable").await;
}

#[tokio::test]
async fn it_redirects() {
    let (world, project) = world(20).await;
    let elsewhere = vec![("location".to_owned(), "http://127.0.0.1:9/batch/".to_owned())];
    let redirect = Behavior::Status(307, String::new(), elsewhere);
    world.posthog.script(Rule::always(redirect));
    let _worker = ready(&world, &[]).await;
    project.publish(DAY, "daily").await;
    assert_eq!(world.dead_letter().await.headers["x-error-code"], "endpoint_refused");
}

/// PostHog says 200 to a key it does not know, and drops everything.
#[tokio::test]
async fn it_does_not_know_the_key_and_is_restarted_in_between() {
    let (world, project) = world(20).await;
    world.posthog.forget_key(KEY);
    // The key check itself fails twice. That alone neither refuses the key nor accepts it.
    world
        .posthog
        .script(Rule::next(2, Behavior::status(503)).on(Route::Flags));
    let worker = ready(&world, &[]).await;
    project.publish(DAY, "daily").await;
    assert_eq!(world.dead_letter().await.headers["x-error-code"], "unauthorized");
    assert_eq!(world.posthog.counts(KEY).dropped, 0, "nothing was sent into the void");
    worker.kill();
    world.posthog.known_key(KEY);
    world.succeeds(&["projects", "resume", PROJECT]).await;
    let _second = ready(&world, &[]).await;
    project.publish(DAY, "daily").await;
    project.arrives(DAY).await;
}

#[tokio::test]
async fn what_it_refused_stays_refused_over_restarts_and_is_not_everything() {
    let (world, project) = world(200).await;
    // All traces are refused. Refusals are counted over restarts, and the run ends before the whole
    // day is rejected. A body of two events takes three requests until both are refused. The first
    // worker gets stuck after ten such bodies.
    let mut requests = 0;
    world.posthog.script(Rule::choose(move |_| {
        requests += 1;
        Some(if requests <= 30 {
            Behavior::status(400)
        } else {
            Behavior::HoldUnstored
        })
    }));
    let rejects = async |world: &testkit::World| -> i64 {
        sqlx::query_scalar("select count(*) from posthog_export.rejects")
            .fetch_one(&world.pool())
            .await
            .unwrap()
    };
    let events = [("BATCH_MAX_EVENTS", "2"), ("SENDS_IN_FLIGHT", "1"), ("PAGE_ROWS", "10")];
    let first = ready(&world, &[&events]).await;
    let body = format!(r#"{{"project_id":"{PROJECT}","day":"2024-06-01","run":"traces","events":["trace"]}}"#);
    world.publish_job(body.as_bytes()).await;
    world
        .wait_until("some rows are rejects", PATIENCE, async || rejects(&world).await == 20)
        .await;
    world.posthog.held().await;
    first.kill();
    world.posthog.behave();
    let refuse = Behavior::reject_events_where(|event| event["event"] == "langfuse trace");
    world.posthog.script(Rule::always(refuse));
    let _second = ready(&world, &[&events]).await;
    let letter = world.dead_letter().await;
    assert_eq!(letter.headers["x-error-code"], "mapping_refused");
    // The fiftieth refusal in all ends the run. If counting had begun again after the restart, it
    // would have been the seventieth.
    let after = rejects(&world).await;
    assert!((40..50).contains(&after), "{after} rejects");

    // Once PostHog accepts them, the same run goes on behind its cursor. Another run sends the
    // whole day.
    world.posthog.behave();
    project.publish(DAY, "daily").await;
    project.wait_state(DAY, "daily", "completed").await;
    project.assert_delivered(&[DAY]).await;
}
