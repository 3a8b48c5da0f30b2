//! One export of a fleet: the producer enqueues all days, then one worker works them off.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use testkit::{Worker, World};

use super::measured::Done;
use super::rows::{DAYS, RANGE};
use crate::contestants::postgres_cpu;
use crate::contestants::worker::DEFAULTS;
use crate::measure;

/// How often the ledger is asked whether all is done; the time itself is the ledger's own.
const POLL: Duration = Duration::from_millis(500);
/// A fleet that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(30);

/// Exports all days of the fleet by a fresh worker: this commit's, or the one in that file.
pub async fn export(world: &World, program: Option<&Path>, projects: u32) -> Result<Done> {
    let jobs = projects * DAYS;
    enqueue(world, jobs).await?;
    let postgres_before = postgres_cpu(world)?;
    let transactions_before = transactions(world).await?;
    let worker = start(world, program).await;
    let polls = completed(world, jobs).await?;
    let (cpu, peak_memory) = (measure::cpu(worker.pid())?, measure::peak_memory(worker.pid())?);
    let postgres_cpu = postgres_cpu(world)?.saturating_sub(postgres_before);
    worker.terminate();
    worker.wait_exit().await;
    // A server process that ends hands in what it has counted.
    gone(world).await?;
    let transactions = transactions(world).await?.saturating_sub(transactions_before);
    let span = "select extract(epoch from max(completed_at) - min(started_at))::float8 from posthog_export.runs";
    Ok(Done {
        jobs,
        wall: sqlx::query_scalar(span).fetch_one(&world.pool()).await?,
        cpu: cpu.as_secs_f64(),
        postgres_cpu: postgres_cpu.as_secs_f64(),
        transactions: transactions.saturating_sub(polls),
        peak_memory,
    })
}

/// Empties the ledger and the queues, and enqueues every day.
async fn enqueue(world: &World, jobs: u32) -> Result<()> {
    let empty = "truncate posthog_export.runs, posthog_export.sweeps, posthog_export.paused cascade";
    sqlx::raw_sql(empty).execute(&world.pool()).await?;
    let [first, last] = RANGE;
    let output = world
        .producer(&["enqueue", "--from", first, "--to", last, "--yes"])
        .await;
    ensure!(output.code == 0, "producer enqueue: {}{}", output.stdout, output.stderr);
    let queued = "select count(*) from posthog_export.runs where state = 'queued'";
    let queued: i64 = sqlx::query_scalar(queued).fetch_one(&world.pool()).await?;
    ensure!(queued == i64::from(jobs), "{queued} of {jobs} jobs were enqueued");
    sqlx::raw_sql("vacuum (analyze) posthog_export.runs, posthog_export.streams")
        .execute(&world.pool())
        .await?;
    Ok(())
}

async fn start(world: &World, program: Option<&Path>) -> Worker {
    let mut settings = vec![("BACKFILL_CONCURRENCY", "8")];
    settings.extend(DEFAULTS);
    match program {
        Some(program) => world.worker_from(program, &settings).await,
        None => world.worker(&settings).await,
    }
}

/// Waits until all jobs are completed. Answers how often it looked.
async fn completed(world: &World, jobs: u32) -> Result<u64> {
    let query = "select count(*) filter (where state = 'completed'),
        (array_agg(state || ': ' || coalesce(error, '')) filter (where state not in ('queued', 'running', 'completed')))[1]
        from posthog_export.runs";
    let began = tokio::time::Instant::now();
    let mut polls = 0;
    loop {
        let (completed, other): (i64, Option<String>) = sqlx::query_as(query).fetch_one(&world.pool()).await?;
        polls += 1;
        if let Some(other) = other {
            bail!("a job is {other}\n{}", world.tails());
        }
        if completed == i64::from(jobs) {
            return Ok(polls);
        }
        if began.elapsed() > PATIENCE {
            bail!(
                "only {completed} of {jobs} jobs are done after {PATIENCE:?}\n{}",
                world.tails()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Transactions of the world's database so far.
async fn transactions(world: &World) -> Result<u64> {
    let query = "select xact_commit from pg_stat_database where datname = current_database()";
    let count: i64 = sqlx::query_scalar(query).fetch_one(&world.pool()).await?;
    Ok(count.unsigned_abs())
}

/// Waits until the worker's connections have ended.
async fn gone(world: &World) -> Result<()> {
    let query = "select count(*) from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and application_name <> ''";
    loop {
        let open: i64 = sqlx::query_scalar(query).fetch_one(&world.pool()).await?;
        if open == 0 {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}
