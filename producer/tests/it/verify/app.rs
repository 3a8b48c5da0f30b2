//! The PostHog app that `verify` asks here: the fake one, which holds what the test says, and answers
//! in all the ways that PostHog has.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use testkit::posthog::{Behavior, FakePosthog, Guessed, Route, Rule};
use uuid::Uuid;

/// The personal API key that it knows.
pub(super) const PERSONAL_KEY: &str = "phx_only_for_the_app";
/// The PostHog project whose project API key is the test's; it is on the second page of the list.
pub(super) const NUMBER: i64 = 4_711;
/// What of the app `verify` asks.
const ROUTES: [Route; 3] = [Route::Projects, Route::Project, Route::Query];

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) uuid: Uuid,
    pub(super) time: DateTime<Utc>,
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Well,
    NoFunctions,
    NoProjects,
    Status(u16),
    /// The scope that the key has not
    Scope(&'static str),
    Busy(u64),
    /// More rows than that to read
    TooHeavyAbove(usize),
    Cached,
    Broken,
    /// No more uuids than that, and no word of it
    Cut(usize),
    MayWrite,
    /// The ids of projects for something else
    Takes(Guessed),
    /// No more on a page of a list
    ShortPages(usize),
    Echo,
    Slow(Duration),
}

pub(super) struct App {
    posthog: FakePosthog,
    pub(super) host: String,
    project: String,
    key: String,
}

impl App {
    pub(super) async fn start(project: &str, key: &str) -> Self {
        let posthog = FakePosthog::start().await;
        for number in 1..=100 {
            posthog.app_project(number, &format!("phc_other_{number}"));
        }
        posthog.app_project(NUMBER, key);
        posthog.unfolded(key, true);
        let app = Self {
            host: posthog.address().to_string(),
            posthog,
            project: project.to_owned(),
            key: key.to_owned(),
        };
        app.fails(Way::Well, 0);
        app
    }

    /// What it holds from now on.
    pub(super) fn holds(&self, events: Vec<Event>) {
        let event = |event: Event| {
            json!({
                "event": event.name,
                "uuid": event.uuid,
                "distinct_id": "jo",
                "timestamp": event.time,
                "properties": {"langfuse_project_id": self.project},
            })
        };
        let events = events.into_iter().map(event).collect();
        self.posthog.hold_only(&self.key, events);
    }

    /// Fails in this way, so often.
    pub(super) fn fails(&self, way: Way, times: usize) {
        let posthog = &self.posthog;
        posthog.behave();
        posthog.behave_in_app();
        posthog.links_lead_to("evil.example");
        posthog.personal_key(PERSONAL_KEY, &["query:read", "project:read"]);
        match way {
            Way::Well => {}
            Way::NoFunctions => posthog.old_server(true),
            Way::NoProjects => posthog.narrow_personal_key(PERSONAL_KEY, &[1, NUMBER]),
            Way::Status(status) => self.answers(times, &refusal(status, "Project not found.")),
            Way::Scope(scope) => {
                let others = ["query:read", "project:read"]
                    .into_iter()
                    .filter(|other| *other != scope);
                posthog.personal_key(PERSONAL_KEY, &others.collect::<Vec<_>>());
            }
            Way::Busy(wait) => self.answers(times, &Behavior::throttled(wait)),
            Way::TooHeavyAbove(rows) => posthog.too_heavy(rows, if rows > 20 { 504 } else { 512 }),
            Way::Cached => posthog.stale_answers(true),
            Way::Broken => self.answers(times, &Behavior::Status(200, "{\"results\": [[".to_owned(), Vec::new())),
            Way::Cut(rows) => posthog.row_cap(rows),
            Way::MayWrite => posthog.personal_key(PERSONAL_KEY, &["*"]),
            Way::ShortPages(most) => posthog.page_cap(most),
            Way::Takes(guessed) => posthog.takes_projects_for(guessed),
            Way::Echo => self.answers(times, &refusal(400, &format!("what is Bearer {PERSONAL_KEY}?"))),
            Way::Slow(wait) => self.answers(times, &Behavior::Delay(wait)),
        }
    }

    fn answers(&self, times: usize, behavior: &Behavior) {
        for route in ROUTES {
            self.posthog.script(Rule::next(times, behavior.clone()).on(route));
        }
    }

    /// The bodies of the queries, each as it has to be.
    pub(super) fn queries(&self) -> Vec<Value> {
        let asked = self.posthog.asked();
        for body in &asked {
            assert_eq!(body["refresh"], "force_blocking");
            assert_eq!(body["query"]["modifiers"]["convertToProjectTimezone"], false);
        }
        asked
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.posthog
            .requests()
            .into_iter()
            .map(|request| request.path)
            .collect()
    }
}

fn refusal(status: u16, detail: &str) -> Behavior {
    let body = json!({"type": "x", "code": "x", "detail": detail, "attr": null});
    Behavior::Status(status, body.to_string(), Vec::new())
}
