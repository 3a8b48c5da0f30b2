//! Copies of events that stay at PostHog under the distinct id that their row had before.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::compare::kept_distinct_id;
use super::report::Report;

/// The distinct ids that events had at some time, by event name and uuid.
#[derive(Clone, Default)]
pub(super) struct Former(HashMap<(String, String), HashSet<String>>);

impl Former {
    pub(super) fn note(&mut self, events: &[Value]) {
        for event in events {
            let ids = self.0.entry(identity(event)).or_default();
            ids.insert(kept_distinct_id(event));
        }
    }

    /// The copies of an event without those under a distinct id of before, which the report counts.
    /// Where nothing else is there the last form is missing, and all are left.
    pub(super) fn set_apart(&self, expected: &Value, copies: Vec<Value>, report: &mut Report) -> Vec<Value> {
        let Some(former) = self.0.get(&identity(expected)) else {
            return copies;
        };
        let present = kept_distinct_id(expected);
        let is_former = |copy: &Value| {
            let id = kept_distinct_id(copy);
            id != present && former.contains(&id)
        };
        let (apart, rest): (Vec<_>, Vec<_>) = copies.into_iter().partition(is_former);
        if apart.is_empty() || rest.is_empty() {
            return if rest.is_empty() { apart } else { rest };
        }
        report.former_copies += apart.len();
        if rest.len() == 1 {
            report.copies_kept -= 1;
        }
        rest
    }
}

fn identity(event: &Value) -> (String, String) {
    let text = |name| event[name].as_str().unwrap_or_default().to_owned();
    (text("event"), text("uuid"))
}
