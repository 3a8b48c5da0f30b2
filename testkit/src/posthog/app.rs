//! PostHog's app, beside the capture endpoint: who may ask, which projects there are, and the
//! queries by which an exporter asks what has arrived. They are answered from what the fake stores.

mod access;
mod ask;
mod boards;
mod dashboards;
mod errors;
mod fields;
mod forms;
mod insights;
mod nodes;
mod paths;
mod query;
mod types;

use std::collections::{BTreeMap, HashMap};

use chrono::Utc;
use serde_json::Value;

use super::capture;
use super::{FakePosthog, Request, Route};

pub(super) use ask::{Question, answer, route_of};
pub use boards::{Dashboard, Insight, Tile};
pub use types::Guessed;

/// Most rows of an answer.
const ROW_CAP: usize = 50_000;
/// Most of a list on a page.
const PAGE_CAP: usize = 1_000;
/// Most dashboards of a project.
const MOST_DASHBOARDS: usize = 500;

/// A personal API key.
#[derive(Clone)]
struct PersonalKey {
    scopes: Vec<String>,
    /// The projects it may see; `None` is all of them.
    only: Option<Vec<i64>>,
}

/// A project as the app knows it.
#[derive(Clone, Default)]
struct Project {
    api_key: String,
    zone: String,
    /// How far its zone is ahead of UTC.
    ahead_minutes: i32,
}

/// What the app knows beside what is stored.
pub(super) struct App {
    keys: HashMap<String, PersonalKey>,
    projects: BTreeMap<i64, Project>,
    /// Answers by project, query and values: what is asked again without force is answered from here.
    cache: HashMap<String, Value>,
    /// The bodies of the queries so far.
    asked: Vec<Value>,
    boards: boards::Boards,
    switches: Switches,
}

/// How the app is told to be.
struct Switches {
    /// Before `groupBitXor` was allowed in queries, and requests had a name.
    is_old: bool,
    /// Kinds, fields and functions that queries may not have here.
    lacking: Vec<String>,
    row_cap: usize,
    page_cap: usize,
    /// Whether every answer comes from the cache, whatever was asked for.
    is_stale: bool,
    /// Where links to other pages of a list lead; this server when there is nothing.
    links_to: Option<String>,
    /// The status for queries that have to read more rows than this.
    too_heavy: Option<(usize, u16)>,
    /// What the id of a Langfuse project is taken for; a text when there is nothing.
    projects_are: Option<Guessed>,
    has_tags: bool,
    most_dashboards: usize,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            is_old: false,
            lacking: Vec::new(),
            row_cap: ROW_CAP,
            page_cap: PAGE_CAP,
            is_stale: false,
            links_to: None,
            too_heavy: None,
            projects_are: None,
            has_tags: true,
            most_dashboards: MOST_DASHBOARDS,
        }
    }
}

impl App {
    pub(super) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            projects: BTreeMap::new(),
            cache: HashMap::new(),
            asked: Vec::new(),
            boards: boards::Boards::default(),
            switches: Switches::default(),
        }
    }

    /// Forgets everything; who may ask, and which projects there are, stays.
    pub(super) fn clear(&mut self) {
        *self = Self {
            keys: std::mem::take(&mut self.keys),
            projects: std::mem::take(&mut self.projects),
            ..Self::new()
        };
    }

    /// The project key that a question is about, so that rules may be for it.
    pub(super) fn key_of(&self, project: Option<i64>) -> Option<String> {
        Some(self.projects.get(&project?)?.api_key.clone())
    }
}

impl FakePosthog {
    /// Makes a personal API key known, with these scopes (`query:read`, `*`, …).
    pub fn personal_key(&self, key: &str, scopes: &[&str]) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.state
            .app()
            .keys
            .insert(key.to_owned(), PersonalKey { scopes, only: None });
    }

    /// Lets a personal API key see these projects only.
    ///
    /// # Panics
    /// When the key is not known.
    pub fn narrow_personal_key(&self, key: &str, projects: &[i64]) {
        let mut app = self.state.app();
        app.keys.get_mut(key).expect("the personal key is known").only = Some(projects.to_vec());
    }

    /// Makes a personal API key unknown again.
    pub fn forget_personal_key(&self, key: &str) {
        self.state.app().keys.remove(key);
    }

    /// Gives the project with this key a number in the app; its key becomes a known one.
    pub fn app_project(&self, number: i64, api_key: &str) {
        self.known_key(api_key);
        let project = Project {
            api_key: api_key.to_owned(),
            zone: "UTC".to_owned(),
            ahead_minutes: 0,
        };
        self.state.app().projects.insert(number, project);
    }

    /// Puts a project into another time zone.
    ///
    /// # Panics
    /// When the app does not know the project.
    pub fn project_zone(&self, number: i64, zone: &str, ahead_minutes: i32) {
        let mut app = self.state.app();
        let project = app.projects.get_mut(&number).expect("the app knows the project");
        zone.clone_into(&mut project.zone);
        project.ahead_minutes = ahead_minutes;
    }

    /// Events that are stored from now on under this key are not shown by queries yet.
    pub fn hold_back(&self, key: &str) {
        self.state.store().hold_back(key);
    }

    /// Queries show everything again that is stored under this key.
    pub fn show(&self, key: &str) {
        self.state.store().show(key);
    }

    /// Whether queries see the copies of an event that are not folded yet.
    pub fn unfolded(&self, key: &str, unfolded: bool) {
        self.state.store().set_unfolded(key, unfolded);
    }

    /// Makes the app one of before `groupBitXor` was allowed in queries, before dashboards had
    /// `create_text_tile/` and a search, and before queries had the newest of their fields.
    pub fn old_server(&self, old: bool) {
        self.state.app().switches.is_old = old;
    }

    /// Lowers the most rows of an answer that lists uuids from 50,000; what a query gives beyond is cut
    /// off silently.
    pub fn row_cap(&self, rows: usize) {
        self.state.app().switches.row_cap = rows;
    }

    /// Lowers what a page of a list holds at most from 1,000, whatever is asked for.
    pub fn page_cap(&self, most: usize) {
        self.state.app().switches.page_cap = most;
    }

    /// Answers say that they come from the cache, also where that was forbidden.
    pub fn stale_answers(&self, stale: bool) {
        self.state.app().switches.is_stale = stale;
    }

    /// Links to other pages of a list lead to this host, as behind a proxy, or as a wicked host does it.
    pub fn links_lead_to(&self, host: &str) {
        self.state.app().switches.links_to = Some(host.to_owned());
    }

    /// Makes these events all that is stored under a key, as if they had been sent.
    ///
    /// # Panics
    /// When PostHog would not take them.
    pub fn hold_only(&self, key: &str, events: Vec<Value>) {
        let mut store = self.state.store();
        store.empty(key);
        let taken = store.take(key, capture::check(events, Utc::now()));
        assert!(taken.is_ok(), "PostHog does not take these events");
    }

    /// Queries that have to read more rows than this end with this status, 504 or 512.
    pub fn too_heavy(&self, rows: usize, status: u16) {
        self.state.app().switches.too_heavy = Some((rows, status));
    }

    /// The queries among [`requests`](Self::requests).
    pub fn queries(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.route == Route::Query);
        requests
    }

    /// The bodies of the queries so far, those that were refused among them.
    pub fn asked(&self) -> Vec<Value> {
        self.state.app().asked.clone()
    }

    /// Makes the app one without any switch; dashboards and requests stay.
    pub fn behave_in_app(&self) {
        self.state.app().switches = Switches::default();
    }
}
