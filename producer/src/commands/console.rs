//! `console`: shows the export in a browser.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use shared::settings::variables;
use shared::settings::{SecretString, Settings};
use tokio::signal::unix::{SignalKind, signal};

use crate::config;
use crate::console::{Console, ForActions, Options, Servers, TlsFiles};
use crate::error::CommandError;
use crate::output::Exit;

/// What `--help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  producer console
  kubectl --namespace posthog-export port-forward deployment/posthog-export-console 8090
                                   then http://localhost:8090/ is the console of the cluster
  producer console --listen 0.0.0.0:8090 --behind-tls --public-url https://exports.example.com
  producer console --tls-cert tls.crt --tls-key tls.key
  CONSOLE_PASSWORD_FILE=password.txt producer console --allow-actions

Without --allow-actions the console only shows, and PostgreSQL is told to refuse its writes. On a
loopback address it needs no password, unless CONSOLE_PASSWORD or --public-url is set. Every other
address needs a password of at least 12 characters (any user name), TLS, and --public-url: a request
under another name is refused. TLS is a certificate of its own (--tls-cert, --tls-key; renewed files
are used within seconds), or a proxy in front that speaks TLS with the browser (--behind-tls).

Wrong passwords are slowed down by the address that they come from. With --behind-tls that is the
last address of X-Forwarded-For, so the proxy must set that header. A proxy that only passes bytes
on does not set it, and then whoever guesses passwords chooses the address. A browser that was let
in once gets a cookie and is counted by itself, so that others' guesses do not keep it out.

With --allow-actions its pages have buttons: pause and resume a project, check its key, export days
of it again; requeue, discard and look at dead letters; run the doctor's checks. That needs
CONSOLE_PASSWORD everywhere, ENCRYPTION_KEY, and rights to write (posthog_export_operator of
deploy/sql). What was done, and from where, is on the page /actions. Give such a console a host name
of its own: whatever else is served under the same one could send its forms.

With --path-prefix /exports its pages lie under /exports/; a proxy must not take the prefix away.
`/healthz` answers probes without a password.

A server that is away does not end it: the page says which, and shows what it knew before.

Exit code: 0 when SIGTERM or SIGINT ended it; 1 when it cannot listen; 2 when a password or another
setting that it needs is missing.";

/// Arguments of `console`.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The address and port to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// The path under which the pages lie, for example /exports
    #[arg(long, value_name = "PATH", default_value = "")]
    pub path_prefix: String,
    /// The address under which browsers find the console; needed unless it listens on loopback
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// A proxy in front of the console speaks TLS with the browser
    #[arg(long)]
    pub behind_tls: bool,
    /// The console's own certificate, to speak TLS itself (PEM, with the intermediate certificates)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Show buttons that change something (see below); needs CONSOLE_PASSWORD
    #[arg(long)]
    pub allow_actions: bool,
}

/// What `console` reads from the environment.
#[derive(Debug)]
pub struct Config {
    servers: Servers,
    password: Option<SecretString>,
}

impl Config {
    /// Reads it; what actions need, only where they are allowed.
    pub fn read(allow_actions: bool, settings: &mut Settings) -> Self {
        Self {
            servers: Servers {
                source: config::source(settings),
                ledger: config::ledger(settings),
                broker: config::broker(settings),
                ladder: config::ladder(settings),
                lag: config::horizon(settings).lag,
                actions: allow_actions.then(|| ForActions::read(settings)),
            },
            password: settings.optional_secret(&variables::CONSOLE_PASSWORD),
        }
    }
}

/// Executes the command.
pub async fn execute(arguments: Arguments, config: Config) -> Result<Exit, CommandError> {
    let no_signals = |error: std::io::Error| CommandError::refused(format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let options = Options {
        listen: arguments.listen,
        path_prefix: arguments.path_prefix,
        public_url: arguments.public_url,
        behind_tls: arguments.behind_tls,
        tls: arguments
            .tls_cert
            .zip(arguments.tls_key)
            .map(|(cert, key)| TlsFiles { cert, key }),
        password: config.password,
    };
    if let Some(variable) = config.servers.ledger.instead_of {
        tracing::info!("{variable} is not set, so DATABASE_URL is used for the ledger, too");
    }
    let console = Console::listen(options, config.servers).await?;
    let actions = arguments.allow_actions;
    tracing::info!(listens = %console.address(), url = console.url(), actions, "the console answers");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    console.serve(stop).await;
    Ok(Exit::Done)
}
