//! `doctor` finds each planted fault, names it, and says what to do; where nothing is wrong it says
//! so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{TimeDelta, Utc};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use testkit::posthog::{Behavior, Route, Rule};
use testkit::{DEAD, JOBS, World, langfuse};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::{KEY, PROJECT, add_project, alter, bare_world, world};

async fn examined(world: &World, overrides: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let management = world.management_url.clone();
    let overrides = [&[("AMQP_MANAGEMENT_URL", management.as_str())], overrides].concat();
    let output = world.producer_with_env(&["doctor", "--json"], &overrides).await;
    let report: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", output.stdout, output.stderr));
    (output.code, report["checks"].as_array().unwrap().clone())
}

/// Asserts that there is such a finding, and that it contains all of these texts.
fn finds(checks: &[Value], check: &str, status: &str, parts: &[&str]) {
    let says = |finding: &&Value| {
        let text = format!("{} {}", finding["found"], finding["advice"]);
        finding["check"] == check && finding["status"] == status && parts.iter().all(|part| text.contains(part))
    };
    assert!(
        checks.iter().any(|finding| says(&finding)),
        "{check} {status} {parts:?} in {checks:#?}"
    );
}

fn of_check<'a>(checks: &'a [Value], check: &str) -> Vec<&'a Value> {
    checks.iter().filter(|finding| finding["check"] == check).collect()
}

async fn manage(world: &World, method: Method, segments: &[&str], body: Option<Value>) {
    world
        .servers()
        .rabbitmq
        .management()
        .request(method, segments, body)
        .await;
}

#[tokio::test]
async fn a_sound_deployment_passes() {
    let world = world().await;
    world.posthog.known_key(KEY);
    let _worker = world.ready_worker(&[]).await;
    let (code, checks) = examined(&world, &[]).await;
    assert_eq!(code, 0, "{checks:#?}");
    for check in [
        "database.reachable",
        "database.columns",
        "ledger.reachable",
        "ledger.version",
        "broker.reachable",
        "broker.topology",
        "broker.consumers",
        "broker.policies",
        "broker.management",
        "encryption_key",
        "projects",
        "clocks",
    ] {
        finds(&checks, check, "ok", &[]);
    }
    let create = "create index concurrently on scores (project_id, timestamp);";
    finds(&checks, "database.indexes", "warning", &[create]);
    finds(
        &checks,
        "database.rights",
        "warning",
        &["is a superuser", "deploy/sql/reader.sql"],
    );
    // That index is the only one that is missing. Once it is there, nothing is said of it.
    alter(&world, "create index on scores (project_id, timestamp)").await;
    let (_, checks) = examined(&world, &[]).await;
    finds(&checks, "database.indexes", "ok", &[]);
    // What workers understand matters only where messages of this version are made.
    assert!(of_check(&checks, "broker.workers").is_empty());
    // The broker tells of a connection some seconds after it was made.
    let found = async || {
        let (_, checks) = examined(&world, &[("SETTLE_AFTER", "24h")]).await;
        let workers = of_check(&checks, "broker.workers");
        workers[0]["status"] == "ok"
            && workers[0]["found"]
                .as_str()
                .unwrap()
                .starts_with("1 worker is connected, and understands")
    };
    let patience = std::time::Duration::from_secs(60);
    world.wait_until("doctor finds the worker", patience, found).await;
}

