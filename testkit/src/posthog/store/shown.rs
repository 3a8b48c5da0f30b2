//! What a query sees of what is stored, and what is withheld from it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Project, Store};

/// A row as a query sees it.
pub(in super::super) struct Shown<'a> {
    pub(in super::super) event: &'a str,
    pub(in super::super) uuid: Uuid,
    pub(in super::super) time: DateTime<Utc>,
    /// What a query has for `properties.langfuse_project_id`.
    pub(in super::super) project: Option<&'a str>,
}

impl Store {
    /// What is stored under a key, as far as queries see it now.
    pub(in super::super) fn shown(&self, key: &str) -> Vec<Shown<'_>> {
        self.projects.get(key).map(Project::shown).unwrap_or_default()
    }

    /// Forgets what is stored under a key, and nothing else of it.
    pub(in super::super) fn empty(&mut self, key: &str) {
        let project = self.project(key);
        project.rows.clear();
        project.texts.clear();
    }

    /// Queries do not see what is stored from now on.
    pub(in super::super) fn hold_back(&mut self, key: &str) {
        let project = self.project(key);
        project.shown_until = Some(project.texts.len());
    }

    pub(in super::super) fn show(&mut self, key: &str) {
        self.project(key).shown_until = None;
    }

    /// Whether queries see copies that are not folded yet.
    pub(in super::super) fn set_unfolded(&mut self, key: &str, unfolded: bool) {
        self.project(key).unfolded = unfolded;
    }

    /// After so many more events, the key is over its billing limit.
    pub(in super::super) fn set_billing_limit_after(&mut self, key: &str, events: usize) {
        self.project(key).left = Some(events);
    }
}

impl Project {
    fn shown(&self) -> Vec<Shown<'_>> {
        let mut shown = Vec::new();
        for (identity, row) in &self.rows {
            if self.shown_until.is_some_and(|until| row.at >= until) {
                continue;
            }
            let mut show = |time| {
                shown.push(Shown {
                    event: &identity.event,
                    uuid: identity.uuid,
                    time,
                    project: row.project.as_deref(),
                });
            };
            show(row.time);
            if self.unfolded {
                row.earlier.iter().for_each(|time| show(*time));
                (row.earlier.len() + 1..row.taken).for_each(|_| show(row.time));
            }
        }
        shown
    }
}
