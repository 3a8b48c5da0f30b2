//! The days of a project: what became of each, and what its steps did. PURE.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::job::{Day, STEP_PREFIX};
use shared::ledger::{RunRow, State};

use crate::output::count;
use crate::standing::DayStanding;

/// What the steps of a day did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct StepCounts {
    pub(super) completed: usize,
    /// Queued, running or waiting
    pub(super) on_their_way: usize,
    /// They failed, or the day was over first: another run makes up for it
    pub(super) discarded: usize,
    /// The integration was disabled, or the project paused
    pub(super) skipped: usize,
    pub(super) events_sent: i64,
    pub(super) rows_rejected: i64,
}

impl StepCounts {
    pub(super) fn of(steps: &[&RunRow]) -> Self {
        let mut counts = Self::default();
        for step in steps {
            *match step.state {
                State::Completed => &mut counts.completed,
                State::Queued | State::Running | State::Waiting => &mut counts.on_their_way,
                // A step is never dead; one that somebody published by hand may be.
                State::Discarded | State::Dead => &mut counts.discarded,
                State::Skipped => &mut counts.skipped,
            } += 1;
            counts.events_sent += step.counts.sent;
            counts.rows_rejected += step.counts.rejected;
        }
        counts
    }

    /// How many there are.
    pub(super) fn name(&self) -> String {
        count(
            self.completed + self.on_their_way + self.discarded + self.skipped,
            "step",
        )
    }

    /// How many in each state.
    pub(super) fn words(&self) -> String {
        let states = [
            (self.completed, "completed"),
            (self.on_their_way, "on their way"),
            (self.discarded, "discarded"),
            (self.skipped, "skipped"),
        ];
        let states = states.iter().filter(|(number, _)| *number > 0);
        states
            .map(|(number, state)| format!("{number} {state}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// One day of one project. The names in its JSON are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DayLine {
    pub(super) project_id: String,
    pub(super) day: Day,
    pub(super) standing: DayStanding,
    /// `None`: it had none, or they were folded into its `daily` run since
    pub(super) steps: Option<StepCounts>,
}

/// The days of these runs.
pub(super) fn days(runs: &[RunRow]) -> Vec<DayLine> {
    let mut by_day: BTreeMap<(&str, Day), Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        by_day.entry((&run.project_id, run.day)).or_default().push(run);
    }
    let line = |((project_id, day), runs): ((&str, Day), Vec<&RunRow>)| {
        let steps: Vec<&RunRow> = runs.iter().copied().filter(|run| is_step(run)).collect();
        DayLine {
            project_id: project_id.to_owned(),
            day,
            standing: DayStanding::of(&runs),
            steps: (!steps.is_empty()).then(|| StepCounts::of(&steps)),
        }
    };
    by_day.into_iter().map(line).collect()
}

/// Whether it is a step of its day.
pub(super) fn is_step(run: &RunRow) -> bool {
    run.run.starts_with(STEP_PREFIX) && run.span().is_some()
}
