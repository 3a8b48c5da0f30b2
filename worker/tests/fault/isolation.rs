//! A slow or dead PostHog slows the reading, holds up nobody else, and fills no memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::posthog::{Behavior, FakePosthog, Route, Rule};
use testkit::{Cause, Count, Outcome, Project};

use crate::{DAY, KEY, PATIENCE, PROJECT, SMALL, day, ready, world};

#[tokio::test]
async fn a_dead_host_of_one_project_does_not_hold_up_the_others() {
    const DAYS: [&str; 6] = [
        "2024-06-01",
        "2024-06-02",
        "2024-06-03",
        "2024-06-04",
        "2024-06-05",
        "2024-06-06",
    ];
    let (world, project) = world(0).await;
    let dead = FakePosthog::start().await;
    dead.script(Rule::always(Behavior::HangAfterAccept));
    dead.known_key(KEY);
    project.leads_to(&dead.url()).await;
    let days = DAYS.map(|day| day.parse().unwrap());
    project.seed(&days, 10, 1).await;
    let alive = Project::add(&world, "alive", "phc_alive").await;
    alive.seed(&days, 10, 1).await;
    let settings = [
        ("WORKER_CONCURRENCY", "2"),
        ("SEND_TIMEOUT", "2s"),
        ("RETRY_BUDGET", "3s"),
    ];
    let worker = ready(&world, &[&SMALL, &settings]).await;
    // All jobs of the dead host are ahead of the others.
    project.publish_all(&DAYS).await;
    alive.publish_all(&DAYS).await;
    let began = std::time::Instant::now();
    for day in DAYS {
        alive.wait_state(day, "daily", "completed").await;
    }
    let took = began.elapsed();
    assert!(
        worker.count(Outcome::Later, Cause::HostBusy) > 0,
        "the fault did not bite"
    );
    // Six days of the dead host, two at a time, would have taken three budgets before the first of
    // the others.
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test]
async fn a_slow_host_of_one_project_does_not_hold_up_the_others() {
    const DAYS: [&str; 4] = ["2024-06-01", "2024-06-02", "2024-06-03", "2024-06-04"];
    let (world, project) = world(0).await;
    let slow = FakePosthog::start().await;
    slow.script(Rule::always(Behavior::Delay(Duration::from_secs(1))));
    slow.known_key(KEY);
    project.leads_to(&slow.url()).await;
    let days = DAYS.map(|day| day.parse().unwrap());
    project.seed(&days, 150, 1).await;
    let quick = Project::add(&world, "quick", "phc_quick").await;
    quick.seed(&days, 10, 1).await;
    // A host counts as slow when an answer takes longer than a quarter of SEND_TIMEOUT.
    let settings = [
        ("WORKER_CONCURRENCY", "2"),
        ("SENDS_IN_FLIGHT", "4"),
        ("SEND_TIMEOUT", "3s"),
        ("RETRY_BUDGET", "5s"),
    ];
    let worker = ready(&world, &[&SMALL, &settings]).await;
    // All jobs of the slow host are ahead of the others, and two of them at work.
    project.publish_all(&DAYS).await;
    quick.publish_all(&DAYS).await;
    for day in DAYS {
        quick.wait_state(day, "daily", "completed").await;
    }
    // The slow host gets three bodies at a time, so its 52 bodies a day take 17 seconds.
    let ended = "select count(*) from posthog_export.runs where project_id = $1 and state = 'completed'";
    let ended: i64 = sqlx::query_scalar(ended)
        .bind(PROJECT)
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(ended, 0, "the others waited for a day of the slow host");
    assert!(
        worker.count(Outcome::Later, Cause::HostBusy) > 0,
        "the fault did not bite"
    );
    assert_eq!(worker.count(Outcome::Retry, None), 0, "{}", worker.log());
}

#[tokio::test]
async fn a_host_that_is_slow_to_say_whether_it_knows_the_key_keeps_one_job() {
    let (world, project) = world(50).await;
    let next: chrono::NaiveDate = "2024-06-02".parse().unwrap();
    project.seed(&[next], 50, 2).await;
    world
        .posthog
        .script(Rule::always(Behavior::Delay(Duration::from_secs(3))).on(Route::Flags));
    world.posthog.script(Rule::always(Behavior::Hold));
    // A host counts as slow when an answer takes longer than a quarter of SEND_TIMEOUT.
    let settings = [
        ("WORKER_CONCURRENCY", "2"),
        ("SEND_TIMEOUT", "10s"),
        ("RETRY_BUDGET", "20s"),
    ];
    let worker = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    project.publish(next, "daily").await;
    worker.wait_outcome(Outcome::Later, Cause::HostBusy).await;
    let answered = world.posthog.batches().iter().any(|batch| batch.ended.is_some());
    assert!(!answered, "only an answer to a body told that it is slow");
    world.posthog.behave();
    project.all_arrive(&[day(), next]).await;
}

