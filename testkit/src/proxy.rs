//! A TCP proxy that can be told to misbehave.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::server::free_port;

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// They are passed on.
    #[default]
    Pass,
    /// They stay where they are: nothing is read, nothing is lost, and it goes on with
    /// [`Flow::Pass`].
    Stall,
    /// They are read and thrown away, as if they had been sent and the other side never saw them.
    Swallow,
}

#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    to_server: Flow,
    to_client: Flow,
    /// What the clients send that said this word when they connected, whatever holds for others.
    named: Option<(&'static str, Flow)>,
    refuse: bool,
    /// How often all connections were cut.
    cuts: u64,
    stop: bool,
}

#[derive(Debug, Default)]
struct Counts {
    to_server: AtomicU64,
    to_client: AtomicU64,
    open: AtomicUsize,
    accepted: AtomicU64,
}

/// A proxy on a loopback port, in a thread of its own: it belongs to no test's runtime. Dropped, it
/// cuts everything.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    counts: Arc<Counts>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl TcpProxy {
    /// Starts a proxy that passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (orders, heard) = watch::channel(Orders::default());
        let counts = Arc::<Counts>::default();
        let (listening, ready) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn({
            let counts = counts.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(listen(address, target, heard, counts, listening));
            }
        });
        ready.await.expect("the proxy listens");
        Self {
            address,
            orders,
            counts,
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, what clients send is treated in this way.
    pub fn to_server(&self, flow: Flow) {
        self.orders.send_modify(|orders| orders.to_server = flow);
    }

    /// From now on, what some clients send is treated in this way, whatever holds for the others:
    /// those who said `word` among their first bytes. AMQP clients say the name of their connection
    /// there.
    pub fn to_server_of(&self, word: &'static str, flow: Flow) {
        self.orders.send_modify(|orders| orders.named = Some((word, flow)));
    }

    /// From now on, what the server sends is treated in this way.
    pub fn to_client(&self, flow: Flow) {
        self.orders.send_modify(|orders| orders.to_client = flow);
    }

    /// Connections are accepted and stay open, and no byte moves.
    pub fn stall(&self) {
        self.orders
            .send_modify(|orders| (orders.to_server, orders.to_client) = (Flow::Stall, Flow::Stall));
    }

    /// Bytes are passed on and connections accepted again.
    pub fn pass(&self) {
        self.orders.send_modify(|orders| {
            (orders.to_server, orders.to_client, orders.refuse) = (Flow::Pass, Flow::Pass, false);
            orders.named = None;
        });
    }

    /// Resets all connections there are now. New ones are still accepted, unless
    /// [`refuse`](Self::refuse) was called.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Refuses new connections until [`pass`](Self::pass). Those there are stay.
    pub fn refuse(&self) {
        self.orders.send_modify(|orders| orders.refuse = true);
    }

    /// How many bytes of clients were read so far, passed on or swallowed.
    pub fn bytes_to_server(&self) -> u64 {
        self.counts.to_server.load(Ordering::Relaxed)
    }

    /// How many bytes of the server were read so far, passed on or swallowed.
    pub fn bytes_to_client(&self) -> u64 {
        self.counts.to_client.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// How many connections were accepted so far.
    pub fn accepted_connections(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn listen(
    address: SocketAddr,
    target: SocketAddr,
    mut orders: watch::Receiver<Orders>,
    counts: Arc<Counts>,
    listening: tokio::sync::oneshot::Sender<()>,
) {
    let mut listening = Some(listening);
    loop {
        let now = *orders.borrow_and_update();
        if now.stop {
            return;
        }
        if now.refuse {
            // Only a closed socket refuses connections.
            let _ = orders.changed().await;
            continue;
        }
        let listener = TcpListener::bind(address)
            .await
            .unwrap_or_else(|error| panic!("listen on {address}: {error}"));
        if let Some(listening) = listening.take() {
            let _ = listening.send(());
        }
        let mut closed = orders.clone();
        loop {
            tokio::select! {
                _ = closed.wait_for(|orders| orders.stop || orders.refuse) => break,
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    counts.accepted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(connection(client, target, orders.clone(), counts.clone()));
                }
            }
        }
    }
}

async fn connection(
    mut client: TcpStream,
    target: SocketAddr,
    mut orders: watch::Receiver<Orders>,
    counts: Arc<Counts>,
) {
    counts.open.fetch_add(1, Ordering::Relaxed);
    let cuts = orders.borrow().cuts;
    if let Ok(Ok(mut server)) = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(target)).await {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let cut = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let (up, down) = (orders.clone(), orders.clone());
            let greeting = Greeting::default();
            let from_client_of = |orders: &Orders| match orders.named {
                Some((word, flow)) if greeting.holds(word) => flow,
                _ => orders.to_server,
            };
            let pumps = async {
                tokio::join!(
                    pump(from_client, to_server, up, from_client_of, |bytes| {
                        counts.to_server.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        greeting.add(bytes);
                    }),
                    pump(
                        from_server,
                        to_client,
                        down,
                        |orders: &Orders| orders.to_client,
                        |bytes| {
                            counts.to_client.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        }
                    ),
                )
            };
            tokio::select! {
                // What arrives after the order must not be passed on.
                biased;
                _ = orders.wait_for(|orders| orders.stop || orders.cuts != cuts) => true,
                _ = pumps => false,
            }
        };
        if cut {
            // Closed without waiting, a socket resets its connection.
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
    }
    counts.open.fetch_sub(1, Ordering::Relaxed);
}

/// The first bytes of a client.
#[derive(Default)]
struct Greeting(Mutex<Vec<u8>>);

impl Greeting {
    /// Longer than an AMQP client's properties.
    const LENGTH: usize = 4096;

    fn add(&self, bytes: &[u8]) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = Self::LENGTH.saturating_sub(first.len());
        first.extend(bytes.iter().take(missing));
    }

    fn holds(&self, word: &str) -> bool {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.windows(word.len()).any(|part| part == word.as_bytes())
    }
}

/// Moves the bytes of one direction until it ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
    flow: impl Fn(&Orders) -> Flow,
    seen: impl Fn(&[u8]),
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if orders.wait_for(|orders| flow(orders) != Flow::Stall).await.is_err() {
            return;
        }
        let read = tokio::select! {
            // When an order and bytes are there at the same time, the order comes first.
            biased;
            changed = orders.changed() => if changed.is_ok() { continue } else { return },
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };
        if read == 0 {
            let _ = to.shutdown().await;
            return;
        }
        seen(&buffer[..read]);
        let pass = flow(&orders.borrow()) == Flow::Pass;
        if pass && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
