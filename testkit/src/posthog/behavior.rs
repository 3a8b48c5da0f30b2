//! How the fake PostHog is told to misbehave: a list of rules, the first that fits a request
//! decides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// What the fake PostHog does with one request.
#[derive(Clone)]
pub enum Behavior {
    /// What PostHog would do.
    Ok,
    /// This status, body and headers; nothing is stored. See also [`Behavior::status`].
    Status(u16, String, Vec<(String, String)>),
    /// Everything is stored as usual, and then this status is answered. The sender takes it for a
    /// failure.
    StoreThenStatus(u16),
    /// The first so many events are stored, the rest is not, and this status is answered.
    StoreSomeThenStatus(usize, u16),
    /// Stored at once, answered so much later.
    Delay(Duration),
    /// Stored at once, answered only after [`release`](super::FakePosthog::release).
    Hold,
    /// Neither judged nor stored before [`release`](super::FakePosthog::release).
    HoldUnstored,
    /// Stored; then the connection ends without an answer.
    StoreThenCut(Cut),
    /// The connection ends when the head of the request has arrived: nothing is read, nothing
    /// stored. (While there is a rule for one key, or one that chooses, bodies are read first,
    /// since the key is in them; still nothing is stored.)
    CutBeforeReading(Cut),
    /// Stored; of the answer only the beginning leaves, then the connection ends.
    AnswerPartially(Part),
    /// Stored; the answer leaves byte by byte, with this pause before each.
    SlowDrip(Duration),
    /// Nothing is read and nothing answered, for as long as the sender waits.
    HangAfterAccept,
    /// The whole request gets a 400 when one event fits; otherwise as usual. See
    /// [`Behavior::reject_events_where`].
    RejectEventsWhere(EventTest),
    /// Answered as usual, but the events that fit are dropped in silence. See
    /// [`Behavior::drop_events_where`].
    DropEventsWhere(EventTest),
    /// 413 for a request with more events than this; otherwise as usual.
    MaxEventsPerBatch(usize),
}

/// Says which events are refused.
pub type EventTest = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Orderly, as a stopping server does it.
    Fin,
    /// With a reset, as a killed server or a firewall does it.
    Rst,
}

/// How much of an answer leaves before the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Not even the whole head.
    Head,
    /// The head, with the status, and a part of the body.
    Body,
}

impl Behavior {
    /// A bare status with an empty body; nothing is stored.
    pub fn status(status: u16) -> Self {
        Self::Status(status, String::new(), Vec::new())
    }

    /// A status with a `Retry-After` header; nothing is stored.
    pub fn retry_after(status: u16, seconds: u64) -> Self {
        Self::Status(
            status,
            String::new(),
            vec![("retry-after".to_owned(), seconds.to_string())],
        )
    }

    /// 400 for every batch that holds an event for which `test` is true.
    pub fn reject_events_where(test: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        Self::RejectEventsWhere(Arc::new(test))
    }

    /// 200, and every event for which `test` is true is gone.
    pub fn drop_events_where(test: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        Self::DropEventsWhere(Arc::new(test))
    }
}

impl fmt::Debug for Behavior {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => write!(out, "Ok"),
            Self::Status(status, ..) => write!(out, "Status({status})"),
            Self::StoreThenStatus(status) => write!(out, "StoreThenStatus({status})"),
            Self::StoreSomeThenStatus(some, status) => write!(out, "StoreSomeThenStatus({some}, {status})"),
            Self::Delay(time) => write!(out, "Delay({time:?})"),
            Self::Hold => write!(out, "Hold"),
            Self::HoldUnstored => write!(out, "HoldUnstored"),
            Self::StoreThenCut(cut) => write!(out, "StoreThenCut({cut:?})"),
            Self::CutBeforeReading(cut) => write!(out, "CutBeforeReading({cut:?})"),
            Self::AnswerPartially(part) => write!(out, "AnswerPartially({part:?})"),
            Self::SlowDrip(pause) => write!(out, "SlowDrip({pause:?})"),
            Self::HangAfterAccept => write!(out, "HangAfterAccept"),
            Self::RejectEventsWhere(_) => write!(out, "RejectEventsWhere"),
            Self::DropEventsWhere(_) => write!(out, "DropEventsWhere"),
            Self::MaxEventsPerBatch(most) => write!(out, "MaxEventsPerBatch({most})"),
        }
    }
}

/// Which of PostHog's routes a request came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/batch/`, `/i/v0/e/` and their spellings.
    Batch,
    /// `/flags/`, where a key can be checked.
    Flags,
    /// `GET /api/projects/`: the list of projects in the app.
    Projects,
    /// `GET /api/projects/:id/`: one of them.
    Project,
    /// `GET /api/personal_api_keys/@current/`: what the app says of the personal key that asks.
    OwnKey,
    /// `POST /api/projects/:id/query/`: a query.
    Query,
    /// `/api/projects/:id/dashboards/`: the list of dashboards, or a new one.
    Dashboards,
    /// `/api/projects/:id/dashboards/:id/`: one of them, and what is below.
    Dashboard,
    /// `/api/projects/:id/insights/`: the list of insights, or a new one.
    Insights,
    /// `/api/projects/:id/insights/:id/`: one of them.
    Insight,
    /// Anything else: 404.
    Unknown,
}

