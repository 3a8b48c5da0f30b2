//! What a project needs, and what became of a day: the words of `status` and of the console. PURE.

use serde::Serialize;
use shared::job::SETTLED;
use shared::ledger::{DayRun, RunRow, State};

/// What a project needs. In the order in which projects are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// It has a dead letter, is paused because of its PostHog settings, its long history waits for a
    /// decision, or PostHog does not hold what was exported: somebody must act
    NeedsSomebody,
    /// Days are missing, and are on their way or wait for the next enqueue
    Behind,
    /// A human has paused it
    Paused,
    /// Every day that is over and holds data is exported
    #[default]
    UpToDate,
    /// Its integration is disabled, or it has none
    Disabled,
}

/// What is known of a project.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// It has a dead letter
    pub(crate) dead: bool,
    /// Its integration is enabled
    pub(crate) enabled: bool,
    /// `None`: it is not paused; else whether a failure led to its pause, and no human
    pub(crate) paused_by_fault: Option<bool>,
    /// Days wait until somebody decides
    pub(crate) held_back: bool,
    /// PostHog does not hold all that was exported
    pub(crate) not_arrived: bool,
    /// Days are missing
    pub(crate) missing: bool,
}

impl Standing {
    /// What a project needs of which this is known.
    pub(crate) fn of(known: Known) -> Self {
        match known.paused_by_fault {
            _ if known.dead => Self::NeedsSomebody,
            _ if !known.enabled => Self::Disabled,
            Some(true) => Self::NeedsSomebody,
            Some(false) => Self::Paused,
            None if known.held_back || known.not_arrived => Self::NeedsSomebody,
            None if known.missing => Self::Behind,
            None => Self::UpToDate,
        }
    }
}

/// What became of a day. From the best to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DayStanding {
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

/// A run of a day: its name, its state, and whether it exports all rows of the usual streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfDay<'a> {
    run: &'a str,
    state: State,
    full: bool,
}

impl<'a> From<&'a RunRow> for OfDay<'a> {
    fn from(row: &'a RunRow) -> Self {
        Self {
            run: &row.run,
            state: row.state,
            full: row.full,
        }
    }
}

impl<'a> From<&'a &RunRow> for OfDay<'a> {
    fn from(row: &'a &RunRow) -> Self {
        Self::from(*row)
    }
}

impl<'a> From<&'a DayRun> for OfDay<'a> {
    fn from(row: &'a DayRun) -> Self {
        Self {
            run: &row.run,
            state: row.state,
            full: row.full,
        }
    }
}

impl DayStanding {
    /// What became of the day that has these runs.
    pub(crate) fn of<'a, R>(runs: &'a [R]) -> Self
    where
        OfDay<'a>: From<&'a R>,
    {
        let any = |found: &dyn Fn(&OfDay<'_>) -> bool| runs.iter().any(|run| found(&OfDay::from(run)));
        let is = |state: State| any(&|run| run.full && run.state == state);
        if any(&|run| run.run == SETTLED && run.state == State::Completed) {
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
