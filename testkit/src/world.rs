//! What one integration test gets: a database, a virtual host and a PostHog of its own, and the
//! real programs.

mod programs;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::directory::random_hex;
use crate::langfuse;
use crate::management::Management;
use crate::posthog::FakePosthog;
use crate::process::Process;
use crate::proxy::TcpProxy;
use crate::server::via;
use crate::servers::Servers;
use crate::template::{create_database, execute, find_or_create_database};
use crate::tls::install_crypto;
use crate::wait::{self, Reached};

pub use programs::Output;

/// Where the programs believe that Langfuse is: links in events lead there.
pub const LANGFUSE_URL: &str = "https://langfuse.example.com";

/// One test's world. Worlds share the servers and nothing else, so tests run side by side.
pub struct World {
    /// The database, with the Langfuse tables.
    pub database_url: String,
    /// The virtual host.
    pub amqp_url: String,
    /// The management API, with user and password.
    pub management_url: String,
    /// The virtual host's name.
    pub vhost: String,
    /// The receiving end.
    pub posthog: FakePosthog,
    pub(crate) management: Management,
    name: String,
    database: String,
    pool: PgPool,
    servers: Arc<Servers>,
    settings: Mutex<BTreeMap<String, String>>,
    processes: Mutex<Vec<Arc<Process>>>,
    started: AtomicUsize,
}

impl World {
    /// A fresh world on this process's shared servers.
    pub async fn new() -> Self {
        Self::on(Servers::shared().await.clone()).await
    }

    /// A fresh world on other servers.
    pub async fn on(servers: Arc<Servers>) -> Self {
        let name = format!("world_{}", random_hex(8));
        create_database(&servers.postgres, &name).await;
        Self::with_database(servers, &name).await
    }

    /// A world whose database may be there already, with rows in Langfuse's tables; ours are made
    /// anew.
    pub async fn in_database(servers: Arc<Servers>, name: &str) -> Self {
        find_or_create_database(&servers.postgres, name).await;
        Self::with_database(servers, name).await
    }

    async fn with_database(servers: Arc<Servers>, database: &str) -> Self {
        install_crypto();
        let name = format!("world_{}", random_hex(8));
        let management = servers.rabbitmq.management();
        let (posthog, ()) = tokio::join!(
            FakePosthog::start(),
            management.create_vhost(&name, servers.rabbitmq.user()),
        );
        let database_url = servers.postgres.url(database);
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy(&database_url)
            .expect("a pool");
        let world = Self {
            amqp_url: servers.rabbitmq.amqp_url(&name),
            management_url: servers.rabbitmq.management_url(),
            vhost: name.clone(),
            settings: Mutex::default(),
            processes: Mutex::default(),
            started: AtomicUsize::new(0),
            database_url,
            posthog,
            management,
            name,
            database: database.to_owned(),
            pool,
            servers,
        };
        for (name, value) in [
            ("DATABASE_URL", world.database_url.clone().as_str()),
            ("AMQP_URL", world.amqp_url.clone().as_str()),
            ("ENCRYPTION_KEY", langfuse::ENCRYPTION_KEY),
            ("LANGFUSE_URL", LANGFUSE_URL),
            ("EGRESS_ALLOW", "127.0.0.1"),
            ("LOG_FORMAT", "json"),
            ("RUST_LOG", "info,worker=debug,shared=debug,producer=debug"),
            // Short enough for a test. Each is below the next, as in production.
            ("SEND_TIMEOUT", "5s"),
            ("RETRY_BUDGET", "10s"),
            ("RETRY_RUNGS", "1s×3,2s×3"),
            ("LEASE", "5s"),
            ("JOB_SLICE", "60s"),
            ("SHUTDOWN_GRACE", "10s"),
        ] {
            world.set(name, value);
        }
        world
    }

    /// The servers it lives on.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// A small pool on the database.
    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    /// The environment that this world's programs get, apart from `HTTP_ADDR`, which is each
    /// worker's own.
    pub fn env(&self) -> BTreeMap<String, String> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the environment of every program that is started from now on.
    pub fn set(&self, name: &str, value: &str) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.insert(name.to_owned(), value.to_owned());
    }

    /// The database's URL through a proxy that stands in front of `servers().postgres.address()`.
    pub fn database_url_via(&self, proxy: &TcpProxy) -> String {
        via(&self.database_url, proxy.address())
    }

    /// The broker's URL through a proxy that stands in front of `servers().rabbitmq.address()`.
    pub fn amqp_url_via(&self, proxy: &TcpProxy) -> String {
        via(&self.amqp_url, proxy.address())
    }

    /// A proxy in front of the database server.
    pub async fn database_proxy(&self) -> TcpProxy {
        TcpProxy::start(self.servers.postgres.address()).await
    }

    /// A proxy in front of the broker.
    pub async fn amqp_proxy(&self) -> TcpProxy {
        TcpProxy::start(self.servers.rabbitmq.address()).await
    }

    /// Looks every few milliseconds until `look` answers `true` or `Some`. When that takes longer
    /// than `timeout` it panics, with what was waited for and the ends of all logs.
    pub async fn wait_until<O, F, Fut>(&self, what: &str, timeout: Duration, look: F) -> O::Value
    where
        O: Reached,
        F: FnMut() -> Fut,
        Fut: Future<Output = O>,
    {
        match wait::until(timeout, look).await {
            Some(value) => value,
            None => panic!("waited {timeout:?} in vain until {what}\n{}", self.tails()),
        }
    }

    /// Everything that all programs started here wrote.
    pub fn logs(&self) -> String {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter().map(|process| process.log()).collect()
    }

    /// The ends of the logs of everything that was started here.
    pub fn tails(&self) -> String {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.iter().map(|process| process.tail()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tails());
        }
        for process in self.processes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            process.kill();
        }
        // A private server is removed as a whole. Somebody else's server is left as it was found.
        let (servers, name, database) = (self.servers.clone(), self.name.clone(), self.database.clone());
        if servers.postgres.is_ours() && servers.rabbitmq.is_ours() {
            return;
        }
        let clear = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                if !servers.postgres.is_ours() {
                    let drop_database = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
                    execute(&mut servers.postgres.connect().await, drop_database).await;
                }
                if !servers.rabbitmq.is_ours() {
                    servers.rabbitmq.management().delete_vhost(&name).await;
                }
            });
        };
        let _ = std::thread::spawn(clear).join();
    }
}
