//! The days of a project: what became of each, and what its steps did. PURE.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::job::{Day, SETTLED, STEP_PREFIX};
use shared::ledger::{RunRow, State};

use crate::output::count;

/// What became of a day. From the best to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// It is exported, and what changed until `SETTLE_AFTER` its end was sent again
    Settled,
    /// A full run is completed
    Exported,
    /// A full run is queued, running or waiting, or skipped for as long as its project is
    OnItsWay,
    /// Its full run is a dead letter
    Dead,
    /// A human has discarded it
    GivenUp,
    /// It has no full run, only runs of a part of it
    InPart,
}

impl Standing {
    fn of(runs: &[&RunRow]) -> Self {
        let is = |state: State| runs.iter().any(|run| run.full && run.state == state);
        if runs
            .iter()
            .any(|run| run.run == SETTLED && run.state == State::Completed)
        {
            Self::Settled
        } else if is(State::Completed) {
            Self::Exported
        } else if [State::Queued, State::Running, State::Waiting, State::Skipped]
            .into_iter()
            .any(is)
        {
            Self::OnItsWay
        } else if is(State::Dead) {
            Self::Dead
        } else if is(State::Discarded) {
            Self::GivenUp
        } else {
            Self::InPart
        }
    }
}

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
    pub(super) standing: Standing,
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
            standing: Standing::of(&runs),
            steps: (!steps.is_empty()).then(|| StepCounts::of(&steps)),
        }
    };
    by_day.into_iter().map(line).collect()
}

/// Whether it is a step of its day.
pub(super) fn is_step(run: &RunRow) -> bool {
    run.run.starts_with(STEP_PREFIX) && run.span().is_some()
}
