//! What is read of the ledger and the broker for `/metrics`.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use shared::freshness::Freshness;
use shared::job::{Day, Job};
use shared::ledger::{Gauges, Ledger};
use testkit::{Outcome, Worker, World, lines};

use crate::{DAY, KEY, PATIENCE, PROJECT, world};

const OFTEN: (&str, &str) = ("METRICS_INTERVAL", "1s");

/// A metric's samples by their labels.
async fn samples(worker: &Worker, name: &str) -> BTreeMap<String, f64> {
    let text = worker.metrics().await;
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    let ours = lines.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'));
    ours.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
        .collect()
}

async fn depth(worker: &Worker, queue: &str) -> f64 {
    samples(worker, "posthog_export_queue_messages").await[&format!("{{queue=\"posthog-export.{queue}\"}}")]
}

async fn wait_depth(world: &World, worker: &Worker, queue: &str, expected: f64) {
    // Compares the bits, so that two unknown depths (NaN) are equal.
    let look = async || depth(worker, queue).await.total_cmp(&expected).is_eq();
    world
        .wait_until(&format!("{queue} holds {expected}"), PATIENCE, look)
        .await;
}

#[tokio::test]
async fn queues_are_counted_without_the_management_plugin_and_survive_one_that_is_missing() {
    let (world, project) = world().await;
    let worker = world.ready_worker(&[("BACKFILL_CONCURRENCY", "0"), OFTEN]).await;
    world.publish_job(b"no job").await;
    assert!(
        world
            .publish("posthog-export", "backfill", &project.message(DAY, "daily"))
            .await
    );
    wait_depth(&world, &worker, "dead-letters", 1.0).await;
    wait_depth(&world, &worker, "backfill", 1.0).await;
    wait_depth(&world, &worker, "jobs", 0.0).await;
    let consumers = samples(&worker, "posthog_export_queue_consumers").await;
    assert_eq!(
        consumers["{queue=\"posthog-export.jobs\"}"].total_cmp(&1.0),
        std::cmp::Ordering::Equal
    );
    assert_eq!(
        consumers["{queue=\"posthog-export.backfill\"}"].total_cmp(&0.0),
        std::cmp::Ordering::Equal
    );

    // A look at a missing queue closes the channel. Nothing else may be disturbed by that.
    let connection = lapin::Connection::connect(&world.amqp_url, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .queue_delete(
            "posthog-export.retry.1s".into(),
            lapin::options::QueueDeleteOptions::default(),
        )
        .await
        .unwrap();
    let unknown = async || depth(&worker, "retry.1s").await.is_nan();
    world.wait_until("the rung is unknown", PATIENCE, unknown).await;
    world.publish_job(b"no job either").await;
    wait_depth(&world, &worker, "dead-letters", 2.0).await;
    wait_depth(&world, &worker, "retry.2s", 0.0).await;
    let log = worker.log();
    assert!(
        !log.contains(lines::SESSION_ENDED) && !log.contains("\"ERROR\",\"message\":\"PRECONDITION"),
        "{log}"
    );
    assert!(!log.contains("\"target\":\"lapin"), "{log}");
}

#[tokio::test]
async fn a_whole_enqueue_is_told_and_a_bounded_one_is_not() {
    let (world, _) = world().await;
    let worker = world.ready_worker(&[OFTEN]).await;
    let last = async || samples(&worker, "posthog_export_last_enqueue_timestamp_seconds").await[""];
    for bounded in [
        &["enqueue", "--project", PROJECT][..],
        &["enqueue", "--from", "2024-06-01"],
        &["enqueue", "--dry-run"],
    ] {
        assert_eq!(world.producer(bounded).await.code, 0);
    }
    assert_eq!(Ledger::new(world.pool()).last_enqueued().await.unwrap(), None);
    assert!(last().await.abs() < 1.0);
    assert_eq!(world.producer(&["enqueue"]).await.code, 0);
    let told = async || last().await > 1e9;
    world.wait_until("the enqueue is told", PATIENCE, told).await;
}

async fn add(world: &World, days_ago: i32, run: &str, state: &str, asked_days_ago: i32) {
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, asked_at, completed_at)
         values ($1, (now() at time zone 'UTC')::date - $2, $3, $4, now() - make_interval(days => $5),
                 case when $4 = 'completed' then now() end)",
    )
    .bind(PROJECT)
    .bind(days_ago)
    .bind(run)
    .bind(state)
    .bind(asked_days_ago)
    .execute(&world.pool())
    .await
    .unwrap();
}

