//! The real worker, driven by real jobs through RabbitMQ.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use chrono::{DateTime, Utc};
use testkit::{Worker, World, job};

use super::{Outcome, postgres_cpu};
use crate::database::Day;
use crate::measure;

/// Settings that tests change, set back to a worker's defaults.
pub(crate) const DEFAULTS: [(&str, &str); 8] = [
    ("SEND_TIMEOUT", ""),
    ("RETRY_BUDGET", ""),
    ("RETRY_RUNGS", ""),
    ("LEASE", ""),
    ("JOB_SLICE", ""),
    ("SHUTDOWN_GRACE", ""),
    ("LOG_FORMAT", ""),
    ("RUST_LOG", ""),
];
/// How often the ledger is asked whether all is done; the time itself is the ledger's own.
const POLL: Duration = Duration::from_millis(100);
/// A job that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(30);
/// By then a worker has finished what it does once after its start.
const SETTLE: Duration = Duration::from_secs(3);

/// What a worker without work takes.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Memory it holds
    pub memory: u64,
    /// CPU time meanwhile
    pub cpu: Duration,
    /// How long it was watched
    pub watched: Duration,
}

/// Exports each of the days as a job, by so many fresh workers that take so many jobs at once.
pub async fn export(world: &World, days: &[Day], workers: usize, jobs_at_once: usize, run: &str) -> Result<Outcome> {
    let workers = start(world, workers, jobs_at_once).await?;
    let cpu = || {
        workers
            .iter()
            .map(|worker| measure::cpu(worker.pid()))
            .sum::<Result<Duration>>()
    };
    let (cpu_before, postgres_before) = (cpu()?, postgres_cpu(world)?);
    let began = Utc::now();
    for day in days {
        world.publish_job(&job(day.project, day.date, Some(run))).await;
    }
    let ended = completed(world, days.len(), run).await?;
    let outcome = Outcome {
        wall: (ended - began).to_std()?,
        cpu: Some(cpu()?.saturating_sub(cpu_before)),
        postgres_cpu: postgres_cpu(world)?.saturating_sub(postgres_before),
        peak_memory: workers
            .iter()
            .map(|worker| measure::peak_memory(worker.pid()))
            .max_by_key(|peak| peak.as_ref().ok().copied())
            .transpose()?,
        events: sent(world, run).await?,
    };
    let taken_by = workers_of(world, run).await?;
    ensure!(
        taken_by == workers.len(),
        "{taken_by} of {} workers took a job: a day each is wanted",
        workers.len()
    );
    stop(workers).await;
    Ok(outcome)
}

/// Watches a fresh worker that has nothing to do.
pub async fn idle(world: &World, watched: Duration) -> Result<Idle> {
    let workers = start(world, 1, 2).await?;
    let pid = workers[0].pid();
    tokio::time::sleep(SETTLE).await;
    let before = measure::cpu(pid)?;
    tokio::time::sleep(watched).await;
    let idle = Idle {
        memory: measure::memory_now(pid)?,
        cpu: measure::cpu(pid)?.saturating_sub(before),
        watched,
    };
    stop(workers).await;
    Ok(idle)
}

async fn start(world: &World, count: usize, jobs_at_once: usize) -> Result<Vec<Worker>> {
    let concurrency = jobs_at_once.to_string();
    let mut settings = vec![("WORKER_CONCURRENCY", concurrency.as_str())];
    settings.extend(DEFAULTS);
    let mut workers = Vec::new();
    for _ in 0..count {
        let worker = world.worker(&settings).await;
        worker.wait_ready().await;
        workers.push(worker);
    }
    Ok(workers)
}

async fn stop(workers: Vec<Worker>) {
    for worker in workers {
        worker.terminate();
        worker.wait_exit().await;
    }
}

/// When the last of the runs was completed, by the ledger.
async fn completed(world: &World, count: usize, run: &str) -> Result<DateTime<Utc>> {
    let query = "select state, completed_at, error from posthog_export.runs where run = $1";
    let began = tokio::time::Instant::now();
    loop {
        let runs: Vec<(String, Option<DateTime<Utc>>, Option<String>)> =
            sqlx::query_as(query).bind(run).fetch_all(&world.pool()).await?;
        for (state, _, error) in &runs {
            let fine = ["queued", "running", "completed"].contains(&state.as_str());
            ensure!(fine, "a job is {state}: {error:?}\n{}", world.tails());
        }
        let ends: Vec<DateTime<Utc>> = runs.iter().filter_map(|(_, end, _)| *end).collect();
        if let Some(last) = ends.iter().max().filter(|_| ends.len() == count) {
            return Ok(*last);
        }
        if began.elapsed() > PATIENCE {
            bail!("a job is not done after {PATIENCE:?}\n{}", world.tails());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How many workers had a part in the run.
async fn workers_of(world: &World, run: &str) -> Result<usize> {
    let query = "select count(distinct worker) from posthog_export.runs where run = $1";
    let count: i64 = sqlx::query_scalar(query).bind(run).fetch_one(&world.pool()).await?;
    Ok(usize::try_from(count)?)
}

async fn sent(world: &World, run: &str) -> Result<u64> {
    let query = "select coalesce(sum(sent), 0)::bigint, coalesce(sum(rejected), 0)::bigint from posthog_export.streams where run = $1";
    let (sent, rejected): (i64, i64) = sqlx::query_as(query).bind(run).fetch_one(&world.pool()).await?;
    ensure!(rejected == 0, "{rejected} rows were refused");
    Ok(sent.unsigned_abs())
}
