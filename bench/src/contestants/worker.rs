//! The real worker, driven by real jobs through RabbitMQ.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use chrono::{DateTime, Utc};
use testkit::{Worker, World, job};

use super::{Outcome, postgres_cpu};
use crate::database::Day;
use crate::measure;
use crate::memory::Watch;
use crate::sample::PACED;

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
/// The routing keys of the lanes.
const JOB: &str = "job";
const BACKFILL: &str = "backfill";
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
    let workers = start(world, workers, jobs_at_once, &[]).await?;
    let messages: Vec<_> = days
        .iter()
        .map(|day| (JOB, job(day.project, day.date, Some(run))))
        .collect();
    work(world, workers, &messages, run).await
}

/// Exports each of the days as a job, one after the other, by a fresh worker of that file.
pub async fn export_by(world: &World, program: &Path, days: &[Day], run: &str) -> Result<Outcome> {
    let worker = world.worker_from(program, &settings("1", &[])).await;
    worker.wait_ready().await;
    let messages: Vec<_> = days
        .iter()
        .map(|day| (JOB, job(day.project, day.date, Some(run))))
        .collect();
    work(world, vec![worker], &messages, run).await
}

/// Works these messages off, one after the other, by a fresh worker. The name of each run is `run`,
/// or begins with it and a dot.
pub async fn export_messages(world: &World, messages: &[Vec<u8>], run: &str) -> Result<Outcome> {
    let workers = start(world, 1, 1, &[]).await?;
    let messages: Vec<_> = messages.iter().map(|message| (JOB, message.clone())).collect();
    work(world, workers, &messages, run).await
}

/// Exports two days at once by a fresh worker that sends so many events a second: one as a job of
/// the jobs lane, the other as one of the backfill, which must let the first go.
pub async fn export_paced(world: &World, days: &[Day], per_second: f64, run: &str) -> Result<Outcome> {
    let per_second = format!("{per_second:.0}");
    let workers = start(
        world,
        1,
        1,
        &[("BACKFILL_CONCURRENCY", "1"), ("EVENTS_PER_SECOND", &per_second)],
    )
    .await?;
    let lanes = [BACKFILL, JOB].into_iter();
    let messages: Vec<_> = days
        .iter()
        .zip(lanes)
        .map(|(day, lane)| (lane, job(day.project, day.date, Some(run))))
        .collect();
    let outcome = work(world, workers, &messages, run).await?;
    let first = "select project_id from posthog_export.runs where run = $1 order by completed_at limit 1";
    let first: String = sqlx::query_scalar(first).bind(run).fetch_one(&world.pool()).await?;
    // On a machine that is too busy for this pace nobody waits for it, and nobody is let go first.
    let is_busy = outcome.wall.as_secs_f64() > PACED * 1.2;
    ensure!(
        is_busy || days.last().is_some_and(|day| day.project == first),
        "the backfill did not let the other job go"
    );
    Ok(outcome)
}

async fn work(world: &World, workers: Vec<Worker>, messages: &[(&str, Vec<u8>)], run: &str) -> Result<Outcome> {
    let cpu = || {
        workers
            .iter()
            .map(|worker| measure::cpu(worker.pid()))
            .sum::<Result<Duration>>()
    };
    let (cpu_before, postgres_before) = (cpu()?, postgres_cpu(world)?);
    let watch = workers.first().map(|worker| Watch::start(worker.pid()));
    let began = Utc::now();
    for (lane, message) in messages {
        ensure!(
            world.publish("posthog-export", lane, message).await,
            "no queue took a message"
        );
    }
    let ended = completed(world, messages.len(), run).await?;
    let outcome = Outcome {
        wall: (ended - began).to_std()?,
        cpu: Some(cpu()?.saturating_sub(cpu_before)),
        postgres_cpu: postgres_cpu(world)?.saturating_sub(postgres_before),
        peak_memory: workers
            .iter()
            .map(|worker| measure::peak_memory(worker.pid()))
            .max_by_key(|peak| peak.as_ref().ok().copied())
            .transpose()?,
        memory: watch.map(|watch| watch.seen()).unwrap_or_default(),
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
    let workers = start(world, 1, 2, &[]).await?;
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

async fn start(world: &World, count: usize, jobs_at_once: usize, others: &[(&str, &str)]) -> Result<Vec<Worker>> {
    let concurrency = jobs_at_once.to_string();
    let settings = settings(&concurrency, others);
    let mut workers = Vec::new();
    for _ in 0..count {
        let worker = world.worker(&settings).await;
        worker.wait_ready().await;
        workers.push(worker);
    }
    Ok(workers)
}

fn settings<'a>(jobs_at_once: &'a str, others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut settings = vec![("WORKER_CONCURRENCY", jobs_at_once)];
    settings.extend(DEFAULTS);
    settings.extend(others);
    settings
}

async fn stop(workers: Vec<Worker>) {
    for worker in workers {
        worker.terminate();
        worker.wait_exit().await;
    }
}

/// When the last of the runs was completed, by the ledger.
async fn completed(world: &World, count: usize, run: &str) -> Result<DateTime<Utc>> {
    let query =
        "select state, completed_at, error from posthog_export.runs where run = $1 or starts_with(run, $1 || '.')";
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
    let query = "select count(distinct worker) from posthog_export.runs where run = $1 or starts_with(run, $1 || '.')";
    let count: i64 = sqlx::query_scalar(query).bind(run).fetch_one(&world.pool()).await?;
    Ok(usize::try_from(count)?)
}

async fn sent(world: &World, run: &str) -> Result<u64> {
    let query = "select coalesce(sum(sent), 0)::bigint, coalesce(sum(rejected), 0)::bigint from posthog_export.streams where run = $1 or starts_with(run, $1 || '.')";
    let (sent, rejected): (i64, i64) = sqlx::query_as(query).bind(run).fetch_one(&world.pool()).await?;
    ensure!(rejected == 0, "{rejected} rows were refused");
    Ok(sent.unsigned_abs())
}
