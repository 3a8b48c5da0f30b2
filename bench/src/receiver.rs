//! The receiving end: answers as PostHog's capture does, as late as it is told to, and does as
//! little else as possible, in one thread of its own, so that it is not what is measured. Only a
//! verifying run hands the bodies on to be looked at.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver as Bodies, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::measure;

/// Bodies that may wait to be looked at.
const WAITING: usize = 64;

/// What came in since the last [`Receiver::expect`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Batches
    pub batches: u64,
    /// Bytes of them, as they came
    pub bytes: u64,
    /// From the first of them to the last
    pub span: Duration,
}

#[derive(Default)]
struct State {
    latency: Duration,
    received: Received,
    /// When the first batch came
    first: Option<Instant>,
    /// Where the bodies of a verifying run go
    bodies: Option<SyncSender<Bytes>>,
}

/// The receiving end. It lives as long as the process.
#[derive(Clone)]
pub struct Receiver {
    state: Arc<Mutex<State>>,
    url: String,
    thread: PathBuf,
}

impl Receiver {
    /// Listens on a loopback port.
    pub fn start() -> Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let (ready, started) = sync_channel(1);
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(move || {
                let serving = serve(&shared, |port| {
                    // `thread-self` is another thread for whoever reads it, so its target is kept.
                    let me = std::fs::read_link("/proc/thread-self").map(|path| PathBuf::from("/proc").join(path));
                    let _ = ready.send(me.map(|thread| (thread, port)));
                });
                if let Err(error) = serving {
                    let _ = ready.send(Err(error));
                }
            })
            .context("start the receiver's thread")?;
        let (thread, port) = started
            .recv()
            .map_err(|_| anyhow!("the receiver ended"))?
            .context("start the receiver")?;
        Ok(Self {
            state,
            url: format!("http://127.0.0.1:{port}"),
            thread,
        })
    }

    /// The host to configure.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts to count anew, and answers with that delay from now on.
    pub fn expect(&self, latency: Duration) {
        *lock(&self.state) = State {
            latency,
            ..State::default()
        };
    }

    /// The same, and hands every body on. Bodies end with [`Receiver::hand_on_no_more`].
    pub fn expect_and_hand_on(&self) -> Bodies<Bytes> {
        let (to, bodies) = sync_channel(WAITING);
        *lock(&self.state) = State {
            bodies: Some(to),
            ..State::default()
        };
        bodies
    }

    /// Ends the bodies.
    pub fn hand_on_no_more(&self) {
        lock(&self.state).bodies = None;
    }

    /// What came in.
    pub fn received(&self) -> Received {
        lock(&self.state).received
    }

    /// The CPU time it has used since it was started: to show that it is little.
    pub fn cpu(&self) -> Result<Duration> {
        measure::cpu_at(&self.thread)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(state: &Arc<Mutex<State>>, ready: impl FnOnce(u16)) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        ready(listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(connection(stream, Arc::clone(state)));
        }
    })
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| answer(request, Arc::clone(&state)));
    // A client may go away in the middle of a request. Then what it sent is not counted.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_batch = match (request.method(), request.uri().path()) {
        (&Method::POST, "/batch/" | "/batch") => true,
        (&Method::POST, "/flags/") => false,
        _ => return Ok(response(StatusCode::NOT_FOUND)),
    };
    let (latency, to) = {
        let state = lock(&state);
        (state.latency, state.bodies.clone())
    };
    let mut body = request.into_body();
    let (mut bytes, mut kept) = (0, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Ok(response(StatusCode::BAD_REQUEST));
        };
        if let Some(data) = frame.data_ref() {
            bytes += data.len() as u64;
            if to.is_some() {
                kept.extend_from_slice(data);
            }
        }
    }
    if !is_batch {
        return Ok(response(StatusCode::OK));
    }
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    {
        let mut state = lock(&state);
        state.received.batches += 1;
        state.received.bytes += bytes;
        let first = *state.first.get_or_insert_with(Instant::now);
        state.received.span = first.elapsed();
    }
    if let Some(to) = to {
        // Waits while too many are being looked at: a verifying run is not timed.
        let _ = to.send(kept.freeze());
    }
    Ok(response(StatusCode::OK))
}

fn response(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(&br#"{"status":"Ok"}"#[..]));
    *response.status_mut() = status;
    response
}
