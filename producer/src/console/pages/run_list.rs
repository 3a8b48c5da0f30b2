//! A table of runs, as several pages show it. PURE.

use chrono::{DateTime, Utc};
use shared::ledger::{RunRow, State};

use super::words;
use crate::console::address::Prefix;
use crate::console::times::Moment;
use crate::output::{number, shorten};

/// A text of a failure is cut here; the run's own page has all of it.
const LONGEST: usize = 160;

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunLine {
    pub(super) href: String,
    pub(super) project: String,
    pub(super) project_href: String,
    pub(super) day: String,
    pub(super) run: String,
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) attempt: i32,
    pub(super) events: String,
    pub(super) rejected: String,
    pub(super) since: Option<Moment>,
    pub(super) cause: String,
    pub(super) error: String,
}

impl RunLine {
    pub(super) fn new(prefix: &Prefix, now: DateTime<Utc>, run: &RunRow) -> Self {
        let (class, word) = words::of_run(run);
        Self {
            href: prefix.run(&run.key()),
            project: run.project_id.clone(),
            project_href: prefix.project(&run.project_id),
            day: run.day.to_string(),
            run: run.run.clone(),
            class,
            word,
            attempt: run.attempt,
            events: number(run.counts.sent),
            rejected: number(run.counts.rejected),
            since: since(run).map(|since| Moment::new(now, since)),
            cause: run.error_code.clone().unwrap_or_default(),
            error: shorten(&words::failure(run.error.as_deref().unwrap_or_default()), LONGEST),
        }
    }
}

/// Since when a run is in its state; of a waiting one, until when.
fn since(run: &RunRow) -> Option<DateTime<Utc>> {
    match run.state {
        State::Completed => run.completed_at,
        State::Running => run.started_at,
        State::Waiting => run.retry_at,
        State::Queued | State::Skipped | State::Discarded => Some(run.queued_at),
        State::Dead => run.first_failed_at,
    }
}
