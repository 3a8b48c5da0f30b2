//! `enqueue` publishes each day once, and records it only when the broker has confirmed it.

use std::time::Duration;

use chrono::{Days, Utc};
use testkit::proxy::Flow;
use testkit::seed::{Observation, Rows, Score, Trace, at};
use testkit::{BACKFILL, JOBS, World, job};

use crate::{
    PROJECT, add_project, add_run, add_traces, alter, bare_world, day, drain, jobs, json, ledger, world, yesterday,
};

#[tokio::test]
async fn the_first_run_sets_up_and_enqueues_every_day_with_data_newest_first() {
    let world = bare_world().await;
    let days = [
        day("2024-06-01"),
        day("2024-06-03"),
        yesterday(),
        yesterday() + Days::new(1),
    ];
    add_traces(&world, PROJECT, &days).await;
    // A day may hold nothing but a generation, or a score; a span alone is no event.
    let rows = Rows {
        observations: vec![
            Observation::generation(PROJECT, "g", "no trace", at(day("2024-06-05"), 0, 0, 0, 0)),
            Observation::span(PROJECT, "s", "no trace", at(day("2024-06-06"), 0, 0, 0, 0)),
        ],
        scores: vec![Score::new(
            PROJECT,
            "sc",
            "no trace",
            at(day("2024-06-07"), 23, 59, 59, 999),
        )],
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    add_project(&world, "switched off", false).await;
    add_traces(&world, "switched off", &[day("2024-06-01")]).await;

    let output = world.succeeds(&["enqueue"]).await;
    let first_line = output.stdout.lines().next().unwrap();
    let range = format!("5 jobs from 2024-06-01 to {}", yesterday());
    assert!(first_line.contains(&range), "{first_line}");
    assert!(output.stdout.contains("5 of 5 jobs confirmed"), "{}", output.stdout);

    let today = drain(&world, JOBS).await;
    assert_eq!(today.len(), 1);
    assert_eq!(today[0].body, job(PROJECT, yesterday(), Some("daily")));
    assert_eq!(
        (today[0].exchange.as_str(), today[0].routing_key.as_str()),
        ("posthog-export", "job")
    );
    assert_eq!(
        (today[0].delivery_mode, today[0].content_type.as_deref()),
        (Some(2), Some("application/json"))
    );
    let older: Vec<String> = drain(&world, BACKFILL)
        .await
        .iter()
        .map(|m| m.json()["day"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(older, ["2024-06-07", "2024-06-05", "2024-06-03", "2024-06-01"]);
    assert_eq!(ledger(&world).await.len(), 5);
    assert!(ledger(&world).await.contains("project one/2024-06-07/daily queued"));

    let again = world.succeeds(&["enqueue"]).await;
    assert!(again.stdout.contains("Nothing to enqueue"), "{}", again.stdout);
    assert!(jobs(&world).await.is_empty());
}

#[tokio::test]
async fn years_without_data_cost_nothing() {
    let world = world().await;
    let old = |text: &str| at(day(text), 8, 53, 0, 0);
    add_traces(&world, PROJECT, &[day("2024-06-01"), day("2024-06-03")]).await;
    add_project(&world, "two", true).await;
    let rows = Rows {
        observations: vec![
            Observation::generation(PROJECT, "g", "none", old("0001-01-01")),
            Observation::generation("two", "h", "none", old("1970-01-01")),
        ],
        scores: vec![
            Score::new(PROJECT, "s", "none", old("0044-03-15")),
            Score::new("two", "t", "none", old("2024-06-02")),
        ],
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
    let ids: Vec<&str> = report["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap())
        .collect();
    let expected = [
        "project one/2024-06-03/daily",
        "two/2024-06-02/daily",
        "project one/2024-06-01/daily",
        "two/1970-01-01/daily",
        "project one/0044-03-15/daily",
        "project one/0001-01-01/daily",
    ];
    assert_eq!(ids, expected);
    // As often as there are days with data, not as there are days.
    let enqueue = looks(&world, 10).await;
    assert!(enqueue < 100, "{enqueue} looks");
    let status = json(&world, &["status", "--json"]).await;
    assert_eq!(status["projects"][0]["oldest_missing_day"], "0001-01-01");
    let status = looks(&world, enqueue).await;
    assert!(status - enqueue < 100, "{} looks", status - enqueue);
    let replay = [
        "replay",
        "--project",
        "two",
        "--from",
        "0001-01-01",
        "--to",
        "2024-06-30",
    ];
    let replay = json(&world, &[&replay[..], &["--dry-run", "--json"]].concat()).await;
    assert_eq!(replay["jobs"].as_array().unwrap().len(), 2);
    let replay = looks(&world, status).await;
    assert!(replay - status < 100, "{} looks", replay - status);
}

/// How often the tables were looked into, once it is more often than before. A session's looks are
/// counted when it has ended.
async fn looks(world: &World, before: i64) -> i64 {
    let pool = world.pool();
    let looks = async || {
        let (sessions, looks): (i64, i64) = sqlx::query_as(
            "select (select count(*) from pg_stat_activity
                     where datname = current_database() and application_name = 'posthog-export-producer'),
                    (select coalesce(sum(idx_scan + seq_scan), 0)::int8 from pg_stat_user_tables
                     where relname in ('traces', 'observations', 'scores'))",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        (sessions == 0 && looks > before).then_some(looks)
    };
    let patience = Duration::from_secs(30);
    world
        .wait_until("the looks are counted", patience, async || looks().await.is_some())
        .await;
    looks().await.unwrap()
}

#[tokio::test]
async fn scores_are_found_by_day_by_project_and_by_their_own_index() {
    let world = world().await;
    // A day with more scores than a look at a day reads, and a project with more than a look at a
    // project reads.
    add_project(&world, "small", true).await;
    add_project(&world, "none", true).await;
    let many = "insert into scores (id, project_id, trace_id, timestamp, name, source)
        select 'many ' || n, 'project one', 'none', timestamp '2024-06-02' + n * interval '1 second', 'n' || n, 'API'
        from generate_series(1, 10500) n";
    alter(&world, many).await;
    let rows = Rows {
        scores: ["2024-06-02", "2024-06-04"]
            .map(|text| Score::new("small", text, "none", at(day(text), 23, 59, 59, 999)))
            .into(),
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    let planned = async || {
        let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
        let jobs = report["jobs"].as_array().unwrap().clone();
        jobs.iter()
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let expected = [
        "small/2024-06-04/daily",
        "project one/2024-06-02/daily",
        "small/2024-06-02/daily",
    ];
    assert_eq!(planned().await, expected);
    alter(&world, "create index on scores (project_id, timestamp)").await;
    assert_eq!(planned().await, expected);
}

#[tokio::test]
async fn times_that_lie_on_no_day_are_left_out_and_counted() {
    let world = world().await;
    let noon = at(day("2024-06-02"), 12, 0, 0, 0);
    let ids = ["infinity", "-infinity", "294276-01-01", "0044-03-15 BC", "10000-01-01"];
    let rows = Rows {
        traces: ids.map(|id| Trace::new(PROJECT, id, noon)).into(),
        observations: ids.map(|id| Observation::generation(PROJECT, id, "none", noon)).into(),
        scores: ids.map(|id| Score::new(PROJECT, id, "none", noon)).into(),
        ..Rows::default()
    };
    rows.insert(&world.pool()).await;
    add_traces(&world, PROJECT, &[day("2024-06-01")]).await;
    json(&world, &["enqueue", "--json"]).await;
    alter(
        &world,
        "update posthog_export.runs set state = 'completed', started_at = clock_timestamp() - interval '1 day',
             completed_at = clock_timestamp() - interval '1 day'",
    )
    .await;
    for change in [
        "update traces set timestamp = id::timestamp, created_at = now() at time zone 'UTC' where id !~ '^trace'",
        "update observations set start_time = id::timestamp, created_at = now() at time zone 'UTC'",
        "update scores set timestamp = id::timestamp, created_at = now() at time zone 'UTC'",
        "insert into observations (id, project_id, trace_id, type, start_time)
         values ('late', 'project one', 'infinity', 'SPAN', '2024-06-01')",
        // Read by the sweep, and readable by nobody.
        "update traces set created_at = 'infinity' where id = '-infinity'",
    ] {
        alter(&world, change).await;
    }
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(report["jobs"], serde_json::json!([]));
    let undated = report["undated"].as_array().unwrap();
    assert_eq!(undated.len(), 3, "{report}");
    for (found, table) in undated.iter().zip(["traces", "observations", "scores"]) {
        assert_eq!(
            (&found["project_id"], &found["table"], &found["rows"]),
            (&PROJECT.into(), &table.into(), &5.into())
        );
        assert!(ids.contains(&found["example"].as_str().unwrap()), "{found}");
    }
    let text = world.succeeds(&["enqueue"]).await.stdout;
    let left_out = "Left out: 5 rows of scores of project \"project one\" have a time that lies on no day";
    assert!(text.contains(left_out), "{text}");
    world.succeeds(&["status"]).await;
    let replay = ["replay", "--project", PROJECT, "--day", "2024-06-01", "--dry-run"];
    world.succeeds(&replay).await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = bare_world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01"), yesterday()]).await;
    let output = world.succeeds(&["enqueue", "--dry-run"]).await;
    assert!(output.stdout.contains("Would publish 2 jobs"), "{}", output.stdout);
    assert!(output.stdout.contains("2024-06-01"), "{}", output.stdout);
    let schema: Option<String> = sqlx::query_scalar("select to_regclass('posthog_export.runs')::text")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    assert_eq!(schema, None, "it migrated");

    world.succeeds(&["migrate"]).await;
    world.succeeds(&["declare"]).await;
    let report = json(&world, &["enqueue", "--dry-run", "--json"]).await;
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["planned"]["new"], 2);
    assert_eq!(report["jobs"][1]["id"], "project one/2024-06-01/daily");
    assert_eq!(report["jobs"][1]["queue"], BACKFILL);
    assert!(jobs(&world).await.is_empty() && ledger(&world).await.is_empty());
}

#[tokio::test]
async fn dates_projects_and_backfill_days_bound_it() {
    let world = world().await;
    let days: Vec<_> = (1..=9).map(|back| yesterday() - Days::new(back)).collect();
    add_traces(&world, PROJECT, &days).await;
    add_project(&world, "two", true).await;
    add_traces(&world, "two", &days).await;

    let planned = async |arguments: &[&str], backfill: &str| {
        let arguments = [&["enqueue", "--dry-run", "--json"], arguments].concat();
        let output = world
            .producer_with_env(&arguments, &[("BACKFILL_DAYS", backfill)])
            .await;
        assert_eq!(output.code, 0, "{}", output.stderr);
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        report["jobs"].as_array().unwrap().len()
    };
    let text: Vec<String> = days.iter().map(ToString::to_string).collect();
    assert_eq!(planned(&[], "").await, 18);
    assert_eq!(planned(&[], "3").await, 6);
    assert_eq!(planned(&["--project", "two"], "3").await, 3);
    assert_eq!(planned(&["--day", &text[8]], "3").await, 2);
    assert_eq!(
        planned(&["--from", &text[5], "--to", &text[4], "--project", "two"], "").await,
        2
    );

    for (arguments, complaint, code) in [
        (&["enqueue", "--project", "tow"][..], "tow", 1),
        (&["enqueue", "--from", "2024-06-02", "--to", "2024-06-01"], "--from", 2),
    ] {
        let output = world.producer(arguments).await;
        assert_eq!(output.code, code);
        assert!(output.stderr.contains(complaint), "{}", output.stderr);
    }
    let output = world.producer(&["enqueue", "--day", "2024-6-1"]).await;
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("YYYY-MM-DD"), "{}", output.stderr);
}

#[tokio::test]
async fn two_at_once_publish_each_day_once() {
    let world = world().await;
    let days: Vec<_> = (0..200).map(|number| day("2024-01-01") + Days::new(number)).collect();
    add_traces(&world, PROJECT, &days).await;
    let enqueue = || world.producer(&["enqueue", "--json", "--yes"]);
    let (one, two, three) = tokio::join!(enqueue(), enqueue(), enqueue());
    let confirmed: u64 = [one, two, three]
        .into_iter()
        .map(|output| {
            assert_eq!(output.code, 0, "{}", output.stderr);
            let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
            report["confirmed"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(confirmed, 200);
    assert_eq!(world.queue_depth(BACKFILL).await, 200);
    assert_eq!(ledger(&world).await.len(), 200);
}

/// Removes the binding through which a queue gets its jobs.
async fn unbind(world: &World, queue: &str, key: &str) {
    use lapin::{Connection, ConnectionProperties};
    let connection = Connection::connect(&world.amqp_url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let arguments = lapin::types::FieldTable::default();
    channel
        .queue_unbind(queue.into(), "posthog-export".into(), key.into(), arguments)
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
}

#[tokio::test]
async fn what_no_queue_takes_is_named_and_not_recorded() {
    let world = world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01"), day("2024-06-02"), yesterday()]).await;
    unbind(&world, BACKFILL, "backfill").await;

    let output = world.producer(&["enqueue", "--no-setup"]).await;
    assert_eq!(output.code, 1, "{}", output.stdout);
    assert!(output.stdout.contains("1 of 3 jobs confirmed"), "{}", output.stdout);
    assert!(
        output.stderr.contains("project one/2024-06-02/daily"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("producer declare"), "{}", output.stderr);
    assert_eq!(ledger(&world).await.len(), 1);

    // Once the binding is back, the rest is published.
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        (&report["confirmed"], &report["failed"]),
        (&2.into(), &serde_json::json!([]))
    );
    assert_eq!(world.queue_depth(BACKFILL).await, 2);
}

#[tokio::test]
async fn without_setup_what_is_missing_is_said() {
    let world = bare_world().await;
    add_traces(&world, PROJECT, &[day("2024-06-01")]).await;
    let output = world.producer(&["enqueue", "--no-setup"]).await;
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("producer migrate"), "{}", output.stderr);
    world.succeeds(&["migrate"]).await;
    // No exchange at all: the broker closes the channel.
    let output = world.producer(&["enqueue", "--no-setup"]).await;
    assert_eq!(output.code, 1);
    assert!(output.stdout.contains("0 of 1 jobs confirmed"), "{}", output.stdout);
    assert!(ledger(&world).await.is_empty());
}

#[tokio::test]
async fn lost_confirms_are_failures_and_the_next_run_makes_up_for_them() {
    let world = world().await;
    // One window and a part of the next.
    let days: Vec<_> = (0..600).map(|number| day("2022-01-01") + Days::new(number)).collect();
    add_traces(&world, PROJECT, &days).await;
    let proxy = world.amqp_proxy().await;
    let url = world.amqp_url_via(&proxy);
    // The recording of the first window waits for this lock; reading does not.
    let pool = world.pool();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("lock table posthog_export.runs in exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let enqueue = world.spawn_producer(&["enqueue", "--yes"], &[("AMQP_URL", &url)]).await;
    let first_window = async || world.queue_depth(BACKFILL).await == 500;
    world
        .wait_until("the first window is published", Duration::from_secs(30), first_window)
        .await;
    proxy.to_client(Flow::Swallow);
    lock.rollback().await.unwrap();
    let status = enqueue.exited_within(Duration::from_secs(60)).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", enqueue.stdout());
    assert!(
        enqueue.stdout().contains("500 of 600 jobs confirmed"),
        "{}",
        enqueue.stdout()
    );
    assert!(enqueue.stderr().contains("and 80 more"), "{}", enqueue.stderr());
    assert_eq!(ledger(&world).await.len(), 500);

    let report = json(&world, &["enqueue", "--yes", "--json"]).await;
    assert_eq!(report["confirmed"], 100);
    assert_eq!(ledger(&world).await.len(), 600);
}

/// Without a single enabled integration, and while a dead letter waits, all is not well.
#[tokio::test]
async fn what_keeps_old_days_from_export_is_said_by_enqueue() {
    let world = world().await;
    add_traces(&world, PROJECT, &[yesterday()]).await;
    add_run(&world, yesterday(), "daily", "dead", Some(Utc::now())).await;
    let said = world.succeeds(&["enqueue"]).await.stdout;
    let letter = format!("1 dead letter waits: {PROJECT}/{}/daily", yesterday());
    assert!(
        said.starts_with("Nothing to enqueue") && said.contains(&letter),
        "{said}"
    );
    let report = json(&world, &["enqueue", "--json"]).await;
    assert_eq!(
        (&report["looked_at"], report["dead"].as_array().unwrap().len()),
        (&1.into(), 1)
    );
    alter(&world, "update posthog_integrations set enabled = false").await;
    let said = world.succeeds(&["enqueue"]).await.stdout;
    assert!(said.contains("no project has an enabled integration"), "{said}");
    assert!(!said.contains("every day"), "{said}");
}
