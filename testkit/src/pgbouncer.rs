//! A private PgBouncer in front of the database server.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::directory::Directory;
use crate::install;
use crate::postgres::owner;
use crate::process::Process;
use crate::server::{free_port, via};
use crate::wait::{self, PATIENCE};

/// A running PgBouncer. Dropped, it is killed.
#[derive(Debug)]
pub struct PgBouncer {
    process: Process,
    address: SocketAddr,
}

impl PgBouncer {
    /// Starts one in front of the server of this URL, with these lines in the section `[pgbouncer]`
    /// of its configuration beside those that it needs to start.
    ///
    /// # Panics
    /// When there is no PgBouncer here and none can be installed: a test without it would prove
    /// nothing.
    pub async fn start(directory: &Arc<Directory>, database_url: &str, settings: &str) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let found = tokio::task::spawn_blocking(install::pgbouncer_program).await;
        let program = found
            .expect("look for PgBouncer")
            .unwrap_or_else(|reason| panic!("{reason}"));
        let url: reqwest::Url = database_url.parse().expect("a URL");
        let password = url.password().map(|word| format!(" password={word}"));
        let server = format!(
            "host={} port={} user={}{}",
            url.host_str().expect("a host"),
            url.port().unwrap_or(5432),
            url.username(),
            password.unwrap_or_default()
        );
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let configuration = format!(
            "[databases]\n* = {server}\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = any\n{settings}\n",
            address.ip(),
            address.port()
        );
        let name = format!("pgbouncer-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let file = directory.path().join(format!("{name}.ini"));
        fs::write(&file, configuration).expect("write PgBouncer's configuration");
        let mut command = directory.command(program);
        command.arg(&file);
        // As PostgreSQL, it refuses to run as root.
        if let Some((user, group)) = owner() {
            command.uid(user).gid(group);
        }
        let bouncer = Self {
            process: Process::spawn(directory, &name, command),
            address,
        };
        let listens = wait::until(PATIENCE, async || TcpStream::connect(address).is_ok()).await;
        assert!(
            listens.is_some(),
            "PgBouncer does not listen\n{}",
            bouncer.process.tail()
        );
        bouncer
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// That URL, through this PgBouncer.
    pub fn url(&self, database_url: &str) -> String {
        via(database_url, self.address)
    }
}