const HOUR: std::time::Duration = std::time::Duration::from_secs(3_600);

/// A step of today; its times are minutes after midnight.
async fn add_step(world: &World, project: &str, from: i32, until: i32, state: &str) {
    sqlx::query(
        "insert into posthog_export.runs (project_id, day, run, state, asked_at, changed, span_from, span_until)
         select $1, d, format('step-%s', to_char(d + make_interval(mins => $2), 'HH24MI')), $4, clock_timestamp(), true,
                (d + make_interval(mins => $2)) at time zone 'UTC', (d + make_interval(mins => $3)) at time zone 'UTC'
         from (select (clock_timestamp() at time zone 'UTC')::date as d) today",
    )
    .bind(project)
    .bind(from)
    .bind(until)
    .bind(state)
    .execute(&world.pool())
    .await
    .unwrap();
}

/// What is read of the ledger's steps: until when today is covered, and since when a step is late.
async fn freshness(world: &World) -> (Option<String>, Option<String>) {
    let ledger = Ledger::new(world.pool());
    let now = ledger.now().await.unwrap();
    let steps = ledger.steps(Day::of(now)).await.unwrap();
    let found = Freshness::of(now, ledger.last_steps().await.unwrap(), &steps);
    let time = |moment: chrono::DateTime<chrono::Utc>| moment.format("%H:%M").to_string();
    (found.covered_until.map(time), found.late_since.map(time))
}

#[tokio::test]
async fn the_freshness_is_that_of_the_project_that_is_furthest_behind() {
    let (world, _) = world().await;
    let clock = world.clock("2024-06-01 23:31").await;
    let ledger = Ledger::new(world.pool());
    let both = |covered: &str, late: &str| {
        let told = |time: &str| (!time.is_empty()).then(|| time.to_owned());
        (told(covered), told(late))
    };
    ledger.record_steps(clock.now().await, HOUR, HOUR / 2).await.unwrap();

    // Near midnight, until the first border of the day is due, there is nothing to be late.
    for (now, late) in [
        ("2024-06-02 00:00", ""),
        ("2024-06-02 01:29", ""),
        ("2024-06-02 01:31", "01:30"),
    ] {
        clock.set(now).await;
        assert_eq!(freshness(&world).await, both("", late), "{now}");
    }

    clock.set("2024-06-02 10:40").await;
    ledger.record_steps(clock.now().await, HOUR, HOUR / 2).await.unwrap();
    for (project, until) in [("p1", 600), ("p2", 600), ("paused", 600), ("disabled", 480)] {
        add_step(&world, project, 0, 420, "completed").await;
        let state = if project == "p1" { "completed" } else { "discarded" };
        add_step(&world, project, 420, until, state).await;
    }
    sqlx::query("insert into posthog_export.paused (project_id, error, paused_by) values ('paused', 'why', 'human')")
        .execute(&world.pool())
        .await
        .unwrap();
    assert_eq!(freshness(&world).await, both("07:00", "08:30"));
    let worker = world.ready_worker(&[OFTEN]).await;
    let shown = async |minutes: f64, late: f64| {
        let age = samples(&worker, "posthog_export_freshness_seconds").await[""] / 60.0;
        let lag = samples(&worker, "posthog_export_lag_seconds").await["{class=\"step\"}"] / 60.0;
        (minutes..minutes + 10.0).contains(&age) && (late..late + 10.0).contains(&lag)
    };
    let behind = async || shown(220.0, 130.0).await;
    world.wait_until("the freshness is shown", PATIENCE, behind).await;

    // The next border's step covers the gap as well, and the project that was left out counts no more.
    clock.set("2024-06-02 11:31").await;
    for project in ["p1", "p2"] {
        add_step(
            &world,
            project,
            if project == "p1" { 600 } else { 419 },
            660,
            "completed",
        )
        .await;
    }
    ledger.record_steps(clock.now().await, HOUR, HOUR / 2).await.unwrap();
    assert_eq!(freshness(&world).await, both("11:00", ""));
    let well = async || shown(31.0, 0.0).await;
    world.wait_until("all is well", PATIENCE, well).await;

    // Switched off in the middle of the day.
    ledger.forget_steps().await.unwrap();
    clock.set("2024-06-02 20:00").await;
    assert_eq!(freshness(&world).await, both("11:00", ""));
}

