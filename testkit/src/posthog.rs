//! A fake PostHog on a loopback port: it takes, refuses, drops and folds as the real one does, and
//! misbehaves on demand.
//!
//! It runs on threads of its own, so it outlives the runtime of the test that started it, and ends
//! when the last handle is dropped. What it imitates was measured on PostHog's own capture server,
//! or read in its source.

mod answer;
mod app;
mod behavior;
mod capture;
mod gate;
mod log;
mod server;
mod store;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

pub use app::{Dashboard, Guessed, Insight, Tile};
pub use behavior::{Behavior, Cut, EventTest, Part, Route, Rule, Seen};
pub use log::Request;
pub use store::Counts;
pub(crate) use store::{Copies, Kept};

/// How long [`FakePosthog::until`] and [`FakePosthog::held`] wait before they call the test broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// A handle to a running fake PostHog; clones are handles to the same one.
#[derive(Clone)]
pub struct FakePosthog {
    state: Arc<State>,
    running: Arc<Running>,
}

impl FakePosthog {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts one at this address; port 0 is any free one.
    ///
    /// # Panics
    /// When the address cannot be had.
    pub async fn start_at(address: SocketAddr) -> Self {
        let state = Arc::new(State::new());
        let (bound, address_bound) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("fake-posthog".to_owned())
            .spawn(move || serve(address, serving, bound, stopped))
            .expect("a thread can be started");
        let address = address_bound
            .await
            .expect("the fake PostHog's thread answers")
            .unwrap_or_else(|error| panic!("the fake PostHog cannot listen on {address}: {error}"));
        Self {
            state,
            running: Arc::new(Running {
                address,
                stop: Some(stop),
                thread: Some(thread),
            }),
        }
    }

    /// Its address as a host to configure, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Registers a project's key: its events are kept from now on, and `/flags/` answers 200 to it.
    pub fn known_key(&self, key: &str) {
        self.state.store().set_known(key, true);
    }

    /// Makes a key unknown again: its events are answered with 200 and dropped, and `/flags/` says
    /// 401.
    pub fn forget_key(&self, key: &str) {
        self.state.store().set_known(key, false);
    }

    /// Puts a key over its billing limit, or back under it: 200, and every event is dropped.
    pub fn billing_limit(&self, key: &str, over: bool) {
        self.state.store().set_billing_limit(key, over);
    }

    /// Lets a key reach its billing limit after so many more events: the batch that reaches it is
    /// still stored, and every later one is dropped, with 200.
    pub fn billing_limit_after(&self, key: &str, events: usize) {
        self.state.store().set_billing_limit_after(key, events);
    }

    /// Whether there is a `/flags/` here at all; without, it answers 404 as a bare capture proxy
    /// does.
    pub fn flags_route(&self, there: bool) {
        self.state.flags_route.store(there, Ordering::SeqCst);
    }

    /// Adds a rule. The first rule that fits a request decides. Without one, the fake answers as
    /// PostHog would.
    pub fn script(&self, rule: Rule) {
        self.state.script().add(rule);
    }

    /// Forgets all rules and lets go of every request that is held.
    pub fn behave(&self) {
        self.state.script().clear();
        self.release();
    }

    /// Waits until at least one request is held.
    ///
    /// # Panics
    /// When none is after a minute.
    pub async fn held(&self) {
        self.held_requests(1).await;
    }

    /// Waits until at least so many requests are held.
    ///
    /// # Panics
    /// When they are not after a minute.
    pub async fn held_requests(&self, count: usize) {
        tokio::time::timeout(PATIENCE, self.state.gate.until_held(count))
            .await
            .unwrap_or_else(|_| panic!("the fake PostHog held fewer than {count} requests for {PATIENCE:?}"));
    }

    /// Lets go of every request that is held now; later ones may be held again.
    pub fn release(&self) {
        self.state.gate.release();
    }

    /// Waits until `fact` answers true. It is asked again whenever a request arrives, is stored or
    /// is answered.
    ///
    /// # Panics
    /// When it is not true after a minute.
    pub async fn until(&self, fact: impl Fn(&Self) -> bool) {
        let mut changes = self.state.changes.subscribe();
        let wait = async {
            while !fact(self) {
                changes
                    .changed()
                    .await
                    .expect("the fake PostHog lives as long as its handle");
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("the fake PostHog did not see what was waited for in {PATIENCE:?}"));
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state.log.all()
    }

    /// The batches among [`requests`](Self::requests).
    pub fn batches(&self) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|request| request.route == Route::Batch)
            .collect()
    }

    /// What is kept under a key, copies folded, in the order of first arrival.
    ///
    /// # Panics
    /// Never: what is kept was parsed before.
    pub fn events(&self, key: &str) -> Vec<Value> {
        self.event_texts(key)
            .iter()
            .map(|text| text.parse().expect("what is stored is JSON"))
            .collect()
    }

    /// [`events`](Self::events) as JSON texts, which take a tenth of the memory.
    pub fn event_texts(&self, key: &str) -> Vec<Arc<str>> {
        self.state.store().texts(key)
    }

    /// Everything kept under a key, in no order.
    pub(crate) fn kept(&self, key: &str) -> Vec<Kept> {
        self.state.store().kept(key)
    }

    /// How often each event under a key was taken.
    pub(crate) fn copies(&self, key: &str) -> Copies {
        self.state.store().copies(key)
    }

    /// What happened under a key.
    pub fn counts(&self, key: &str) -> Counts {
        self.state.store().counts(key)
    }

    /// Forgets events, counts, requests, rules and dashboards; keys stay known.
    pub fn reset(&self) {
        self.behave();
        self.state.app().clear();
        self.state.store().clear();
        self.state.log.clear();
    }
}

/// What the handles and the server share.
struct State {
    store: Mutex<store::Store>,
    app: Mutex<app::App>,
    script: Mutex<behavior::Script>,
    log: log::Log,
    gate: gate::Gate,
    flags_route: AtomicBool,
    changes: watch::Sender<()>,
}

impl State {
    fn new() -> Self {
        Self {
            store: Mutex::default(),
            app: Mutex::new(app::App::new()),
            script: Mutex::default(),
            log: log::Log::default(),
            gate: gate::Gate::new(),
            flags_route: AtomicBool::new(true),
            changes: watch::Sender::new(()),
        }
    }

    fn store(&self) -> MutexGuard<'_, store::Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn app(&self) -> MutexGuard<'_, app::App> {
        self.app.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self) -> MutexGuard<'_, behavior::Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serves_flags(&self) -> bool {
        self.flags_route.load(Ordering::SeqCst)
    }

    fn changed(&self) {
        self.changes.send_replace(());
    }
}

/// The server's thread; dropped with the last handle.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    address: SocketAddr,
    state: Arc<State>,
    bound: oneshot::Sender<std::io::Result<SocketAddr>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("fake-posthog")
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => {
                let _ = bound.send(Err(error));
                return;
            }
        };
        let _ = bound.send(listener.local_addr());
        tokio::select! {
            () = server::serve(listener, state) => {}
            _ = stopped => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}
