//! What the fake PostHog keeps: per key, one copy of each event, the last one winning.

mod shown;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::capture::{self, Checked, Refusal};

pub(super) use shown::Shown;

/// What happened under one key since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches that carried this key.
    pub requests: usize,
    /// Events that were taken, copies included.
    pub received: usize,
    /// Events there are once copies are folded.
    pub stored: usize,
    /// Copies that were folded into an event already there.
    pub resent: usize,
    /// Those of [`resent`](Counts::resent) that were not equal to what was there.
    pub changed: usize,
    /// Events (by uuid and name) of which more than one copy is kept, as distinct id or date
    /// differ.
    pub copies_kept: usize,
    /// Events answered with 200 and dropped: the key is unknown, or over its billing limit.
    pub dropped: usize,
}

/// What PostHog folds copies by.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    uuid: Uuid,
    event: String,
    distinct_id: String,
    date: NaiveDate,
}

/// An event that is kept, with what it can be found by.
pub(crate) struct Kept {
    pub(crate) event: String,
    pub(crate) uuid: Uuid,
    pub(crate) text: Arc<str>,
}

/// How often each event was taken, by its name and uuid, whatever was folded.
pub(crate) type Copies = HashMap<(String, Uuid), usize>;

/// Where the text of an event is, how often the event was taken, and what queries ask for.
struct Row {
    at: usize,
    taken: usize,
    time: DateTime<Utc>,
    /// The times of copies of another time.
    earlier: Vec<DateTime<Utc>>,
    project: Option<Arc<str>>,
}

#[derive(Default)]
struct Project {
    known: bool,
    billing_limit: bool,
    /// Events until the billing limit is reached.
    left: Option<usize>,
    /// Queries see no text from this one on.
    shown_until: Option<usize>,
    unfolded: bool,
    /// The Langfuse projects of its events.
    langfuse: Vec<Arc<str>>,
    rows: HashMap<Identity, Row>,
    texts: Vec<Arc<str>>,
    counts: Counts,
}

#[derive(Default)]
pub(super) struct Store {
    projects: HashMap<String, Project>,
}

impl Store {
    pub(super) fn set_known(&mut self, key: &str, known: bool) {
        self.project(key).known = known;
    }

    pub(super) fn is_known(&self, key: &str) -> bool {
        self.projects.get(key).is_some_and(|project| project.known)
    }

    pub(super) fn set_billing_limit(&mut self, key: &str, over: bool) {
        let project = self.project(key);
        project.billing_limit = over;
        project.left = None;
    }

    pub(super) fn count_request(&mut self, key: &str) {
        self.project(key).counts.requests += 1;
    }

    pub(super) fn count_dropped(&mut self, key: &str, events: usize) {
        self.project(key).counts.dropped += events;
    }

    /// Takes what was checked, as far as it was acceptable; the answer is PostHog's.
    pub(super) fn take(&mut self, key: &str, checked: Checked) -> Result<(), Refusal> {
        let project = self.project(key);
        if project.billing_limit {
            project.counts.dropped += checked.events;
            return Ok(());
        }
        project.count_down(checked.events);
        for event in checked.acceptable {
            if project.known {
                project.fold(event);
            } else {
                project.counts.dropped += 1;
            }
        }
        checked.refusal.map_or(Ok(()), Err)
    }

    pub(super) fn kept(&self, key: &str) -> Vec<Kept> {
        let Some(project) = self.projects.get(key) else {
            return Vec::new();
        };
        let kept = project.rows.iter().map(|(identity, row)| Kept {
            event: identity.event.clone(),
            uuid: identity.uuid,
            text: Arc::clone(&project.texts[row.at]),
        });
        kept.collect()
    }

    pub(super) fn copies(&self, key: &str) -> Copies {
        let mut copies = Copies::new();
        for (identity, row) in self.projects.get(key).iter().flat_map(|project| &project.rows) {
            *copies.entry((identity.event.clone(), identity.uuid)).or_default() += row.taken;
        }
        copies
    }

    pub(super) fn texts(&self, key: &str) -> Vec<Arc<str>> {
        self.projects
            .get(key)
            .map(|project| project.texts.clone())
            .unwrap_or_default()
    }

    pub(super) fn counts(&self, key: &str) -> Counts {
        let Some(project) = self.projects.get(key) else {
            return Counts::default();
        };
        let (mut once, mut twice) = (HashSet::new(), HashSet::new());
        for identity in project.rows.keys() {
            let event = (identity.uuid, identity.event.as_str());
            if !once.insert(event) {
                twice.insert(event);
            }
        }
        Counts {
            stored: project.rows.len(),
            copies_kept: twice.len(),
            ..project.counts
        }
    }

    /// Forgets events and counts; keys stay known.
    pub(super) fn clear(&mut self) {
        for project in self.projects.values_mut() {
            *project = Project {
                known: project.known,
                billing_limit: project.billing_limit,
                ..Project::default()
            };
        }
    }

    fn project(&mut self, key: &str) -> &mut Project {
        self.projects.entry(key.to_owned()).or_default()
    }
}

impl Project {
    fn count_down(&mut self, events: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(events);
            self.billing_limit |= *left == 0;
        }
    }

    /// One text for all events of a Langfuse project.
    fn interned(&mut self, project: String) -> Arc<str> {
        if let Some(known) = self.langfuse.iter().find(|known| ***known == *project) {
            return Arc::clone(known);
        }
        let new: Arc<str> = project.into();
        self.langfuse.push(Arc::clone(&new));
        new
    }

    fn fold(&mut self, stored: capture::Stored) {
        let capture::Stored {
            uuid,
            event,
            distinct_id,
            time,
            project,
            text,
        } = stored;
        self.counts.received += 1;
        let next = self.texts.len();
        let identity = Identity {
            uuid,
            event,
            distinct_id,
            date: time.date_naive(),
        };
        let project = project.map(|project| self.interned(project));
        let row = self.rows.entry(identity).or_insert(Row {
            at: next,
            taken: 0,
            time,
            earlier: Vec::new(),
            project: None,
        });
        if row.time != time {
            row.earlier.push(row.time);
        }
        (row.time, row.project) = (time, project);
        row.taken += 1;
        let at = row.at;
        if at == next {
            self.texts.push(text.into());
            return;
        }
        self.counts.resent += 1;
        if *self.texts[at] != *text {
            self.counts.changed += 1;
            self.texts[at] = text.into();
        }
    }
}
