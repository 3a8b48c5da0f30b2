//! Each panel of the dashboard and each alert has data. A real Prometheus scrapes two real workers
//! and the broker, after jobs that were completed, retried, refused and given up.
//!
//! `cargo test -p worker --test observe`; needs Debian's package `prometheus`, and as root installs
//! it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use testkit::posthog::{Behavior, Rule};
use testkit::{Project, Prometheus, Servers, Worker, World};
use worker::watch::metrics::METRICS;

const KEY: &str = "phc_test_key_of_the_project";
const UNKNOWN_KEY: &str = "phc_unknown_to_posthog";
const DAY: &str = "2024-06-01";
const PATIENCE: Duration = Duration::from_secs(120);
/// The value that Grafana gives its variable when metrics are scraped each second.
const RATE_INTERVAL: &str = "1m";

fn deploy() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Jobs of every kind: completed with a refused row, retried and then dead, dead at once, no job at
/// all.
async fn work(world: &Arc<World>) {
    let good = Project::add(world, "good", KEY).await;
    let wrong_key = Project::add(world, "wrong key", UNKNOWN_KEY).await;
    world.posthog.forget_key(UNKNOWN_KEY);
    good.seed(&[DAY.parse().unwrap()], 50, 1).await;
    let culprit: String = sqlx::query_scalar("select id from traces order by timestamp, id limit 1")
        .fetch_one(&world.pool())
        .await
        .unwrap();
    let refused = Behavior::reject_events_where(move |event| event["properties"]["langfuse_id"] == culprit.as_str());
    world.posthog.script(Rule::always(refused));
    good.publish(DAY, "daily").await;
    good.wait_state(DAY, "daily", "completed").await;
    wrong_key.publish(DAY, "daily").await;
    wrong_key.wait_state(DAY, "daily", "dead").await;
    world.posthog.behave();
    world.posthog.script(Rule::always(Behavior::status(503)));
    world.succeeds(&["enqueue"]).await;
    good.publish(DAY, "again").await;
    good.wait_state(DAY, "again", "dead").await;
    world.posthog.behave();
    world.publish_job(b"no job").await;
}

/// The expressions of the dashboard by the title of their panel.
fn panels() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(deploy().join("grafana/dashboards/posthog-export.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap().to_owned();
        assert!(title.ends_with('?'), "a panel answers a question: {title}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            panel["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{title}"
        );
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            found.push((title.clone(), expression.replace("$__rate_interval", RATE_INTERVAL)));
        }
    }
    found
}

/// An alert's expression, changed so that it answers 0 or 1 instead of nothing.
fn asked(expression: &str) -> String {
    let mut asked = expression.to_owned();
    for comparison in [" > ", " == "] {
        asked = asked.replace(comparison, &format!("{comparison}bool "));
    }
    asked
}

/// A worker's scrape holds every metric of the catalogue with its type and labels, and no other.
fn assert_catalogue(scrape: &str) {
    let mut types = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in scrape.lines().filter(|line| !line.is_empty()) {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').unwrap();
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, pairs) = series.split_once('{').unwrap_or((series, ""));
            let plain = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            let names = pairs
                .trim_end_matches('}')
                .split("\",")
                .filter_map(|pair| pair.split_once('='));
            let names = names.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
            labels.entry(plain.to_owned()).or_default().extend(names);
        }
    }
    let known: BTreeMap<String, String> = METRICS
        .iter()
        .map(|metric| (metric.name.to_owned(), metric.kind.as_str().to_owned()))
        .collect();
    assert_eq!(types, known);
    for metric in METRICS {
        let expected: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(labels[metric.name], expected, "{}", metric.name);
        assert!(
            scrape.contains(&format!("# HELP {} {}\n", metric.name, metric.help)),
            "{}",
            metric.name
        );
    }
}

async fn scraped(prometheus: &Prometheus, expression: &str) -> f64 {
    let samples = prometheus.query(expression).await;
    samples
        .first()
        .and_then(|sample| sample["value"][1].as_str()?.parse().ok())
        .unwrap_or(f64::NAN)
}

