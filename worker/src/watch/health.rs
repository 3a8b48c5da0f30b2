//! `/livez`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The longest time that a readiness probe waits for a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// What the rest of the worker knows of its health.
#[derive(Debug, Default)]
pub struct Health {
    consuming: AtomicBool,
}

impl Health {
    /// Says whether deliveries are being taken.
    pub fn broker(&self, consuming: bool) {
        self.consuming.store(consuming, Ordering::Relaxed);
    }

    /// Whether deliveries are being taken.
    pub fn is_consuming(&self) -> bool {
        self.consuming.load(Ordering::Relaxed)
    }
}

/// One thing that must work before the worker is ready.
pub struct Check {
    name: &'static str,
    works: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
}

impl Check {
    /// A check that `/readyz` shows under this name. One that takes longer than two seconds counts
    /// as failed.
    pub fn new<F>(name: &'static str, works: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        Self {
            name,
            works: Box::new(move || works().boxed()),
        }
    }

    async fn run(&self) -> (&'static str, bool) {
        let works = tokio::time::timeout(CHECK_TIMEOUT, (self.works)()).await;
        (self.name, works.unwrap_or(false))
    }
}

#[derive(Clone)]
struct Probes {
    checks: Arc<Vec<Check>>,
    metrics: PrometheusHandle,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, checks: Vec<Check>, metrics: PrometheusHandle, shutdown: CancellationToken) {
    let router = Router::new()
        // Alive means: the event loop answers. It never means the servers' state, or an outage
        // there would restart every worker.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(|State(probes): State<Probes>| async move { render(&probes.metrics) }),
        )
        .with_state(Probes {
            checks: Arc::new(checks),
            metrics,
        });
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
    {
        tracing::error!(%error, "health and metrics are not served any more");
    }
}

fn render(metrics: &PrometheusHandle) -> String {
    // Histograms keep every recorded value until upkeep folds them; scrapes come often enough for
    // that.
    metrics.run_upkeep();
    metrics.render()
}

async fn ready(State(probes): State<Probes>) -> Response {
    let checks: BTreeMap<_, _> = join_all(probes.checks.iter().map(Check::run))
        .await
        .into_iter()
        .collect();
    let status = if checks.values().all(|works| *works) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(checks)).into_response()
}
