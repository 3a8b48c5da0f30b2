//! A table of runs, as several pages show it. PURE.

use chrono::{DateTime, Utc};
use shared::ledger::{Counts, RunRow, State, StepsOfDay};

use super::words;
use crate::console::address::Prefix;
use crate::console::times::Moment;
use crate::output::{number, shorten};
use crate::step_counts::StepCounts;

/// A text of a failure is cut here; the run's own page has all of it.
const LONGEST: usize = 160;

/// A run, or all steps of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunLine {
    pub(super) href: String,
    pub(super) project: String,
    pub(super) project_href: String,
    pub(super) day: String,
    pub(super) run: String,
    pub(super) class: &'static str,
    pub(super) word: String,
    pub(super) attempt: String,
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
            word: word.to_owned(),
            attempt: run.attempt.to_string(),
            events: number(run.counts.sent),
            rejected: number(run.counts.rejected),
            since: since(run).map(|since| Moment::new(now, since)),
            cause: run.error_code.clone().unwrap_or_default(),
            error: shorten(&words::failure(run.error.as_deref().unwrap_or_default()), LONGEST),
        }
    }

    /// All steps of a day in one line, which leads to each of them.
    pub(super) fn of_steps(prefix: &Prefix, project_id: &str, steps: &StepsOfDay) -> Self {
        let counts = step_counts(steps);
        Self {
            href: format!("{}?day={}&steps=open#steps", prefix.project(project_id), steps.day),
            project: project_id.to_owned(),
            project_href: prefix.project(project_id),
            day: steps.day.to_string(),
            run: counts.name(),
            class: if counts.on_their_way > 0 { "wait" } else { "ok" },
            word: counts.words(),
            attempt: String::new(),
            events: number(steps.counts.sent),
            rejected: number(steps.counts.rejected),
            since: None,
            cause: String::new(),
            error: String::new(),
        }
    }
}

/// How many steps of a day are in each state.
pub(super) fn step_counts(steps: &StepsOfDay) -> StepCounts {
    let mut counts = StepCounts::of(steps.states.iter().map(|state| (*state, Counts::default())));
    (counts.events_sent, counts.rows_rejected) = (steps.counts.sent, steps.counts.rejected);
    counts
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
