//! What a project needs, and what became of a day: the words of `status` and of the console. PURE.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::job::{Day, SETTLED};
use shared::ledger::{DayRun, ProjectDays, RunRow, State};

/// What a project needs. In the order in which projects are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// It has a dead letter, is paused because of its PostHog settings, its long history waits for a
    /// decision, or PostHog does not hold what was exported: somebody must act
    NeedsSomebody,
    /// Days are missing, and are on their way or wait for the next enqueue
    Behind,
    /// A person has paused it
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
    /// `None`: it is not paused; else whether a failure led to its pause, and no person
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
    /// A person has discarded it
    GivenUp,
    /// It has no full run, only runs of a part of it
    InPart,
}

/// A run of a day, as far as it says what became of that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfDay<'a> {
    pub(crate) day: Day,
    pub(crate) run: &'a str,
    pub(crate) state: State,
    /// It exports all rows of the usual streams
    pub(crate) full: bool,
}

impl<'a> From<&'a RunRow> for OfDay<'a> {
    fn from(row: &'a RunRow) -> Self {
        Self {
            day: row.day,
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
            day: row.day,
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

/// What became of each day that has a run.
pub(crate) fn standings(days: &ProjectDays) -> BTreeMap<Day, DayStanding> {
    let of_steps = days.in_steps.iter().map(|day| (*day, DayStanding::InPart));
    let of_runs = days.runs.chunk_by(|a, b| a.day == b.day);
    let of_runs = of_runs.filter_map(|runs| Some((runs.first()?.day, DayStanding::of(runs))));
    // A day with steps and other runs is what the others say.
    of_steps.chain(of_runs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_alone_are_a_day_in_part_and_say_nothing_beside_a_full_run() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let run = |text: &str, state, full| DayRun {
            day: day(text),
            run: "daily".to_owned(),
            state,
            full,
        };
        let days = ProjectDays {
            project_id: "p".to_owned(),
            runs: vec![
                run("2024-06-01", State::Completed, true),
                run("2024-06-02", State::Completed, false),
                run("2024-06-02", State::Queued, true),
            ],
            in_steps: vec![day("2024-06-01"), day("2024-06-02"), day("2024-06-03")],
        };
        let found: Vec<DayStanding> = standings(&days).into_values().collect();
        assert_eq!(
            found,
            [DayStanding::Exported, DayStanding::OnItsWay, DayStanding::InPart]
        );
    }
}