#[tokio::test]
async fn faults_of_the_broker_are_named() {
    let world = world().await;
    let vhost = world.vhost.clone();
    manage(
        &world,
        Method::DELETE,
        &["queues", &vhost, "posthog-export.retry.2s"],
        None,
    )
    .await;
    manage(&world, Method::DELETE, &["queues", &vhost, JOBS], None).await;
    let other = json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
    manage(&world, Method::PUT, &["queues", &vhost, JOBS], Some(other)).await;
    let policy = json!({"pattern": "^posthog-export", "apply-to": "queues",
        "definition": {"message-ttl": 60000, "delivery-limit": 3}});
    manage(&world, Method::PUT, &["policies", &vhost, "all"], Some(policy)).await;
    let policies = || async {
        let segments = ["queues", &vhost, DEAD];
        let queue = world
            .servers()
            .rabbitmq
            .management()
            .request(Method::GET, &segments, None)
            .await;
        queue["effective_policy_definition"]["message-ttl"] == 60000
    };
    let patience = std::time::Duration::from_secs(30);
    world.wait_until("the policy is in effect", patience, policies).await;
    let (code, checks) = examined(&world, &[]).await;
    assert_eq!(code, 1);
    finds(
        &checks,
        "broker.topology",
        "problem",
        &["no queue `posthog-export.retry.2s`", "producer declare"],
    );
    finds(
        &checks,
        "broker.topology",
        "problem",
        &["queue `posthog-export.jobs` has other arguments", "x-dead-letter"],
    );
    finds(
        &checks,
        "broker.topology",
        "problem",
        &["no binding to `posthog-export.jobs`"],
    );
    finds(
        &checks,
        "broker.policies",
        "problem",
        &["message-ttl = 60000 on `posthog-export.dead-letters`", "lost"],
    );
    finds(&checks, "broker.policies", "problem", &["delivery-limit = 3"]);
    finds(&checks, "broker.consumers", "warning", &["nobody consumes"]);

    let nowhere = [
        ("AMQP_URL", "amqp://u:hunter2@127.0.0.1:1/%2f"),
        ("AMQP_MANAGEMENT_URL", "http://127.0.0.1:1"),
    ];
    let (code, checks) = examined(&world, &nowhere).await;
    assert_eq!(code, 1);
    finds(&checks, "broker.reachable", "problem", &["AMQP_URL", "127.0.0.1:1"]);
    finds(&checks, "broker.management", "problem", &["AMQP_MANAGEMENT_URL"]);
    assert!(!format!("{checks:?}").contains("hunter2"));
    let (_, checks) = examined(&world, &[("AMQP_MANAGEMENT_URL", "")]).await;
    finds(&checks, "broker.management", "unknown", &["not set"]);
}

#[tokio::test]
async fn faults_of_the_databases_are_named() {
    let world = world().await;
    let newest = shared::ledger::migrator()
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap();
    alter(&world, "delete from posthog_export._sqlx_migrations where version = (select max(version) from posthog_export._sqlx_migrations)").await;
    alter(
        &world,
        "do $$ declare found text; begin
           for found in select indexdef from pg_indexes where tablename = 'traces' loop null; end loop;
           execute (select string_agg('drop index ' || quote_ident(indexname), ';') from pg_indexes
                    where tablename = 'traces' and indexdef like '%(project_id, \"timestamp\")');
         end $$",
    )
    .await;
    // The server's clock cannot be changed here, but the function that the doctor calls can be
    // replaced.
    alter(&world, "create schema wrong").await;
    alter(
        &world,
        "create function wrong.clock_timestamp() returns timestamptz language sql
         as 'select pg_catalog.clock_timestamp() - interval ''10 minutes'''",
    )
    .await;
    alter(&world, "do $$ begin execute format('alter database %I set search_path = wrong, public, pg_catalog', current_database()); end $$").await;
    let (code, checks) = examined(&world, &[]).await;
    assert_eq!(code, 1);
    finds(
        &checks,
        "ledger.version",
        "problem",
        &[
            &format!("version {}, and this program needs {newest}", newest - 1),
            "producer migrate",
        ],
    );
    finds(&checks, "clocks", "problem", &["DATABASE_URL", "10m behind", "NTP"]);
    finds(
        &checks,
        "database.indexes",
        "problem",
        &[
            "no index on traces (project_id, timestamp)",
            "create index concurrently on traces (project_id, timestamp);",
        ],
    );
    alter(&world, "alter table traces drop column release").await;
    let (_, checks) = examined(&world, &[]).await;
    finds(&checks, "database.columns", "problem", &["traces.release"]);

    let nowhere = [
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"),
        ("LEDGER_DATABASE_URL", "postgres://127.0.0.1:2/x"),
    ];
    let (code, checks) = examined(&world, &nowhere).await;
    assert_eq!(code, 1);
    finds(
        &checks,
        "database.reachable",
        "problem",
        &["DATABASE_URL", "127.0.0.1:1"],
    );
    finds(
        &checks,
        "ledger.reachable",
        "problem",
        &["LEDGER_DATABASE_URL", "127.0.0.1:2"],
    );
    assert!(!format!("{checks:?}").contains("hunter2"));
    let world = bare_world().await;
    finds(
        &examined(&world, &[]).await.1,
        "ledger.version",
        "problem",
        &["not there", "producer migrate"],
    );
}