/// A request as a rule sees it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The number of this request, from 0, counted over all routes.
    pub number: usize,
    /// Where it came in.
    pub route: Route,
    /// `POST`, usually.
    pub method: &'a str,
    /// The key it carries, or for a query that of the project it is about; `None` when there is none.
    pub key: Option<&'a str>,
    /// Its events; empty on other routes than [`Route::Batch`].
    pub events: &'a [Value],
}

type Choice = Box<dyn FnMut(&Seen<'_>) -> Option<Behavior> + Send>;

enum Turn {
    Next(usize),
    Always,
    Every { nth: usize, seen: usize },
    Sometimes { probability: f64, random: Box<StdRng> },
    Chosen(Choice),
}

/// When to behave how. Made by [`Rule::next`] and its like; without [`on`](Rule::on) it is about
/// batches only.
pub struct Rule {
    behavior: Behavior,
    turn: Turn,
    route: Route,
    method: Option<String>,
    key: Option<String>,
}

impl Rule {
    /// For the next `count` requests that fit.
    pub fn next(count: usize, behavior: Behavior) -> Self {
        Self::new(behavior, Turn::Next(count))
    }

    /// For every request that fits, until the script is cleared.
    pub fn always(behavior: Behavior) -> Self {
        Self::new(behavior, Turn::Always)
    }

    /// For each `nth` request that fits; the others are left to later rules.
    pub fn every(nth: usize, behavior: Behavior) -> Self {
        Self::new(
            behavior,
            Turn::Every {
                nth: nth.max(1),
                seen: 0,
            },
        )
    }

    /// For a random share of the requests that fit; the same seed makes the same choices.
    pub fn sometimes(probability: f64, seed: u64, behavior: Behavior) -> Self {
        Self::new(
            behavior,
            Turn::Sometimes {
                probability,
                random: Box::new(StdRng::seed_from_u64(seed)),
            },
        )
    }

    /// Whatever `choose` says; `None` leaves the request to later rules.
    pub fn choose(choose: impl FnMut(&Seen<'_>) -> Option<Behavior> + Send + 'static) -> Self {
        Self::new(Behavior::Ok, Turn::Chosen(Box::new(choose)))
    }

    /// The same rule for another route than [`Route::Batch`].
    #[must_use]
    pub fn on(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// The same rule for requests of this method only.
    #[must_use]
    pub fn of_method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// The same rule for requests with this key only.
    #[must_use]
    pub fn for_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    fn new(behavior: Behavior, turn: Turn) -> Self {
        Self {
            behavior,
            turn,
            route: Route::Batch,
            method: None,
            key: None,
        }
    }

    fn looks_into_the_body(&self) -> bool {
        self.key.is_some() || matches!(self.turn, Turn::Chosen(_))
    }

    fn is_for(&self, seen: &Seen<'_>) -> bool {
        self.route == seen.route
            && self.method.as_deref().is_none_or(|method| method == seen.method)
            && (self.key.is_none() || self.key.as_deref() == seen.key)
    }

    fn take_turn(&mut self, seen: &Seen<'_>) -> Option<Behavior> {
        let now = match &mut self.turn {
            Turn::Next(left) => {
                let now = *left > 0;
                *left = left.saturating_sub(1);
                now
            }
            Turn::Always => true,
            Turn::Every { nth, seen } => {
                *seen += 1;
                *seen % *nth == 0
            }
            Turn::Sometimes { probability, random } => random.random_bool(*probability),
            Turn::Chosen(choose) => return choose(seen),
        };
        now.then(|| self.behavior.clone())
    }
}

/// The rules in force, in the order they were given.
#[derive(Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
}

impl Script {
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// What to do with a request of which only the head is known; `None` when that cannot be told
    /// without its body.
    pub(super) fn before_reading(&mut self, number: usize, route: Route, method: &str) -> Option<Behavior> {
        let undecidable = self
            .rules
            .iter()
            .any(|rule| rule.route == route && rule.looks_into_the_body());
        (!undecidable).then(|| {
            self.decide(&Seen {
                number,
                route,
                method,
                key: None,
                events: &[],
            })
        })
    }

    /// What to do with a request that was read.
    pub(super) fn decide(&mut self, seen: &Seen<'_>) -> Behavior {
        let behavior = self
            .rules
            .iter_mut()
            .filter(|rule| rule.is_for(seen))
            .find_map(|rule| rule.take_turn(seen));
        self.rules.retain(|rule| !matches!(rule.turn, Turn::Next(0)));
        behavior.unwrap_or(Behavior::Ok)
    }
}