fn address(url: &str) -> String {
    let rest = url.split("://").nth(1).unwrap();
    rest.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn every_panel_and_every_alert_has_its_data() {
    // Servers of its own, because the broker's metrics are those of all its virtual hosts.
    let servers = Arc::new(Servers::start().await);
    let world = Arc::new(World::on(Arc::clone(&servers)).await);
    for (name, value) in [
        ("SEND_TIMEOUT", "1s"),
        ("RETRY_BUDGET", "1500ms"),
        ("RETRY_RUNGS", "1s×2"),
        ("METRICS_INTERVAL", "1s"),
    ] {
        world.set(name, value);
    }
    shared::ledger::migrator().run(&world.pool()).await.unwrap();
    let workers = [world.ready_worker(&[]).await, world.ready_worker(&[]).await];
    let broker = servers.rabbitmq.metrics_url().expect("a broker of our own");
    let targets = [
        (
            "posthog-export",
            workers.iter().map(|worker| address(worker.url())).collect(),
        ),
        ("rabbitmq", vec![address(&broker)]),
    ];
    let rules = deploy().join("prometheus/alerts.yaml");
    let prometheus = Prometheus::start(servers.directory(), &targets, &rules).await;
    // A rate needs a sample from before the first event.
    let up = async || {
        scraped(
            &prometheus,
            "sum(count_over_time(posthog_export_build_info[1m]) > bool 1)",
        )
        .await
            >= 2.0
    };
    world.wait_until("both workers were scraped twice", PATIENCE, up).await;

    work(&world).await;
    let dead = r#"max(posthog_export_queue_messages{queue="posthog-export.dead-letters"})"#;
    let seen = async || scraped(&prometheus, dead).await >= 3.0;
    world
        .wait_until("three dead letters were scraped", PATIENCE, seen)
        .await;
    let first: &Worker = &workers[0];
    let scrape = first.metrics().await;
    assert_catalogue(&scrape);
    // It takes a number of days for a time in days.
    let counts_days = |line: &&str| !line.starts_with("posthog_export_days_not_arrived use base unit");
    let said = prometheus.lint(&scrape);
    assert_eq!(said.lines().filter(counts_days).collect::<Vec<_>>(), Vec::<&str>::new());

    let panels = panels();
    assert!(panels.len() > 20, "{panels:?}");
    for (title, expression) in panels {
        let samples = prometheus.query(&expression).await;
        assert!(!samples.is_empty(), "{title}: no data for {expression}");
        let unknown = |sample: &&Value| sample["value"][1] == "NaN";
        assert!(
            samples.iter().filter(unknown).count() < samples.len(),
            "{title}: {samples:?}"
        );
    }

    let alerts = prometheus.rules().await;
    let mut holds: BTreeMap<String, bool> = BTreeMap::new();
    for alert in &alerts {
        let (name, expression) = (alert["name"].as_str().unwrap(), alert["query"].as_str().unwrap());
        assert_eq!(alert["health"], "ok", "{alert}");
        let samples = prometheus.query(&asked(expression)).await;
        assert!(!samples.is_empty(), "{name}: no data for {expression}");
        *holds.entry(name.to_owned()).or_default() |= !prometheus.query(expression).await.is_empty();
    }
    let expected = [
        ("PosthogExportDeadLetters", true),
        ("PosthogExportLate", false),
        ("PosthogExportStepsLate", false),
        ("PosthogExportNothingExported", false),
        ("PosthogExportNoEnqueue", false),
        ("PosthogExportNotArrived", false),
        ("PosthogExportRetriesRising", true),
        ("PosthogExportBrokerBlocked", false),
        ("PosthogExportNoConsumers", false),
        ("PosthogExportRejects", true),
        ("PosthogExportKeyRefused", true),
    ];
    let expected: BTreeMap<String, bool> = expected.map(|(name, holds)| (name.to_owned(), holds)).into();
    assert_eq!(holds, expected);
    assert!(
        !scrape.contains("phc_") && !scrape.contains("good") && !scrape.contains("wrong key"),
        "{scrape}"
    );

    // The opposite case: no worker consumes.
    servers.rabbitmq.stop().await;
    let gone = async || {
        let alerts = prometheus.rules().await;
        let pending = |alert: &&Value| alert["name"] == "PosthogExportNoConsumers" && alert["state"] == "pending";
        alerts.iter().any(|alert| pending(&alert))
    };
    world.wait_until("nobody consumes", PATIENCE, gone).await;
}
