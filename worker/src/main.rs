//! Wiring only.

use std::process::ExitCode;

use shared::settings::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use worker::app::Worker;
use worker::config::Config;

#[tokio::main]
async fn main() -> ExitCode {
    shared::posthog::install_crypto();
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("worker: {error:#}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

async fn start() -> anyhow::Result<()> {
    let (config, shown) = Config::read(Settings::from_env())?;
    shared::telemetry::init(config.log_format, &config.log_filter);
    let shutdown = CancellationToken::new();
    tokio::spawn(signals(
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        shutdown.clone(),
    ));
    for (name, value) in shown {
        tracing::info!(name, value, "setting");
    }
    let metrics = worker::metrics::install()?;
    Worker::build(config, metrics).await?.run_until_stopped(shutdown).await;
    Ok(())
}

/// The first signal stops gracefully, the second at once. Handlers also make it work as PID 1, where defaults are ignored.
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
