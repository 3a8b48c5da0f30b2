//! The fake's record of every request, kept in the order of arrival.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::header::HeaderMap;
use hyper::{Method, Uri};

use super::behavior::Route;
use super::capture::Batch;

/// One request the fake PostHog got.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its head had arrived.
    pub at: Instant,
    /// `POST`, usually.
    pub method: String,
    /// The path, as it was asked for.
    pub path: String,
    /// What followed the `?`.
    pub query: Option<String>,
    /// Which endpoint that is.
    pub route: Route,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The key in the body; `None` when there is none, or the body was not (or not yet) read.
    pub key: Option<String>,
    /// Number of events in the body.
    pub events: usize,
    /// Whether the body had a `sent_at`, which would shift timestamps.
    pub sent_at: bool,
    /// Whether the body asked for the historical lane.
    pub historical_migration: bool,
    /// What was answered; `None` while it is not, and for ever when the connection ended before.
    pub status: Option<u16>,
    /// When it was answered, cut, or given up by its sender.
    pub ended: Option<Instant>,
}

impl Request {
    /// The value of a header, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
pub(super) struct Log(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    /// How many were forgotten before the first one here.
    forgotten: usize,
    kept: Vec<Request>,
}

impl Log {
    /// Adds a request; answers its number.
    pub(super) fn arrived(&self, method: &Method, uri: &Uri, headers: &HeaderMap, route: Route) -> usize {
        let headers = headers.iter().map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        let request = Request {
            at: Instant::now(),
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            route,
            headers: headers.collect(),
            key: None,
            events: 0,
            sent_at: false,
            historical_migration: false,
            status: None,
            ended: None,
        };
        let mut requests = self.requests();
        requests.kept.push(request);
        requests.forgotten + requests.kept.len() - 1
    }

    pub(super) fn read_batch(&self, number: usize, batch: &Batch) {
        self.change(number, |request| {
            request.key = Some(batch.key.clone());
            request.events = batch.events.len();
            request.sent_at = batch.sent_at;
            request.historical_migration = batch.historical_migration;
        });
    }

    pub(super) fn read_key(&self, number: usize, key: &str) {
        self.change(number, |request| request.key = Some(key.to_owned()));
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        self.change(number, |request| request.status = Some(status));
    }

    pub(super) fn ended(&self, number: usize) {
        self.change(number, |request| request.ended = Some(Instant::now()));
    }

    pub(super) fn all(&self) -> Vec<Request> {
        self.requests().kept.clone()
    }

    pub(super) fn clear(&self) {
        let mut requests = self.requests();
        requests.forgotten += requests.kept.len();
        requests.kept.clear();
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Request)) {
        let mut requests = self.requests();
        let at = number.checked_sub(requests.forgotten);
        if let Some(request) = at.and_then(|at| requests.kept.get_mut(at)) {
            change(request);
        }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
