//! A server we may start, stop, kill and pause, whether it is a process, a container, or somebody
//! else's.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng;

use crate::docker::docker;
use crate::process::Process;

type Launch = Box<dyn Fn() -> Process + Send + Sync>;

/// Where a server runs.
pub(crate) enum Server {
    /// Somebody else's: only used, never stopped.
    Existing,
    /// A container of ours, by its id.
    Container(String),
    /// A process of ours.
    Local {
        launch: Launch,
        process: Mutex<Option<Process>>,
    },
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Existing => formatter.write_str("Existing"),
            Self::Container(id) => write!(formatter, "Container({id})"),
            Self::Local { process, .. } => write!(formatter, "Local({process:?})"),
        }
    }
}

impl Server {
    /// A process of ours, started at once.
    pub(crate) fn local(launch: impl Fn() -> Process + Send + Sync + 'static) -> Self {
        let process = Mutex::new(Some(launch()));
        Self::Local {
            launch: Box::new(launch),
            process,
        }
    }

    /// Whether it was started here.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self, Self::Existing)
    }

    fn process(&self) -> Option<MutexGuard<'_, Option<Process>>> {
        match self {
            Self::Local { process, .. } => Some(process.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::Existing | Self::Container(_) => None,
        }
    }

    /// Its process, while it runs as one of ours.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process()?.as_ref().map(Process::pid)
    }

    /// Starts it again after a stop or kill; nothing when it runs.
    pub(crate) fn start(&self) {
        match self {
            Self::Existing => not_ours(),
            Self::Container(id) => drop(docker(&["start", id])),
            Self::Local { launch, .. } => {
                let mut process = self.process().expect("a local server");
                if process.as_ref().is_none_or(|process| process.exit_status().is_some()) {
                    *process = Some(launch());
                }
            }
        }
    }

    /// Stops it in order, by a signal to `pid` (else to the process that was started), and waits
    /// until it is gone.
    pub(crate) async fn stop(&self, signal: i32, pid: Option<u32>) {
        match self {
            Self::Existing => not_ours(),
            Self::Container(id) => drop(docker(&["stop", id])),
            Self::Local { .. } => {
                let taken = self.process().expect("a local server").take();
                let Some(process) = taken else { return };
                process.resume();
                match pid {
                    Some(pid) if process.exit_status().is_none() => crate::process::send_signal(pid, signal),
                    _ => process.signal(signal),
                }
                let stopped = process.exited_within(Duration::from_mins(1)).await;
                assert!(stopped.is_some(), "the server does not stop\n{}", process.tail());
            }
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self) {
        match self {
            Self::Existing => not_ours(),
            Self::Container(id) => drop(docker(&["kill", id])),
            Self::Local { .. } => drop(self.process().expect("a local server").take()),
        }
    }

    /// Pauses it.
    pub(crate) fn pause(&self) {
        match self {
            Self::Existing => not_ours(),
            Self::Container(id) => drop(docker(&["pause", id])),
            Self::Local { .. } => {
                if let Some(process) = self.process().expect("a local server").as_ref() {
                    process.pause();
                }
            }
        }
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        match self {
            Self::Existing => not_ours(),
            Self::Container(id) => drop(docker(&["unpause", id])),
            Self::Local { .. } => {
                if let Some(process) = self.process().expect("a local server").as_ref() {
                    process.resume();
                }
            }
        }
    }

    /// Whether its process has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.process()
            .is_some_and(|process| process.as_ref().is_some_and(|process| process.exit_status().is_some()))
    }

    /// Panics with the log when its process has ended by itself.
    pub(crate) fn assert_running(&self) {
        if let Some(process) = self.process()
            && let Some(process) = process.as_ref()
            && process.exit_status().is_some()
        {
            panic!("the server ended while it was starting\n{}", process.tail());
        }
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let process = self.process();
        process
            .and_then(|process| process.as_ref().map(Process::tail))
            .unwrap_or_else(|| format!("{self:?}, no log here"))
    }
}

fn not_ours() {
    panic!(
        "this server was not started by testkit, so it is not for testkit to touch; unset TEST_DATABASE_URL and TEST_AMQP_URL"
    );
}

/// A loopback port that is free now. It lies below the range from which the system takes ports for
/// outgoing connections, so that no client takes it while its server is down, or connects to itself
/// through it.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let lowest_outgoing = range
        .split_whitespace()
        .next()
        .and_then(|first| first.parse::<u16>().ok())
        .unwrap_or(32768);
    let above = if lowest_outgoing > 12_000 {
        10_000..lowest_outgoing
    } else {
        10_000..u16::MAX
    };
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = rand::rng().random_range(above.clone());
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.push(port);
            return port;
        }
    }
}

/// The address behind a URL's host and port.
pub(crate) fn address_of(url: &reqwest::Url, default_port: u16) -> SocketAddr {
    let host = url
        .host_str()
        .unwrap_or("127.0.0.1")
        .trim_matches(['[', ']'])
        .to_owned();
    let port = url.port_or_known_default().unwrap_or(default_port);
    let mut found = (host.as_str(), port)
        .to_socket_addrs()
        .unwrap_or_else(|error| panic!("look up {host}: {error}"));
    found.next().unwrap_or_else(|| panic!("{host} has no address"))
}

/// The same URL with another host and port.
pub(crate) fn via(url: &str, address: SocketAddr) -> String {
    let mut url: reqwest::Url = url.parse().expect("a URL");
    url.set_host(Some(&address.ip().to_string())).expect("a host");
    url.set_port(Some(address.port())).expect("a port");
    url.into()
}
