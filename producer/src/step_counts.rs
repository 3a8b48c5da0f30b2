//! What became of the steps of a day, in one line. PURE.

use serde::Serialize;
use shared::ledger::{Counts, State};

use crate::output::{agree, count};

/// What the steps of a day did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StepCounts {
    pub(crate) completed: usize,
    /// Queued, running or waiting
    pub(crate) on_their_way: usize,
    /// They failed, or the day was over first: another run makes up for it
    pub(crate) discarded: usize,
    /// The integration was disabled, or the project paused
    pub(crate) skipped: usize,
    pub(crate) events_sent: i64,
    pub(crate) rows_rejected: i64,
}

impl StepCounts {
    /// Of each its state, and what it sent and rejected.
    pub(crate) fn of(steps: impl Iterator<Item = (State, Counts)>) -> Self {
        let mut counts = Self::default();
        for (state, of_step) in steps {
            *match state {
                State::Completed => &mut counts.completed,
                State::Queued | State::Running | State::Waiting => &mut counts.on_their_way,
                // A step is never dead; one that somebody published by hand may be.
                State::Discarded | State::Dead => &mut counts.discarded,
                State::Skipped => &mut counts.skipped,
            } += 1;
            counts.events_sent += of_step.sent;
            counts.rows_rejected += of_step.rejected;
        }
        counts
    }

    /// How many there are.
    pub(crate) fn name(&self) -> String {
        count(
            self.completed + self.on_their_way + self.discarded + self.skipped,
            "step",
        )
    }

    /// How many in each state.
    pub(crate) fn words(&self) -> String {
        let states = [
            (self.completed, "completed"),
            (
                self.on_their_way,
                agree(self.on_their_way, "on its way", "on their way"),
            ),
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
