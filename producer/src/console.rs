//! The console: pages for the operator. They show what `status` and the ledger know. `security` says
//! who may see them, `pages` what they show, and `act` what they do where actions are allowed.

mod act;
mod address;
mod app;
mod assets;
mod compression;
mod deeds;
mod kept;
mod named;
mod operator;
mod pages;
mod queues;
mod rows;
mod security;
mod serve;
mod times;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;
use reqwest::Url;
use shared::ladder::Ladder;
use shared::settings::SecretString;
use tokio::net::TcpListener;

use crate::config::Server;
use crate::error::CommandError;
use address::Prefix;
use app::App;
pub use operator::ForActions;
use operator::Operator;
use queues::Queues;
use security::{Gate, HEALTH, Hosts, Password, Protection, Way};
use serve::Tls;
pub use serve::TlsFiles;

/// How long it waits for what it has begun to do. With the last answers before that and the last words
/// after it, that is less than the 30 s after which Kubernetes kills it.
const LAST_DEEDS: Duration = Duration::from_secs(20);
/// The largest form: some ten thousand ids.
const LARGEST_FORM: usize = 1_000_000;

/// Where the console is, and what protects it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens
    pub listen: SocketAddr,
    /// Under which path its pages lie
    pub path_prefix: String,
    /// The address that browsers use
    pub public_url: Option<String>,
    /// A proxy in front of it speaks TLS
    pub behind_tls: bool,
    /// Its own certificate
    pub tls: Option<TlsFiles>,
    /// Without one it listens on loopback only
    pub password: Option<SecretString>,
}

/// What it reads.
#[derive(Debug)]
pub struct Servers {
    /// Langfuse's database
    pub source: Server,
    /// The ledger's
    pub ledger: Server,
    /// The broker
    pub broker: Server,
    /// Which delay queues there are
    pub ladder: Option<Ladder>,
    /// `EXPORT_LAG`: how long after its end a day counts as over
    pub lag: Duration,
    /// `None`: it only shows
    pub actions: Option<ForActions>,
}

/// A console that listens, and does not answer yet.
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
    router: Router,
    operator: Option<Arc<Operator>>,
    tls: Option<Tls>,
    listens: SocketAddr,
    url: String,
}

impl Console {
    /// Checks what was asked for, and listens. No server is asked: the pages say which is away.
    pub async fn listen(options: Options, servers: Servers) -> Result<Self, CommandError> {
        let prefix: Prefix = options
            .path_prefix
            .parse()
            .map_err(|why| CommandError::argument(format!("--path-prefix {}: {why}", options.path_prefix)))?;
        let public_url = options.public_url.as_deref().map(public_url).transpose()?;
        let protection = Protection {
            password: options.password.is_some(),
            tls: options.behind_tls || options.tls.is_some(),
            public_url: public_url.is_some(),
        };
        security::may_listen(options.listen, protection).map_err(CommandError::Setting)?;
        let acts = servers.actions.is_some();
        security::may_act(acts, protection.password).map_err(CommandError::Setting)?;
        let password = options.password.as_ref().map(Password::new).transpose();
        let password = password.map_err(CommandError::Setting)?;
        let tls = options.tls.map(Tls::read).transpose().map_err(CommandError::Argument)?;
        let operator = servers
            .actions
            .map(|read| Operator::new(read, &servers.ledger, &servers.source, servers.broker.clone()))
            .transpose()?;
        let queues = Queues::new(servers.broker, servers.ladder.as_ref());
        let app = App::new(
            prefix.clone(),
            &servers.ledger,
            &servers.source,
            servers.lag,
            queues,
            operator.clone(),
        )?;
        let listener = TcpListener::bind(options.listen).await.map_err(|error| {
            CommandError::refused(format!("--listen {}: cannot listen there: {error}", options.listen))
        })?;
        let listens = listener.local_addr().unwrap_or(options.listen);
        let way = Way {
            behind_proxy: options.behind_tls,
            is_tls: protection.tls,
        };
        let gate = Arc::new(Gate::new(Hosts::new(public_url.as_ref()), password, acts, way));
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Self {
            router: router(&prefix, Arc::new(app), gate),
            url: public_url.map_or_else(
                || format!("{scheme}://{listens}{}", prefix.path("/")),
                |url| url.to_string(),
            ),
            operator,
            tls,
            listens,
            listener,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listens
    }

    /// Where a browser finds it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until `stop`, and ends what it has begun to answer and to do; a connection that says
    /// nothing more does not hold it up.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        if let Some(operator) = self.operator.clone() {
            tokio::spawn(async move { operator.look_at_rights().await });
        }
        let operator = self.operator.as_ref();
        let stop = async {
            stop.await;
            // Before the last answers: a deed that waits for its place must not begin meanwhile.
            operator.inspect(|operator| operator.deeds.close());
        };
        serve::serve(self.listener, self.tls, self.router, stop).await;
        if let Some(operator) = operator {
            operator.deeds.end(LAST_DEEDS).await;
        }
    }
}

fn public_url(text: &str) -> Result<Url, CommandError> {
    let url = Url::parse(text).ok().filter(|url| {
        let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        is_web && url.username().is_empty() && url.password().is_none()
    });
    url.ok_or_else(|| CommandError::argument("--public-url is no URL; write it like https://exports.example.com"))
}

fn router(prefix: &Prefix, app: Arc<App>, gate: Arc<Gate>) -> Router {
    let mut router = Router::new().route(HEALTH, get(|| async { "ok\n" }));
    for (path, answer) in assets::all() {
        router = router.route(&prefix.path(path), get(async move || answer()));
    }
    if app.operator.is_some() {
        router = router.merge(act::router(prefix));
    }
    router
        .merge(pages::router(prefix))
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .fallback(pages::not_found)
        .with_state(app)
        .layer(middleware::from_fn(compression::compress))
        .layer(middleware::from_fn_with_state(gate, security::guard))
}
