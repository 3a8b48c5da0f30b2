//! The worker as a whole: built once, then run until it is stopped. The only file that knows the
//! consumer, the gauges and the probes together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use shared::ledger::{Ledger, LedgerError};
use shared::postgres::{ReachError, address, paging_pool, reach, writing_pool};
use shared::posthog::Posthog;
use shared::settings::{ExposeSecret, SecretString, variables};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::job::consumer::consume;
use crate::langfuse::source::Source;
use crate::posthog::capture::Capture;
use crate::posthog::hosts::Hosts;
use crate::watch::gauges::{watch_ledger, watch_queues};
use crate::watch::health::{self, Check, Health};

/// Connections of one job: one for each stream.
const CONNECTIONS_PER_JOB: u32 = 3;
/// How often the worker looks for a ledger that is not there yet.
const LEDGER_PAUSE: Duration = Duration::from_secs(2);

/// A worker that listens for probes and has not begun to work.
pub struct Worker {
    app: Arc<App>,
    listener: TcpListener,
    metrics: PrometheusHandle,
}

impl Worker {
    /// Opens the probes' socket and prepares everything else. Connects to nothing yet.
    pub async fn build(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let worker = worker_name();
        let jobs = u32::from(config.jobs) + u32::from(config.backfill);
        let connections = (jobs * CONNECTIONS_PER_JOB).min(config.connections.unwrap_or(u32::MAX));
        let source = paging_pool(&config.database_url, &worker, connections).context("DATABASE_URL cannot be used")?;
        let ledger = writing_pool(&config.ledger_url, &format!("{worker} ledger"), jobs + 1)
            .context("LEDGER_DATABASE_URL cannot be used")?;
        let posthog = Posthog::trusting(config.egress.clone(), config.sends_in_flight, config.posthog_ca.clone())
            .context("no HTTPS client can be made; are CA certificates installed?")?;
        let listener = TcpListener::bind(config.http_addr)
            .await
            .with_context(|| format!("HTTP_ADDR: cannot listen on {}", config.http_addr))?;
        let app = App {
            source: Source::new(source, config.page_rows, config.rows_per_second),
            packing: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, usize::from),
            )),
            ledger: Ledger::new(ledger),
            capture: Capture {
                posthog,
                in_flight: Arc::new(Semaphore::new(config.sends_in_flight)),
                send_timeout: config.send_timeout,
                retry_budget: config.retry_budget,
            },
            hosts: Hosts::new(config.sends_in_flight),
            health: Health::default(),
            worker,
            config,
        };
        Ok(Self {
            app: Arc::new(app),
            listener,
            metrics,
        })
    }

    /// Works until `shutdown`. Then the jobs have the grace period to hand back.
    ///
    /// # Errors
    /// When a database turns out to be one that no worker can use.
    pub async fn run_until_stopped(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        if let Ok(address) = self.listener.local_addr() {
            tracing::info!(worker = %self.app.worker, %address, "serving /livez, /readyz and /metrics");
        }
        let probes_end = CancellationToken::new();
        let probes = tokio::spawn(health::serve(
            self.listener,
            readiness(&self.app),
            self.metrics,
            probes_end.clone(),
        ));
        let ended = work(&self.app, shutdown).await;
        probes_end.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), probes).await;
        tracing::info!("stopped");
        ended
    }
}

async fn work(app: &Arc<App>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let App {
        config, ledger, worker, ..
    } = &**app;
    // Before anything is prepared or taken, unless a server is away; then it is looked at when it is back.
    let mut open = tokio::select! {
        away = without_poolers(databases(config)) => away?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let no_pooler = async {
        while !open.is_empty() {
            tokio::time::sleep(LEDGER_PAUSE).await;
            open = without_poolers(open).await?;
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    let every = config.metrics_interval;
    let work = async {
        if ledger_is_ready(app, &shutdown).await {
            tokio::select! {
                () = consume(Arc::clone(app), shutdown) => {}
                never = watch_ledger(ledger, every) => match never {},
                never = watch_queues(&config.amqp_url, worker, &config.ladder, every) => match never {},
            }
        }
    };
    tokio::select! {
        () = work => Ok(()),
        pooler = no_pooler => pooler,
    }
}

/// The variables of the databases, and their URLs.
fn databases(config: &Config) -> Vec<(&'static str, SecretString)> {
    let source = (variables::DATABASE_URL.name, config.database_url.clone());
    let ledger = (variables::LEDGER_DATABASE_URL.name, config.ledger_url.clone());
    let is_one = source.1.expose_secret() == ledger.1.expose_secret();
    if is_one { vec![source] } else { vec![source, ledger] }
}

/// Those of the databases that do not answer.
///
/// # Errors
/// When one of them is a pooler.
async fn without_poolers(
    databases: Vec<(&'static str, SecretString)>,
) -> anyhow::Result<Vec<(&'static str, SecretString)>> {
    let mut away = Vec::new();
    for (variable, url) in databases {
        match reach(&url, "posthog-export-worker").await {
            Ok(()) => {}
            Err(error @ ReachError::Pooler(_)) => {
                anyhow::bail!("{variable}: cannot use Postgres at {}: {error}", address(&url))
            }
            Err(ReachError::Failed(_)) => away.push((variable, url)),
        }
    }
    Ok(away)
}

/// What must work before deliveries can be worked on.
fn readiness(app: &Arc<App>) -> Vec<Check> {
    let (broker, ledger, database) = (Arc::clone(app), Arc::clone(app), Arc::clone(app));
    vec![
        Check::new("broker", move || {
            let app = Arc::clone(&broker);
            async move { app.health.is_consuming() }
        }),
        Check::new("ledger", move || {
            let app = Arc::clone(&ledger);
            async move { app.ledger.now().await.is_ok() }
        }),
        Check::new("database", move || {
            let app = Arc::clone(&database);
            async move { app.source.ping().await.is_ok() }
        }),
    ]
}

/// Waits until the ledger has this program's version and takes writes. Otherwise every delivery
/// would fail.
async fn ledger_is_ready(app: &App, shutdown: &CancellationToken) -> bool {
    let mut said = String::new();
    loop {
        let found = async { Ok((app.ledger.is_migrated().await?, app.ledger.is_writable().await?)) };
        let missing = match found.await {
            Ok((true, true)) => return true,
            Ok((false, _)) => "the ledger's tables are not there or too old; run `producer migrate`".to_owned(),
            Ok((true, false)) => {
                "the ledger takes no writes: its server is a replica, or its role is read-only".to_owned()
            }
            Err::<_, LedgerError>(error) => error.to_string(),
        };
        if said != missing {
            tracing::warn!("waiting: {missing}");
            said = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(LEDGER_PAUSE) => {}
            () = shutdown.cancelled() => return false,
        }
    }
}

/// The pod's name and the process id: two workers on one host have two names.
fn worker_name() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "worker".to_owned());
    format!("{host}-{}", std::process::id())
}
