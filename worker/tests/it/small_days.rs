//! Many small days: what a job costs beside its rows.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use testkit::posthog::{Behavior, Rule};
use testkit::{Count, Outcome};

use crate::{DAY, PATIENCE, day, world};

/// How many transactions a job of a small day may take. For each of them the worker waits.
const TRANSACTIONS: usize = 9;

/// What a worker asks once, for its probes or for its metrics.
const NOT_OF_A_JOB: [&str; 10] = [
    "langfuse_has_index",
    "langfuse_missing_columns",
    "ledger_gauges",
    "ledger_is_migrated",
    "ledger_is_writable",
    "ledger_last_enqueued",
    "ledger_now",
    "ledger_paused_projects",
    "ledger_version",
    "source_ping",
];

/// Whether a statement is a transaction of a job by itself. The claim's are one together, which its
/// lock stands for; `begin` and `commit` have no name.
fn counts(name: &str) -> bool {
    let of_the_claim = name.starts_with("ledger_claim_") || name.starts_with("ledger_forget_");
    !NOT_OF_A_JOB.contains(&name) && !name.is_empty() && (!of_the_claim || name == "ledger_claim_lock")
}

/// The names of the statements in a worker's log.
fn statements(log: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("\"sqlx::query\"")) {
        let name = line.split("-- ").nth(1).unwrap_or_default();
        let name = name
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        *found.entry(name.to_owned()).or_default() += 1;
    }
    found
}

#[tokio::test]
async fn a_job_of_a_small_day_takes_few_transactions() {
    let (world, project) = world().await;
    let days: Vec<NaiveDate> = (0..20).map(|n| day() + Days::new(n)).collect();
    project.seed(&days, 3, 5).await;
    let told = [("RUST_LOG", "info,sqlx::query=debug"), ("WORKER_CONCURRENCY", "2")];
    let worker = world.ready_worker(&told).await;
    project.publish_all(&days).await;
    let all = async || worker.count(Outcome::Completed, None) == days.len();
    world.wait_until("all days are completed", 2 * PATIENCE, all).await;
    let statements = statements(&worker.log());
    let transactions: usize = statements
        .iter()
        .filter(|(name, _)| counts(name))
        .map(|(_, times)| times)
        .sum();
    assert!(statements["ledger_claim_lock"] >= days.len(), "{statements:#?}");
    assert!(
        transactions <= TRANSACTIONS * days.len(),
        "{transactions}: {statements:#?}"
    );
    // The checkpoints that were saved with the end of their run hold what was sent.
    project.all_arrive(&days).await;
    let in_the_log: i64 = worker
        .endings()
        .iter()
        .filter_map(|ending| ending.line["events"].as_i64())
        .sum();
    assert_eq!(project.count("daily", Count::Sent).await, in_the_log);
}

/// A worker that dies sends again what it has not saved.
#[tokio::test]
async fn a_checkpoint_does_not_wait_for_a_stream_that_takes_long() {
    let (world, project) = world().await;
    project.seed(&[day()], 20, 5).await;
    world.posthog.script(Rule::choose(|seen| {
        let has_scores = seen.events.iter().any(|event| event["event"] == "langfuse score");
        has_scores.then_some(Behavior::HoldUnstored)
    }));
    let _worker = world
        .ready_worker(&[("SEND_TIMEOUT", "40s"), ("RETRY_BUDGET", "50s")])
        .await;
    project.publish(DAY, "daily").await;
    world.posthog.held().await;
    let others = async || {
        let done = "select array_agg(stream order by stream) from posthog_export.streams where done";
        let done: Option<Vec<String>> = sqlx::query_scalar(done).fetch_one(&world.pool()).await.unwrap();
        done == Some(vec!["generation".to_owned(), "trace".to_owned()])
    };
    world.wait_until("the other streams are saved", PATIENCE, others).await;
    assert_eq!(project.state(DAY, "daily").await, "running");
    world.posthog.release();
    project.arrives(DAY).await;
}