#[tokio::test]
async fn a_step_is_no_late_day_and_a_settled_run_has_a_lag_of_its_own() {
    let (world, _) = world().await;
    let ledger = Ledger::new(world.pool());
    add(&world, 0, "step-0000", "queued", 0).await;
    add(&world, 1, "step-2200", "waiting", 1).await;
    add(&world, 1, "settled", "running", 0).await;
    add(&world, 8, "settled", "queued", 6).await;
    add(&world, 9, "step-0100", "waiting", 3).await;
    let gauges = ledger.gauges().await.unwrap();
    assert_eq!(days_late(&gauges), (None, None));
    let settled = gauges.settled_since.map(|since| (gauges.now - since).num_days());
    assert_eq!(settled, Some(6));

    // They hide no day that is late.
    add(&world, 3, "daily", "waiting", 2).await;
    add(&world, 400, "daily", "queued", 5).await;
    assert_eq!(days_late(&ledger.gauges().await.unwrap()), (Some(2), Some(5)));
    let worker = world.ready_worker(&[OFTEN]).await;
    let shown = async || {
        let lag = samples(&worker, "posthog_export_lag_seconds").await;
        lag["{class=\"settled\"}"] >= 6.0 * 86_400.0
    };
    world
        .wait_until("the lag of settled runs is shown", PATIENCE, shown)
        .await;
}

fn days_late(gauges: &Gauges) -> (Option<i64>, Option<i64>) {
    let days = |since: Option<chrono::DateTime<chrono::Utc>>| since.map(|since| (gauges.now - since).num_days());
    (days(gauges.daily_since), days(gauges.backfill_since))
}

#[tokio::test]
async fn lag_is_counted_by_class_and_only_of_what_is_unfinished() {
    let (world, _) = world().await;
    let ledger = Ledger::new(world.pool());
    let gauges = ledger.gauges().await.unwrap();
    assert_eq!((days_late(&gauges), gauges.last_completed), ((None, None), None));

    add(&world, 40, "daily", "completed", 39).await;
    add(&world, 30, "daily", "dead", 29).await;
    add(&world, 25, "daily", "skipped", 24).await;
    let gauges = ledger.gauges().await.unwrap();
    assert_eq!(days_late(&gauges), (None, None));
    assert!(
        gauges
            .last_completed
            .is_some_and(|at| (gauges.now - at).num_seconds() < 60)
    );

    // Enqueued in time, on the day after, and not done since: such a day is late from its own end.
    add(&world, 3, "daily", "waiting", 2).await;
    add(&world, 2, "daily", "queued", 1).await;
    // A day of the history is late from when it was enqueued.
    add(&world, 400, "daily", "running", 5).await;
    add(&world, 900, "replay-1", "queued", 0).await;
    assert_eq!(days_late(&ledger.gauges().await.unwrap()), (Some(2), Some(5)));

    let worker = world.ready_worker(&[OFTEN]).await;
    let shown = async || {
        let lag = samples(&worker, "posthog_export_lag_seconds").await;
        lag["{class=\"backfill\"}"] >= 5.0 * 86_400.0 && lag["{class=\"daily\"}"] >= 2.0 * 86_400.0
    };
    world.wait_until("the lag is shown", PATIENCE, shown).await;
}

#[tokio::test]
async fn a_day_that_was_skipped_is_late_from_when_it_was_resumed() {
    let (world, _) = world().await;
    let ledger = Ledger::new(world.pool());
    add(&world, 25, "daily", "skipped", 24).await;
    add(&world, 3, "daily", "queued", 2).await;
    let day = |days_ago| Day::of(chrono::Utc::now() - TimeDelta::days(days_ago));
    let (resumed, healed) = (Job::daily(PROJECT, day(25), false), Job::daily(PROJECT, day(3), false));
    ledger.record_queued(&[&resumed, &healed]).await.unwrap();
    // The other one was asked for in time, and is late although its message was published again.
    assert_eq!(days_late(&ledger.gauges().await.unwrap()), (Some(2), Some(0)));
}

#[tokio::test]
async fn the_ledger_is_read_from_indexes_however_large_it_is() {
    let (world, _) = world().await;
    for statement in [
        "insert into posthog_export.runs (project_id, day, run, state, asked_at, completed_at)
         select 'p' || n % 100, date '2020-01-01' + n / 100, 'daily', case when n % 2 = 0 then 'completed' else 'queued' end,
                now() - n * interval '1 second', case when n % 2 = 0 then now() - n * interval '1 second' end
         from generate_series(1, 20000) n",
        "analyze posthog_export.runs",
    ] {
        sqlx::query(statement).execute(&world.pool()).await.unwrap();
    }
    let plan = plan(
        &world,
        include_str!("../../../shared/src/ledger/gauges.rs"),
        "ledger_gauges",
    )
    .await;
    let indexes = [
        "runs_unfinished_daily",
        "runs_unfinished_backfill",
        "runs_unfinished_settled",
        "runs_completed",
    ];
    for index in indexes {
        assert!(plan.contains(index), "{index} in\n{plan}");
    }
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

/// How a statement of this file is executed, by the planner's word.
async fn plan(world: &World, file: &str, name: &str) -> String {
    let mut statements = file.split('"');
    let statement = statements
        .find(|part| part.starts_with(&format!("-- {name}\n")))
        .unwrap();
    let statement = statement.replace("$1", "current_date");
    let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("explain {statement}")))
        .fetch_all(&world.pool())
        .await
        .unwrap();
    plan.join("\n")
}

