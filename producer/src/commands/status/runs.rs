//! The table of runs. The steps of a day are one line, so that the days stay readable. PURE but for
//! the writing.

use std::collections::BTreeSet;

use shared::job::{DAILY, Day};
use shared::ledger::{RunRow, State};

use super::days::{DayLine, is_step};
use crate::output::{self, cell, line, moment, shorten};
use crate::standing::DayStanding;
use crate::step_counts::StepCounts;

/// What a step means that was not completed.
const NOBODY_NEEDS_TO_ACT: &str = "A step that is discarded or skipped needs no action: the next step of its day, or its daily run, \
                                   sends what it did not.";
/// The cause of a discarded step without an error.
const DAY_OVER: &str = "day over";

/// Writes it. With `days` the steps of each are one line, else each has its own.
pub(super) fn say(runs: &[RunRow], days: Option<&[DayLine]>) {
    if runs.is_empty() {
        line("No runs.");
        return;
    }
    let header = [
        "DAY", "RUN", "STATE", "FAILURES", "EVENTS", "REJECTED", "SINCE", "CAUSE", "ERROR",
    ];
    output::table(header, rows(runs, days));
    let unsent = |run: &RunRow| is_step(run) && matches!(run.state, State::Discarded | State::Skipped);
    if runs.iter().any(unsent) {
        line(NOBODY_NEEDS_TO_ACT);
    }
}

fn rows(runs: &[RunRow], days: Option<&[DayLine]>) -> Vec<[String; 9]> {
    let Some(days) = days else {
        return runs.iter().map(|run| row(run, false)).collect();
    };
    let settled: BTreeSet<(&str, Day)> = days
        .iter()
        .filter(|day| day.standing == DayStanding::Settled)
        .map(|day| (day.project_id.as_str(), day.day))
        .collect();
    let same_day = |a: &RunRow, b: &RunRow| a.day == b.day && a.project_id == b.project_id;
    let mut rows = Vec::new();
    for of_day in runs.chunk_by(same_day) {
        let (steps, others): (Vec<&RunRow>, Vec<&RunRow>) = of_day.iter().partition(|run| is_step(run));
        rows.extend(others.into_iter().map(|run| {
            let is_settled = run.run == DAILY && settled.contains(&(run.project_id.as_str(), run.day));
            row(run, is_settled)
        }));
        rows.extend(together(&steps));
    }
    rows
}

fn row(run: &RunRow, is_settled: bool) -> [String; 9] {
    let since = match run.state {
        State::Completed => run.completed_at,
        State::Running => run.started_at,
        State::Waiting => run.retry_at,
        State::Queued | State::Skipped | State::Discarded => Some(run.queued_at),
        State::Dead => run.first_failed_at,
    };
    let state = run.state.to_string();
    [
        format!("{}/{}", run.project_id, run.day),
        run.run.clone(),
        if is_settled { format!("{state}, settled") } else { state },
        run.attempt.to_string(),
        run.counts.sent.to_string(),
        run.counts.rejected.to_string(),
        cell(since.map(moment)),
        cell(cause(run)),
        shorten(run.error.as_deref().unwrap_or("-"), 80),
    ]
}

/// The steps of one day, with the cause of the last that failed.
fn together(steps: &[&RunRow]) -> Option<[String; 9]> {
    let first = steps.first()?;
    let counts = StepCounts::of(steps.iter().map(|step| (step.state, step.counts)));
    let failed = steps
        .iter()
        .filter(|step| step.state != State::Completed && cause(step).is_some())
        .max_by_key(|step| step.span_until);
    Some([
        format!("{}/{}", first.project_id, first.day),
        counts.name(),
        counts.words(),
        "-".to_owned(),
        counts.events_sent.to_string(),
        counts.rows_rejected.to_string(),
        cell(steps.iter().filter_map(|step| step.completed_at).max().map(moment)),
        cell(failed.and_then(|step| Some(format!("{}: {}", step.run, cause(step)?)))),
        shorten(failed.and_then(|step| step.error.as_deref()).unwrap_or("-"), 80),
    ])
}

fn cause(run: &RunRow) -> Option<&str> {
    let over = is_step(run) && run.state == State::Discarded;
    run.error_code.as_deref().or(over.then_some(DAY_OVER))
}
