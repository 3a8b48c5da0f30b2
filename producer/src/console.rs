//! The console: pages for the operator. They show what `status` and the ledger know, and change
//! nothing. `security` says who may see them, `pages` what they show.

mod address;
mod app;
mod assets;
mod kept;
mod pages;
mod queues;
mod rows;
mod security;
mod times;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use reqwest::Url;
use shared::ladder::Ladder;
use shared::settings::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::Server;
use crate::error::CommandError;
use address::Prefix;
use app::App;
use queues::Queues;
use security::{Gate, HEALTH, Hosts, Password, Protection};

/// How long it waits for open connections when it ends.
const DRAIN: Duration = Duration::from_secs(5);

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
    /// Without one it listens on loopback only
    pub password: Option<SecretString>,
}

/// What it reads.
#[derive(Clone, Debug)]
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
}

/// A console that listens, and does not answer yet.
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
    router: Router,
    listens: SocketAddr,
    url: String,
}

impl Console {
    /// Checks what was asked for, and listens. No server is asked: the pages say which is away.
    pub async fn listen(options: Options, servers: Servers) -> Result<Self, CommandError> {
        let prefix: Prefix = options
            .path_prefix
            .parse()
            .map_err(|why| CommandError::refused(format!("--path-prefix {}: {why}", options.path_prefix)))?;
        let public_url = options.public_url.as_deref().map(public_url).transpose()?;
        let protection = Protection {
            password: options.password.is_some(),
            behind_tls: options.behind_tls,
            public_url: public_url.is_some(),
        };
        security::may_listen(options.listen, protection).map_err(CommandError::Refused)?;
        let password = options.password.as_ref().map(Password::new).transpose();
        let password = password.map_err(CommandError::Refused)?;
        let queues = Queues::new(servers.broker, servers.ladder.as_ref());
        let app = App::new(prefix.clone(), &servers.ledger, &servers.source, servers.lag, queues)?;
        let listener = TcpListener::bind(options.listen).await.map_err(|error| {
            CommandError::refused(format!("--listen {}: cannot listen there: {error}", options.listen))
        })?;
        let listens = listener.local_addr().unwrap_or(options.listen);
        let gate = Arc::new(Gate::new(Hosts::new(public_url.as_ref()), password));
        Ok(Self {
            router: router(&prefix, Arc::new(app), gate),
            url: public_url.map_or_else(
                || format!("http://{listens}{}", prefix.path("/")),
                |url| url.to_string(),
            ),
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

    /// Answers until `stop`, and ends what it has begun to answer; a connection that says nothing more
    /// does not hold it up.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), CommandError> {
        let service = self.router.into_make_service_with_connect_info::<SocketAddr>();
        let (stopping, stopped) = oneshot::channel();
        let serving = axum::serve(self.listener, service).with_graceful_shutdown(async {
            stop.await;
            let _ = stopping.send(());
        });
        let given_up = async {
            // An error means that `stop` is not waited for any more: then the console has ended by itself.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            served = serving => served.map_err(|error| CommandError::refused(format!("the console ended: {error}"))),
            () = given_up => Ok(()),
        }
    }
}

fn public_url(text: &str) -> Result<Url, CommandError> {
    let url = Url::parse(text).ok().filter(|url| {
        let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        is_web && url.username().is_empty() && url.password().is_none()
    });
    url.ok_or_else(|| CommandError::refused("--public-url is no URL; write it like https://exports.example.com"))
}

fn router(prefix: &Prefix, app: Arc<App>, gate: Arc<Gate>) -> Router {
    let mut router = Router::new().route(HEALTH, get(|| async { "ok\n" }));
    for (path, answer) in assets::all() {
        router = router.route(&prefix.path(path), get(async move || answer()));
    }
    router
        .merge(pages::router(prefix))
        .fallback(pages::not_found)
        .with_state(app)
        .layer(middleware::from_fn_with_state(gate, security::guard))
}