#[tokio::test]
async fn a_host_that_hangs_keeps_nothing_that_another_project_needs() {
    let (world, project) = world(0).await;
    let hanging = FakePosthog::start().await;
    hanging.script(Rule::always(Behavior::Hold));
    hanging.known_key(KEY);
    project.leads_to(&hanging.url()).await;
    project.seed(&[day()], 1_000, 1).await;
    let well = Project::add(&world, "well", "phc_well").await;
    well.seed(&[day()], 300, 2).await;
    let settings = [
        ("WORKER_CONCURRENCY", "2"),
        ("SENDS_IN_FLIGHT", "8"),
        ("SEND_TIMEOUT", "300s"),
        ("RETRY_BUDGET", "310s"),
        ("JOB_SLICE", "320s"),
    ];
    let _worker = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    // That is all that one host may have in flight. More of its pages wait behind, read and packed.
    hanging.held_requests(6).await;
    well.publish(DAY, "daily").await;
    well.wait_state(DAY, "daily", "completed").await;
    let sent: i64 = project.count("daily", Count::Sent).await;
    assert_eq!(sent, 0, "the fault did not bite");
    hanging.behave();
    hanging.release();
}

#[tokio::test]
async fn while_posthog_does_not_answer_only_so_many_pages_are_read() {
    let (world, project) = world(2_000).await;
    world.posthog.script(Rule::always(Behavior::Hold));
    let settings = [("SEND_TIMEOUT", "40s"), ("RETRY_BUDGET", "50s")];
    let worker = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    world.posthog.held_requests(2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let metrics = worker.metrics().await;
    let pages: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("posthog_export_page_duration_seconds_count"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    // There are 40 pages of traces alone. For each stream some are being packed, some are being
    // sent, and one is read ahead.
    assert!((1.0..=18.0).contains(&pages), "{pages} pages were read");
    world.posthog.behave();
    project.arrives(DAY).await;
}

#[tokio::test]
async fn while_posthog_fails_a_job_holds_only_so_many_bodies() {
    let (world, project) = world(600).await;
    // How often each body was tried, by the body's first event. The failure is answered at once, so
    // all bodies wait for their next try.
    let bodies = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let tried = Arc::clone(&bodies);
    let fails = Rule::choose(move |seen| {
        let first = seen.events.first()?["uuid"].as_str()?.to_owned();
        *tried.lock().unwrap().entry(first).or_default() += 1;
        Some(Behavior::status(503))
    });
    world.posthog.script(fails);
    let settings = [
        ("SEND_TIMEOUT", "40s"),
        ("RETRY_BUDGET", "50s"),
        ("SENDS_IN_FLIGHT", "4"),
    ];
    let _worker = ready(&world, &[&SMALL, &settings]).await;
    project.publish(DAY, "daily").await;
    // Long enough for everything that was admitted to be tried over and over.
    let all_again = async || bodies.lock().unwrap().values().filter(|tries| **tries >= 3).count() >= 4;
    world
        .wait_until("bodies are tried again and again", PATIENCE, all_again)
        .await;
    let held = bodies.lock().unwrap().len();
    assert_eq!(held, 4, "bodies at once, of all streams together");
    world.posthog.behave();
    project.arrives(DAY).await;
}

#[tokio::test]
async fn a_failing_project_is_no_reason_to_fail_another() {
    let (world, project) = world(50).await;
    let well = Project::add(&world, "well", "phc_well").await;
    well.seed(&[day()], 50, 2).await;
    world.posthog.script(Rule::always(Behavior::status(402)).for_key(KEY));
    let _worker = ready(&world, &[&SMALL]).await;
    project.publish(DAY, "daily").await;
    well.publish(DAY, "daily").await;
    well.wait_state(DAY, "daily", "completed").await;
    project.wait_state(DAY, "daily", "dead").await;
}
