//! `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// Longest that a readiness probe waits for a database.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What the rest of the worker knows of its health.
#[derive(Debug, Default)]
pub struct Health {
    consuming: AtomicBool,
}

impl Health {
    /// Whether deliveries are being taken.
    pub fn broker(&self, consuming: bool) {
        self.consuming.store(consuming, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Probes {
    app: Arc<App>,
    metrics: PrometheusHandle,
}

/// Serves until `shutdown`.
pub async fn serve(app: Arc<App>, listener: TcpListener, metrics: PrometheusHandle, shutdown: CancellationToken) {
    let router = Router::new()
        // Alive means: the event loop answers. Never the servers' state, or an outage there restarts every worker.
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(|State(probes): State<Probes>| async move { render(&probes.metrics) }),
        )
        .with_state(Probes { app, metrics });
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
    {
        tracing::error!(%error, "health and metrics are not served any more");
    }
}

fn render(metrics: &PrometheusHandle) -> String {
    // Histograms keep what was recorded until somebody folds it; scrapes are often enough.
    metrics.run_upkeep();
    metrics.render()
}

async fn ready(State(probes): State<Probes>) -> Response {
    let app = &probes.app;
    let ledger = tokio::time::timeout(PING_TIMEOUT, app.ledger.now());
    let source = tokio::time::timeout(PING_TIMEOUT, app.source.ping());
    let (ledger, source) = tokio::join!(ledger, source);
    let checks = json!({
        "broker": app.health.consuming.load(Ordering::Relaxed),
        "ledger": matches!(ledger, Ok(Ok(_))),
        "database": matches!(source, Ok(Ok(()))),
    });
    let all = checks
        .as_object()
        .is_some_and(|checks| checks.values().all(|ok| ok == true));
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(checks)).into_response()
}
