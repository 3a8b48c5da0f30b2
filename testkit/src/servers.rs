//! The pair of servers that everything runs on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::directory::Directory;
use crate::install;
use crate::postgres::Postgres;
use crate::rabbitmq::RabbitMq;

/// A PostgreSQL and a RabbitMQ. Nothing in here belongs to an async runtime, so it may be shared by
/// tests that each have their own.
#[derive(Debug)]
pub struct Servers {
    /// The database server.
    pub postgres: Postgres,
    /// The broker; of a cluster, its first node.
    pub rabbitmq: RabbitMq,
    /// The other nodes of its cluster, if it is one.
    pub peers: Vec<RabbitMq>,
    directory: Arc<Directory>,
}

impl Servers {
    /// The pair of this process, started by whoever asks first. It ends with the process.
    pub async fn shared() -> &'static Arc<Self> {
        static SHARED: OnceLock<Result<Arc<Servers>, String>> = OnceLock::new();
        let start = || SHARED.get_or_init(|| start_in_thread(Wanted::default()).map(Arc::new));
        let shared = tokio::task::spawn_blocking(start).await;
        match shared.expect("wait for the servers") {
            Ok(servers) => servers,
            Err(reason) => panic!("{reason}"),
        }
    }

    /// A pair of one's own, for the demo and for tests that stop servers. It ends when it is closed
    /// or dropped.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same, with additions to the broker's `rabbitmq.conf`.
    pub async fn start_with(broker_configuration: &str) -> Self {
        Self::wanted(Wanted {
            broker_configuration: broker_configuration.to_owned(),
            ..Wanted::default()
        })
        .await
    }

    /// The same, with settings of the database server over those of the tests, as `name=value`.
    /// What the database holds stays in `kept` when there is one, for the next who starts there.
    pub async fn start_with_postgres(settings: &[&str], kept: Option<&Path>) -> Self {
        Self::wanted(Wanted {
            database_settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            database_kept: kept.map(Path::to_owned),
            ..Wanted::default()
        })
        .await
    }

    /// A PostgreSQL and a RabbitMQ cluster of so many nodes.
    pub async fn start_cluster(nodes: usize) -> Self {
        Self::wanted(Wanted {
            nodes,
            ..Wanted::default()
        })
        .await
    }

    async fn wanted(wanted: Wanted) -> Self {
        let started = tokio::task::spawn_blocking(move || start_in_thread(wanted)).await;
        started
            .expect("wait for the servers")
            .unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Where the servers and everything around them keep their files.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Ends the servers and everything else that was started in their directory, and returns when
    /// all is gone.
    pub async fn close(self) {
        let directory = self.directory;
        tokio::task::spawn_blocking(move || directory.close())
            .await
            .expect("wait for the guard");
    }
}

/// What to start.
#[derive(Debug)]
struct Wanted {
    database_settings: Vec<String>,
    /// Where the database's files outlive this process
    database_kept: Option<PathBuf>,
    broker_configuration: String,
    /// Of RabbitMQ; more than one is a cluster.
    nodes: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            database_settings: Vec::new(),
            database_kept: None,
            broker_configuration: String::new(),
            nodes: 1,
        }
    }
}

/// Starts the servers side by side in a thread and a runtime that end before this returns.
fn start_in_thread(wanted: Wanted) -> Result<Servers, String> {
    let start = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(start(&wanted))
    };
    std::thread::spawn(start).join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "testkit: the servers did not start".to_owned()))
    })
}

async fn start(wanted: &Wanted) -> Result<Servers, String> {
    let setting = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let (database, amqp) = (setting("TEST_DATABASE_URL"), setting("TEST_AMQP_URL"));
    let (postgres, rabbitmq) = install::find_or_install(database.is_none(), amqp.is_none())?;
    let directory = Arc::new(Directory::create());
    let start_postgres = async {
        match (&database, &postgres) {
            (Some(url), _) => Postgres::existing(url),
            (None, found) => {
                let found = found.as_ref().expect("PostgreSQL was looked for");
                let (settings, kept) = (&wanted.database_settings, wanted.database_kept.as_deref());
                Postgres::start(&directory, found, settings, kept).await
            }
        }
    };
    let start_rabbitmq = async {
        match (&amqp, &rabbitmq) {
            (Some(url), _) => vec![RabbitMq::existing(url, setting("TEST_MANAGEMENT_URL").as_deref())],
            (None, found) => {
                let found = found.as_ref().expect("RabbitMQ was looked for");
                if wanted.nodes > 1 {
                    RabbitMq::start_cluster(&directory, found, wanted.nodes).await
                } else {
                    vec![RabbitMq::start(&directory, found, &wanted.broker_configuration).await]
                }
            }
        }
    };
    // The broker first: it starts its process at once and then only waits, while the database is
    // being made.
    let (mut peers, postgres) = tokio::join!(start_rabbitmq, start_postgres);
    Ok(Servers {
        postgres,
        rabbitmq: peers.remove(0),
        peers,
        directory,
    })
}
