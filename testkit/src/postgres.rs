//! A private PostgreSQL.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use sqlx::{Connection, PgConnection};

use crate::directory::Directory;
use crate::install::Found;
use crate::process::Process;
use crate::server::{Server, address_of, free_port};
use crate::{docker, wait};

/// For servers whose data is thrown away afterwards. Commits stay synchronous: without `fsync` that
/// costs nothing, and a server that is killed must still know what it confirmed.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_connections=300",
    "shared_buffers=64MB",
    "dynamic_shared_memory_type=mmap",
    "jit=off",
    "log_line_prefix=%m [%p] %d ",
];

/// A PostgreSQL server, by default a private one. Its URL stays the same over restarts.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    url: Url,
}

impl Postgres {
    /// Uses somebody else's server. `url` names a database in which databases may be created.
    pub fn existing(url: &str) -> Self {
        Self {
            server: Server::Existing,
            url: url.parse().expect("TEST_DATABASE_URL is a URL"),
        }
    }

    /// Starts a private server, with those settings over the usual ones, and waits until it
    /// answers. Its files are in `directory`, or in `kept`, which outlives it.
    pub async fn start(directory: &Arc<Directory>, found: &Found, settings: &[String], kept: Option<&Path>) -> Self {
        let port = free_port();
        let server = match found {
            Found::Installed(programs) => local(directory, programs, port, settings, kept),
            Found::Docker => container(directory, port, settings),
        };
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres")
            .parse()
            .expect("a URL");
        let postgres = Self { server, url };
        postgres.wait_ready().await;
        postgres
    }

    async fn wait_ready(&self) {
        let ready = wait::until(Duration::from_mins(1), async || {
            self.server.assert_running();
            PgConnection::connect(self.url.as_str()).await.is_ok()
        });
        assert!(
            ready.await.is_some(),
            "PostgreSQL does not answer\n{}",
            self.server.tail()
        );
    }

    /// The URL of the database of that name.
    pub fn url(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(database);
        url.into()
    }

    /// Where it listens; what a proxy stands in front of.
    pub fn address(&self) -> SocketAddr {
        address_of(&self.url, 5432)
    }

    /// A connection with the right to create databases. The caller's runtime owns it.
    pub async fn connect(&self) -> PgConnection {
        let connection = PgConnection::connect(self.url.as_str()).await;
        connection.unwrap_or_else(|error| panic!("connect to PostgreSQL: {error}\n{}", self.server.tail()))
    }

    /// Whether it was started here and may be stopped and killed.
    pub fn is_ours(&self) -> bool {
        self.server.is_ours()
    }

    /// Its process id, while it runs as a process of ours.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Stops it at once without waiting for its clients (an immediate shutdown: it recovers when it
    /// starts).
    pub async fn stop(&self) {
        self.server.stop(libc::SIGQUIT, None).await;
    }

    /// Starts it again, on the same port and with the same data, and waits until it answers.
    pub async fn start_again(&self) {
        // A child process that was just being started when its parent was killed holds the shared
        // memory until it notices, moments later.
        for _ in 0..40 {
            self.server.start();
            let up = wait::until(Duration::from_mins(1), async || {
                self.server.has_ended() || PgConnection::connect(self.url.as_str()).await.is_ok()
            });
            if up.await.is_some() && !self.server.has_ended() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        self.wait_ready().await;
    }

    /// Stops and starts it.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Ends it and its children with SIGKILL.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Pauses it: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server.resume();
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.server.tail()
    }
}

fn local(directory: &Arc<Directory>, programs: &Path, port: u16, settings: &[String], kept: Option<&Path>) -> Server {
    let home = kept.map_or_else(|| directory.path().join("postgres"), Path::to_owned);
    fs::create_dir_all(&home).unwrap_or_else(|error| panic!("create {}: {error}", home.display()));
    let home = home.canonicalize().expect("the database's directory");
    let owner = owner();
    if let Some((user, group)) = owner {
        std::os::unix::fs::chown(&home, Some(user), Some(group)).expect("give the directory to the database's user");
    }
    let command = {
        let (directory, programs, home) = (directory.clone(), programs.to_owned(), home.clone());
        move |program: &str| {
            let mut command = directory.command(programs.join(program));
            command.current_dir(&home).env("LC_ALL", "C").env_remove("PGDATA");
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        }
    };

    if !home.join("data/PG_VERSION").exists() {
        initdb(command("initdb"), &home);
    }
    let (directory, settings) = (directory.clone(), all_settings(settings));
    Server::local(move || {
        let mut postgres = command("postgres");
        // No Unix socket: nobody asks for one, and a kept directory may lie too deep for its name.
        postgres.arg("-D").arg(home.join("data")).arg("-k").arg("");
        postgres.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        for setting in &settings {
            postgres.args(["-c", setting]);
        }
        Process::spawn(&directory, "postgres", postgres)
    })
}

fn initdb(mut initdb: Command, home: &Path) {
    initdb.args([
        "--no-sync",
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--pgdata",
    ]);
    let made = initdb
        .arg(home.join("data"))
        .stderr(Stdio::piped())
        .output()
        .expect("start initdb");
    assert!(
        made.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// The usual settings and others; of two with one name the last one counts.
fn all_settings(others: &[String]) -> Vec<String> {
    let usual = SETTINGS.iter().map(|&setting| setting.to_owned());
    usual.chain(others.iter().cloned()).collect()
}

/// The user and group to run as: PostgreSQL refuses to run as root.
pub(crate) fn owner() -> Option<(u32, u32)> {
    // SAFETY: `geteuid` only answers.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("read /etc/passwd");
    let find = |wanted: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == wanted).then_some(())?;
            let mut numbers = fields.skip(1).map(|field| field.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        })
    };
    Some(find("postgres").or_else(|| find("nobody")).unwrap_or((65534, 65534)))
}

fn container(directory: &Directory, port: u16, settings: &[String]) -> Server {
    let settings = all_settings(settings);
    let mut arguments = vec!["postgres"];
    for setting in &settings {
        arguments.extend(["-c", setting]);
    }
    let trust = ["POSTGRES_HOST_AUTH_METHOD=trust"];
    Server::Container(docker::run(
        directory,
        "postgres:17-alpine",
        &[(port, 5432)],
        &trust,
        &arguments,
    ))
}
