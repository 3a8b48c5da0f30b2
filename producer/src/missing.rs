//! Which days of a project are missing: what `status` and the console call behind. PURE.

use std::collections::BTreeSet;

use shared::job::{DAILY, Day};
use shared::ledger::State;

use crate::output::count;
use crate::standing::OfDay;

/// The days of a project that are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// All of them: over, with data, without a completed full run. A day that was given up does not
    /// count
    pub(crate) days: BTreeSet<Day>,
    /// How many of these have no job
    pub(crate) without_job: usize,
}

impl Missing {
    /// Of these runs. `with_data` are the days that hold data and have no run that satisfies them, as
    /// Langfuse's tables say; whoever has not read those learns of the days that have a job, and of no
    /// others.
    pub(crate) fn of<'a, R: 'a>(
        runs: impl IntoIterator<Item = &'a R>,
        with_data: &BTreeSet<Day>,
        newest_over: Day,
    ) -> Self
    where
        OfDay<'a>: From<&'a R>,
    {
        let (mut satisfied, mut open) = (BTreeSet::new(), BTreeSet::new());
        for run in runs.into_iter().map(OfDay::from).filter(|run| run.full) {
            let given_up = run.state == State::Discarded && run.run == DAILY;
            if run.state == State::Completed || given_up {
                satisfied.insert(run.day);
            }
            if run.state != State::Discarded {
                open.insert(run.day);
            }
        }
        let all = with_data.union(&open).copied();
        let days: BTreeSet<Day> = all
            .filter(|day| *day <= newest_over && !satisfied.contains(day))
            .collect();
        Self {
            without_job: days.difference(&open).count(),
            days,
        }
    }

    /// How many, and the oldest.
    pub(crate) fn words(&self) -> Option<String> {
        words(self.days.len(), self.days.first().copied())
    }
}

/// How many days are missing, and the oldest; `None`: none is.
pub(crate) fn words(days: usize, oldest: Option<Day>) -> Option<String> {
    let oldest = oldest?;
    Some(match days {
        1 => format!("1 day missing: {oldest}"),
        days => format!("{} missing, oldest {oldest}", count(days, "day")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ledger::DayRun;

    fn run(day: u32, run: &str, state: State, full: bool) -> DayRun {
        DayRun {
            day: format!("2024-06-{day:02}").parse().unwrap(),
            run: run.to_owned(),
            state,
            full,
        }
    }

    #[test]
    fn a_day_is_missing_while_a_full_run_of_it_is_open_and_none_is_completed() {
        let runs = [
            run(1, DAILY, State::Dead, true),
            run(2, DAILY, State::Skipped, true),
            // Exported; what is still to come adds to it.
            run(3, DAILY, State::Completed, true),
            run(3, "settled", State::Queued, true),
            run(3, "late-1", State::Waiting, false),
            // A replay stands in for what was given up.
            run(4, DAILY, State::Dead, true),
            run(4, "replay", State::Completed, true),
            run(5, DAILY, State::Discarded, true),
            run(6, "replay", State::Discarded, true),
            // Not over yet.
            run(8, DAILY, State::Running, true),
            run(8, "step-0100", State::Running, false),
        ];
        let day = |day: u32| format!("2024-06-{day:02}").parse::<Day>().unwrap();
        let missing = Missing::of(&runs, &BTreeSet::new(), day(7));
        assert_eq!(missing.days, BTreeSet::from([day(1), day(2)]));
        assert_eq!(missing.without_job, 0);
        assert_eq!(missing.words().as_deref(), Some("2 days missing, oldest 2024-06-01"));
        // With what Langfuse's tables say, as `status` has it.
        let missing = Missing::of(&runs, &BTreeSet::from([day(6), day(7), day(8)]), day(7));
        assert_eq!((missing.days.len(), missing.without_job), (4, 2));
    }
}