#[tokio::test]
async fn rights_that_lack_or_are_too_many_are_named() {
    let world = world().await;
    let role = format!("reader_{}", world.vhost);
    let run = async |statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&world.pool())
            .await
            .unwrap();
    };
    run(format!("create role {role} login; grant select on traces, observations, models, projects, posthog_integrations to {role}; grant insert on traces to {role}")).await;
    let url = world.database_url.replace("postgres@", &format!("{role}@"));
    let (code, checks) = examined(&world, &[("DATABASE_URL", &url)]).await;
    assert_eq!(code, 1);
    finds(
        &checks,
        "database.rights",
        "problem",
        &["may not read", "scores.timestamp", "Grant SELECT"],
    );
    finds(
        &checks,
        "database.rights",
        "warning",
        &["may write traces", "`SELECT` suffices"],
    );
    finds(&checks, "ledger.version", "problem", &[]);
    run(format!(
        "grant usage on schema posthog_export to {role}; grant select on all tables in schema posthog_export to {role}"
    ))
    .await;
    let (_, checks) = examined(&world, &[("DATABASE_URL", &url)]).await;
    finds(
        &checks,
        "ledger.rights",
        "problem",
        &["insert on runs", "deploy/sql/ledger.sql"],
    );
    run(format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn faults_of_keys_and_hosts_are_named() {
    let world = world().await;
    for (project, host, stored) in [
        ("private", "https://10.0.0.1", None),
        ("plain", "http://posthog.example.com", None),
        ("garbled", "https://eu.i.posthog.com", Some("00:11:22")),
    ] {
        add_project(&world, project, true).await;
        let key = stored.map_or_else(|| langfuse::encrypt(langfuse::ENCRYPTION_KEY, KEY), str::to_owned);
        langfuse::add_integration_as_stored(&world.pool(), project, host, &key, true).await;
    }
    alter(
        &world,
        "insert into posthog_export.paused (project_id, error, paused_by) values ('private', 'by hand', 'human')",
    )
    .await;
    let (code, checks) = examined(&world, &[]).await;
    assert_eq!(code, 1);
    finds(&checks, "encryption_key", "problem", &["decrypts 3 of 4 keys"]);
    let parts = [
        "2 projects: host_not_allowed; the first is plain at http://posthog.example.com",
        "EGRESS_ALLOW",
    ];
    finds(&checks, "projects", "problem", &parts);
    finds(&checks, "projects", "problem", &["garbled", "key_undecryptable"]);
    // The fake PostHog has not been told of this key.
    finds(
        &checks,
        "projects",
        "problem",
        &[PROJECT, "refused", "Correct the project's API key"],
    );
    finds(
        &checks,
        "projects.paused",
        "warning",
        &["private is paused", "producer projects resume"],
    );
    assert!(!format!("{checks:?}").contains(KEY));

    let other = "0".repeat(64);
    let (_, checks) = examined(&world, &[("ENCRYPTION_KEY", &other)]).await;
    finds(
        &checks,
        "encryption_key",
        "problem",
        &["decrypts none of 4 keys", "not the one that Langfuse uses"],
    );
    assert_eq!(of_check(&checks, "projects").len(), 0, "{checks:#?}");
    let output = world.producer_with_env(&["doctor"], &[("ENCRYPTION_KEY", "abc")]).await;
    assert!(
        output.code == 2 && output.stderr.contains("ENCRYPTION_KEY"),
        "{}",
        output.stderr
    );
    let output = world.producer(&["doctor"]).await;
    assert!(
        output.stdout.contains("What to do:") && output.stdout.contains("PROBLEM"),
        "{}",
        output.stdout
    );
}

/// A proxy in front of the management API that pretends to be a broker of that version, with that
/// policy on every queue, and with a clock that is so far ahead.
async fn retold_management(world: &World, version: &'static str, policy: Value, ahead: TimeDelta) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let real: Url = world.management_url.parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
            let path = head.split(' ').nth(1).unwrap();
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let answered = client.get(real.join(path).unwrap()).send().await.unwrap();
            let mut body: Value = answered.json().await.unwrap();
            if body["rabbitmq_version"].is_string() {
                body["rabbitmq_version"] = json!(version);
            }
            if body["arguments"].is_object() {
                body["effective_policy_definition"] = policy.clone();
            }
            let date = (Utc::now() + ahead).format("%a, %d %b %Y %H:%M:%S GMT");
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: {date}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    url
}

/// RabbitMQ 3.10 knows no policy for the consumer timeout, and a server's clock cannot be changed
/// here. So the test changes what the management API answers.
#[tokio::test]
async fn a_consumer_timeout_that_is_too_short_and_a_wrong_clock_of_the_broker_are_named() {
    let world = world().await;
    for (version, policy, ahead, timeout, clock) in [
        (
            "4.1.0",
            json!({"consumer-timeout": 660_000}),
            -600,
            "problem",
            "problem",
        ),
        ("4.1.0", json!({"consumer-timeout": 3_600_000}), 20, "ok", "warning"),
        ("3.13.7", json!({}), 0, "ok", "ok"),
        ("3.10.8", json!({}), 0, "unknown", "ok"),
    ] {
        let url = retold_management(&world, version, policy, TimeDelta::seconds(ahead)).await;
        let (code, checks) = examined(&world, &[("AMQP_MANAGEMENT_URL", &url), ("JOB_SLICE", "10m")]).await;
        finds(&checks, "broker.management", "ok", &[version]);
        finds(&checks, "broker.consumer_timeout", timeout, &["JOB_SLICE is 10m"]);
        finds(&checks, "clocks", clock, &["the broker's clock"]);
        if timeout == "problem" {
            assert_eq!(code, 1);
            let advice = "Raise the policy's consumer-timeout";
            finds(
                &checks,
                "broker.consumer_timeout",
                timeout,
                &["a policy sets the consumer timeout to 11m", advice],
            );
            finds(&checks, "clocks", clock, &["the broker's clock", "behind", "NTP"]);
        }
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_and_an_export_of_nothing_are_named() {
    let world = world().await;
    add_project(&world, "silent", true).await;
    let key = langfuse::encrypt(langfuse::ENCRYPTION_KEY, KEY);
    langfuse::add_integration_as_stored(&world.pool(), "silent", "http://127.0.0.1:1", &key, true).await;
    let (_, checks) = examined(&world, &[]).await;
    finds(
        &checks,
        "projects",
        "warning",
        &["silent at http://127.0.0.1:1", "cannot_tell", "reached from here"],
    );
    alter(&world, "update posthog_integrations set enabled = false").await;
    let (_, checks) = examined(&world, &[]).await;
    finds(
        &checks,
        "projects",
        "warning",
        &["no project has an enabled PostHog integration"],
    );
}

/// So many projects like the first, each with a key of its own at this host.
async fn add_fleet(world: &World, id: &str, host: &str, keys: impl Iterator<Item = String>) {
    for (number, key) in keys.enumerate() {
        let id = format!("{id} {number:02}");
        langfuse::add_project(&world.pool(), &id, &id).await;
        langfuse::add_integration(&world.pool(), &id, host, &key, true).await;
    }
}

/// A host that ends every connection, and counts them.
async fn dead_host() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, connections)
}

#[tokio::test]
async fn one_cause_is_one_finding_and_each_key_is_asked_for_once() {
    let world = world().await;
    let (dead, connections) = dead_host().await;
    let own_key = |prefix: &'static str| (0..40).map(move |number| format!("phc_{prefix}_{number}"));
    add_fleet(&world, "dead", &dead, own_key("dead")).await;
    add_fleet(&world, "unknown", &world.posthog.url(), own_key("unknown")).await;
    add_fleet(
        &world,
        "shared",
        &world.posthog.url(),
        (0..40).map(|_| "phc_shared".to_owned()),
    )
    .await;
    add_fleet(&world, "wrong", "https://10.0.0.1", own_key("wrong")).await;
    add_fleet(
        &world,
        "empty",
        "https://eu.i.posthog.com",
        (0..40).map(|_| String::new()),
    )
    .await;
    world.posthog.known_key("phc_shared");
    world.posthog.known_key(KEY);
    alter(
        &world,
        "insert into posthog_export.paused (project_id, error_code, error, paused_by)
         select 'dead ' || lpad(n::text, 2, '0'), 'unauthorized', 'the key', 'worker' from generate_series(0, 39) n",
    )
    .await;
    let (code, checks) = examined(&world, &[]).await;
    assert_eq!(code, 1);
    let of_projects = of_check(&checks, "projects");
    assert_eq!(of_projects.len(), 5, "{of_projects:#?}");
    for (status, parts) in [
        (
            "warning",
            [
                format!("40 projects at {dead}, the first is dead 00"),
                "cannot_tell".to_owned(),
            ],
        ),
        (
            "problem",
            [
                format!("40 projects at {}, the first is unknown 00", world.posthog.url()),
                "refused".to_owned(),
            ],
        ),
        (
            "problem",
            [
                "40 projects: host_not_allowed; the first is wrong 00 at https://10.0.0.1".to_owned(),
                "EGRESS_ALLOW".to_owned(),
            ],
        ),
        (
            "problem",
            [
                "40 projects: unauthorized; the first is empty 00".to_owned(),
                "is empty".to_owned(),
            ],
        ),
        ("ok", ["41 keys known".to_owned(), "41 keys known".to_owned()]),
    ] {
        finds(&checks, "projects", status, &parts.each_ref().map(String::as_str));
    }
    let paused = of_check(&checks, "projects.paused");
    assert_eq!(paused.len(), 1, "{paused:#?}");
    finds(
        &checks,
        "projects.paused",
        "warning",
        &["40 projects are paused, the first is dead 00", "the key"],
    );
    assert_eq!(paused[0]["projects"].as_array().unwrap().len(), 40);
    // Forty keys that are not known, the shared one, and the one of the first project.
    let mut asked: Vec<Option<String>> = world
        .posthog
        .requests()
        .into_iter()
        .map(|request| request.key)
        .collect();
    asked.sort();
    let all = asked.len();
    asked.dedup();
    assert_eq!((asked.len(), all), (42, 42), "{asked:?}");
    // One question, tried three times.
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn hosts_and_keys_are_asked_side_by_side() {
    let world = world().await;
    let keys = (0..40).map(|number| format!("phc_{number}"));
    add_fleet(&world, "fleet", &world.posthog.url(), keys).await;
    // The first key is asked for alone: it tells whether the host answers at all.
    world.posthog.script(Rule::next(1, Behavior::Ok).on(Route::Flags));
    world.posthog.script(Rule::always(Behavior::Hold).on(Route::Flags));
    let examine = examined(&world, &[]);
    let release = async {
        world.posthog.held_requests(16).await;
        world.posthog.behave();
    };
    let ((_, checks), ()) = tokio::join!(examine, release);
    finds(&checks, "projects", "problem", &["41 projects at", "refused"]);
}

/// Langfuse v3 writes to ClickHouse, and leaves the tables as they were.
#[tokio::test]
async fn a_database_without_new_rows_is_named() {
    let world = world().await;
    let (_, checks) = examined(&world, &[]).await;
    finds(
        &checks,
        "database.newest_row",
        "warning",
        &["there is no row of 1 enabled project", "ClickHouse"],
    );
    crate::add_traces(&world, PROJECT, &[crate::day("2024-06-01")]).await;
    let (_, checks) = examined(&world, &[]).await;
    let parts = [
        "the newest row of 1 enabled project is from 2024-06-01 12:00:00",
        "ClickHouse",
    ];
    finds(&checks, "database.newest_row", "warning", &parts);
    alter(
        &world,
        "update traces set timestamp = now() at time zone 'UTC' - interval '71 hours'",
    )
    .await;
    let (_, checks) = examined(&world, &[]).await;
    finds(&checks, "database.newest_row", "ok", &["2 days ago"]);
}

#[tokio::test]
async fn a_newer_ledger_and_one_that_takes_no_writes_are_named() {
    let world = world().await;
    alter(
        &world,
        "insert into posthog_export._sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of a later version', true, '', 0)",
    )
    .await;
    let (_, checks) = examined(&world, &[]).await;
    finds(
        &checks,
        "ledger.version",
        "warning",
        &["version 9999", "during an upgrade"],
    );
    // The older program leaves such a ledger as it is, and its daily enqueue goes on.
    assert_eq!(world.producer(&["migrate"]).await.code, 0);
    world.succeeds(&["enqueue"]).await;
    alter(&world, "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$").await;
    let (code, checks) = examined(&world, &[]).await;
    assert_eq!(code, 1);
    finds(
        &checks,
        "ledger.reachable",
        "problem",
        &[
            "takes no writes of `",
            "default_transaction_read_only",
            "LEDGER_DATABASE_URL",
        ],
    );
    assert!(!of_check(&checks, "ledger.reachable")[0].to_string().contains("replica"));
}

#[tokio::test]
async fn a_broker_where_nothing_is_declared_is_one_finding() {
    let world = bare_world().await;
    world.succeeds(&["migrate"]).await;
    let (code, checks) = examined(&world, &[]).await;
    assert_eq!(code, 1);
    let topology = of_check(&checks, "broker.topology");
    assert_eq!(topology.len(), 1, "{topology:#?}");
    let found = topology[0].to_string();
    assert!(
        found.contains("no exchange and no queue of ours") && found.contains("producer declare"),
        "{found}"
    );
}

#[tokio::test]
async fn odd_times_and_time_zones_are_named() {
    let world = world().await;
    // The machine that runs the tests may have another zone, and its server, too.
    let utc = "do $$ begin execute format('alter database %I set timezone to %L', current_database(), 'UTC'); end $$";
    alter(&world, utc).await;
    let (_, checks) = examined(&world, &[]).await;
    finds(&checks, "database.timezone", "ok", &[]);
    finds(&checks, "database.times", "ok", &[]);
    crate::add_traces(&world, crate::PROJECT, &[crate::day("2024-06-01")]).await;
    let zone =
        "do $$ begin execute format('alter database %I set timezone to %L', current_database(), 'Asia/Tokyo'); end $$";
    for change in [
        "update traces set timestamp = 'infinity', created_at = (now() at time zone 'UTC') + interval '9 hours'",
        zone,
    ] {
        alter(&world, change).await;
    }
    let (_, checks) = examined(&world, &[]).await;
    let parts = ["1 row of traces of project", "no day of the years 1 to 9999"];
    finds(&checks, "database.times", "warning", &parts);
    finds(
        &checks,
        "database.times",
        "warning",
        &["traces: 1 row has a created_at in the future"],
    );
    let parts = [
        "database world_",
        "sets the time zone Asia/Tokyo",
        "exported twice",
        "UTC",
    ];
    finds(&checks, "database.timezone", "warning", &parts);
}

#[tokio::test]
async fn dead_letters_and_an_answer_that_is_no_posthogs_are_findings() {
    let world = world().await;
    let (_, checks) = examined(&world, &[]).await;
    finds(&checks, "broker.dead_letters", "ok", &["no dead letter"]);
    assert!(world.publish("posthog-export", "dead", b"{}").await);
    world.posthog.flags_route(false);
    let (_, checks) = examined(&world, &[]).await;
    let waits = ["1 dead letter waits", "producer dead-letters list"];
    finds(&checks, "broker.dead_letters", "warning", &waits);
    finds(&checks, "projects", "warning", &["it answered 404", "ingestion host"]);
    let said = of_check(&checks, "projects")[0].to_string();
    assert!(!said.contains("reached"), "{said}");
}