/// 400 projects with a run a day for three years, and hourly steps for the last week.
#[tokio::test]
async fn of_a_large_ledger_the_steps_of_today_are_read_and_nothing_else() {
    let (world, _) = world().await;
    for statement in [
        "insert into posthog_export.runs (project_id, day, run, state, asked_at, completed_at)
         select 'p' || p, current_date - d, 'daily', 'completed', now(), now()
         from generate_series(1, 400) p, generate_series(1, 1095) d",
        "insert into posthog_export.runs (project_id, day, run, state, changed, span_from, span_until, error_code)
         select 'p' || p, current_date - d, format('step-%s00', lpad(h::text, 2, '0')),
                case when h = 7 then 'discarded' else 'completed' end, true,
                current_date - d + h * interval '1 hour', current_date - d + (h + 1) * interval '1 hour',
                case when h = 7 then 'posthog_unavailable' end
         from generate_series(1, 400) p, generate_series(0, 7) d, generate_series(0, 22) h",
        "analyze posthog_export.runs",
    ] {
        sqlx::query(statement).execute(&world.pool()).await.unwrap();
    }
    let file = include_str!("../../../shared/src/ledger/steps.rs");
    let of_today = plan(&world, file, "ledger_steps").await;
    assert!(
        of_today.contains("runs_steps") && !of_today.contains("Seq Scan on runs"),
        "{of_today}"
    );
    let failed = plan(&world, file, "ledger_failed_steps").await;
    assert!(!failed.contains("Seq Scan"), "{failed}");
    let ledger = Ledger::new(world.pool());
    let today: chrono::NaiveDate = sqlx::query_scalar("select current_date")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    let today = Day(today);
    let began = std::time::Instant::now();
    let steps = ledger.steps(today).await.unwrap();
    assert_eq!((steps.len(), steps[0].completed.len()), (400, 22));
    assert_eq!(ledger.failed_steps(today).await.unwrap().len(), 400);
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    println!("{:?}", began.elapsed());
}

#[tokio::test]
async fn steps_are_counted_by_how_they_ended() {
    let (world, project) = world().await;
    let clock = world.clock(format!("{DAY} 10:35")).await;
    let worker = world.ready_worker(&[]).await;
    let publish = async |run: &str| {
        let message = format!(
            r#"{{"project_id":"{PROJECT}","day":"{DAY}","run":"{run}","from":"{DAY}T00:00:00Z","until":"{DAY}T10:00:00Z"}}"#
        );
        world.publish_job(message.as_bytes()).await;
    };
    world.posthog.forget_key(KEY);
    publish("step-0100").await;
    project.wait_state(DAY, "step-0100", "discarded").await;
    publish("step-0200").await;
    project.wait_state(DAY, "step-0200", "skipped").await;
    world.posthog.known_key(KEY);
    sqlx::query("delete from posthog_export.paused")
        .execute(&world.pool())
        .await
        .unwrap();
    publish("step-0000").await;
    project.wait_state(DAY, "step-0000", "completed").await;
    // A second delivery of it ends nothing.
    publish("step-0000").await;
    worker.wait_outcome(Outcome::DoneBefore, None).await;
    clock.set("2024-06-02 00:01").await;
    publish("step-0300").await;
    project.wait_state(DAY, "step-0300", "discarded").await;
    let expected: BTreeMap<String, String> = ["completed", "discarded", "skipped", "superseded"]
        .map(|outcome| (format!("{{outcome=\"{outcome}\"}}"), "1".to_owned()))
        .into();
    let found = async || {
        let found = samples(&worker, "posthog_export_steps_total").await;
        let counts = found.into_iter().map(|(outcome, count)| (outcome, count.to_string()));
        counts.collect::<BTreeMap<_, _>>() == expected
    };
    world.wait_until("each is counted once", PATIENCE, found).await;
}
