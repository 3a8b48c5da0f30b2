//! The worker as a whole: built once, then run until it is stopped. The only file that knows the
//! consumer, the gauges and the probes together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use shared::ledger::{Ledger, LedgerError};
use shared::postgres::{ReachError, address, paging_pool, reach, writing_pool};
use shared::posthog::Posthog;
use shared::settings::{SecretString, variables};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::job::consumer::consume;
use crate::langfuse::source::Source;
use crate::posthog::capture::Capture;
use crate::posthog::hosts::Hosts;
use crate::posthog::known_keys::KnownKeys;
use crate::watch::gauges::{watch_ledger, watch_queues};
use crate::watch::health::{self, Check, Health};

/// Connections of one job: one for each stream.
const CONNECTIONS_PER_JOB: u32 = 3;
/// How often the worker looks for a ledger that is not there yet.
const LEDGER_PAUSE: Duration = Duration::from_secs(2);
/// What may be the cause when the ledger cannot be used.
const STANDS_IN: &str = " (LEDGER_DATABASE_URL is not set, so DATABASE_URL is used)";

/// A URL that leads to a connection pooler: only another URL helps.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: cannot use Postgres at {address}: {cause}")]
pub struct PoolerUrl {
    variable: &'static str,
    address: String,
    cause: ReachError,
}

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
            hosts: Hosts::new(config.sends_in_flight, config.events_per_second),
            keys: KnownKeys::default(),
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
    let stop = shutdown.clone();
    let every = config.metrics_interval;
    let mut work = Box::pin(async {
        if ledger_is_ready(app, &stop).await? {
            tokio::select! {
                () = consume(Arc::clone(app), stop) => {}
                never = watch_ledger(ledger, every) => match never {},
                never = watch_queues(&config.amqp_url, worker, &config.ladder, every) => match never {},
            }
        }
        Ok(())
    });
    let (source, url) = (variables::DATABASE_URL.name, &config.database_url);
    // Before anything is prepared or taken, unless the server is away; then it is looked at when it is back.
    let away = tokio::select! {
        found = without_pooler(source, url) => found?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let pooler = async {
        let mut away = away;
        if let Some(why) = &away {
            tracing::warn!("{source}: Postgres at {} cannot be reached yet: {why}", address(url));
        }
        while away.is_some() {
            tokio::time::sleep(LEDGER_PAUSE).await;
            away = without_pooler(source, url).await?;
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        ended = &mut work => ended,
        pooler = pooler => {
            // Jobs at work hand back, as at any other stop. A lease left to run out would count as
            // a worker's death.
            shutdown.cancel();
            work.await?;
            pooler
        }
    }
}

/// Why the server does not answer, or does not let us in; `None` when it is there.
///
/// # Errors
/// When it is a pooler.
async fn without_pooler(variable: &'static str, url: &SecretString) -> anyhow::Result<Option<String>> {
    match reach(url, "posthog-export-worker").await {
        Ok(()) => Ok(None),
        Err(ReachError::Failed(why)) => Ok(Some(why)),
        Err(cause @ ReachError::Pooler(_)) => Err(anyhow::Error::new(PoolerUrl {
            variable,
            address: address(url),
            cause,
        })),
    }
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
            async move { matches!(app.ledger.is_writable().await, Ok(true)) }
        }),
        Check::new("database", move || {
            let app = Arc::clone(&database);
            async move { app.source.ping().await.is_ok() }
        }),
    ]
}

/// Waits until the ledger has this program's version and takes writes. Otherwise every delivery
/// would fail. `false` when the worker is stopped before.
///
/// # Errors
/// When the ledger's server is a pooler.
async fn ledger_is_ready(app: &App, shutdown: &CancellationToken) -> anyhow::Result<bool> {
    let url = &app.config.ledger_url;
    let (variable, stands_in) = if app.config.ledger_is_source {
        (variables::DATABASE_URL.name, STANDS_IN)
    } else {
        (variables::LEDGER_DATABASE_URL.name, "")
    };
    let mut said = String::new();
    let mut reached = false;
    loop {
        let found = async {
            if !reached && let Some(why) = without_pooler(variable, url).await? {
                return Ok(Some(format!("the ledger cannot be reached: {why}")));
            }
            reached = true;
            let found = async { Ok((app.ledger.is_migrated().await?, app.ledger.is_writable().await?)) };
            anyhow::Ok(match found.await {
                Ok((true, true)) => None,
                Ok((false, _)) => {
                    Some("the ledger's tables are not there or too old; run `producer migrate`".to_owned())
                }
                Ok((true, false)) => {
                    Some("the ledger takes no writes: its server is a replica, or its role is read-only".to_owned())
                }
                Err::<_, LedgerError>(error) => Some(error.to_string()),
            })
        };
        let missing = tokio::select! {
            missing = found => missing?,
            () = shutdown.cancelled() => return Ok(false),
        };
        let Some(missing) = missing else { return Ok(true) };
        if said != missing {
            tracing::warn!("waiting: {missing}{stands_in}");
            said = missing;
        }
        tokio::select! {
            () = tokio::time::sleep(LEDGER_PAUSE) => {}
            () = shutdown.cancelled() => return Ok(false),
        }
    }
}

/// The pod's name and the process id: two workers on one host have two names.
fn worker_name() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "worker".to_owned());
    format!("{host}-{}", std::process::id())
}
