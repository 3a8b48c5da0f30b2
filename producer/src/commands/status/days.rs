//! The days of a project: what became of each, and what its steps did. PURE.

use std::collections::BTreeMap;

use serde::Serialize;
use shared::job::{Day, STEP_PREFIX};
use shared::ledger::RunRow;

use crate::standing::DayStanding;
use crate::step_counts::StepCounts;

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
            steps: (!steps.is_empty()).then(|| StepCounts::of(steps.iter().map(|step| (step.state, step.counts)))),
        }
    };
    by_day.into_iter().map(line).collect()
}

/// Whether it is a step of its day.
pub(super) fn is_step(run: &RunRow) -> bool {
    run.run.starts_with(STEP_PREFIX) && run.span().is_some()
}
