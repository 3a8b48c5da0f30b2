//! Wiring only.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use shared::settings::variables::HTTP_ADDR;
use shared::settings::{BadSettings, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use worker::cli::{Cli, Command};
use worker::config::Config;
use worker::service::{PoolerUrl, Worker};

/// jemalloc, because glibc's allocator gives memory back to the arena that it came from, where
/// threads of other arenas do not find it. With glibc the worker's memory grew with the day, and
/// the worker needed a fifth more CPU (docs/DECISIONS.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocator reads this when the program starts. One arena: pages are freed by another thread
/// than the one that read them, and all threads can reuse what is in one arena.
#[expect(unsafe_code, reason = "the name is the allocator's own, and nobody else's")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTING: &[u8; 10] = b"narenas:1\0";

#[tokio::main]
async fn main() -> ExitCode {
    shared::posthog::install_crypto();
    let ended = match Cli::parse().command {
        None => start().await,
        Some(Command::Health) => health(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = error.chain().map(ToString::to_string);
            shared::telemetry::say_end("worker", &shared::telemetry::once(causes));
            // As the producer's: 2 says that only other settings help.
            let bad_setting = error.is::<BadSettings>() || error.is::<PoolerUrl>();
            ExitCode::from(if bad_setting { 2 } else { 1 })
        }
    }
}

async fn start() -> anyhow::Result<()> {
    // Before anything else: a program that runs as PID 1 and has no handler does not notice signals
    // at all.
    let shutdown = CancellationToken::new();
    tokio::spawn(signals(
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        shutdown.clone(),
    ));
    let (config, shown) = Config::read(Settings::from_env())?;
    shared::telemetry::init(config.log_format, &config.log_filter);
    for (name, value) in shown.values {
        tracing::info!(name, value, "setting");
    }
    for note in shown.notes {
        tracing::info!("{note}");
    }
    let metrics = worker::watch::metrics::install(&config.ladder)?;
    Worker::build(config, metrics).await?.run_until_stopped(shutdown).await
}

fn health() -> anyhow::Result<()> {
    let mut settings = Settings::from_env();
    let listening = settings.address(&HTTP_ADDR);
    settings.finish()?;
    worker::watch::probe::ask(listening).with_context(|| format!("no live worker at {listening}"))
}

/// The first signal stops gracefully, the second at once.
async fn signals(
    mut terminate: tokio::signal::unix::Signal,
    mut interrupt: tokio::signal::unix::Signal,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if shutdown.is_cancelled() {
            std::process::exit(130);
        }
        tracing::info!("stopping: no new delivery, running jobs are handed back (a second signal exits now)");
        shutdown.cancel();
    }
}
