//! The buttons of a project's page.

use chrono::{DateTime, Utc};
use shared::job::Day;
use uuid::Uuid;

use crate::console::address::Prefix;

/// Where the forms go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acts {
    /// Whether it is paused, so that it can be resumed
    pub(super) paused: bool,
    pub(super) pause: String,
    pub(super) resume: String,
    pub(super) check_key: String,
    pub(super) replay: String,
    /// The last day that is over
    pub(super) last_day: String,
    /// Somebody who clicks twice has asked once
    pub(super) once: String,
}

impl Acts {
    pub(super) fn new(prefix: &Prefix, id: &str, paused: bool, now: DateTime<Utc>) -> Self {
        let act = |action| prefix.act(id, action);
        Self {
            paused,
            pause: act("pause/preview"),
            resume: act("resume/preview"),
            check_key: act("check-key"),
            replay: act("replay/preview"),
            last_day: Day::of(now).previous().to_string(),
            once: Uuid::new_v4().to_string(),
        }
    }
}
