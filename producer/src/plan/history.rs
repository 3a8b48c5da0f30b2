//! First exports: what `enqueue` publishes for a project that has never been exported. It goes back
//! to the project's first row, and what PostHog has taken cannot be taken back row by row. So a
//! long one is asked about. PURE.

use std::collections::{BTreeMap, BTreeSet};

use shared::job::Day;
use shared::langfuse::Days;

use super::{Planned, Project, Rules};

/// A first export of more days that hold data than this is asked about.
const MANY_DAYS: usize = 30;
/// First exports of more events than this, all projects together, are asked about.
const MANY_EVENTS: i64 = 1_000_000;

/// The jobs of a project that has no run in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstExport {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// Oldest to newest day
    pub range: Days,
    /// How many days hold data
    pub days: usize,
    /// About how many events they hold
    pub events: i64,
}

/// The first exports among these jobs, without their events. None, when somebody has said how far
/// back to go: by `--from` or `--day`, or by `BACKFILL_DAYS`.
pub fn first_exports(rules: &Rules, projects: &[Project], jobs: &[Planned]) -> Vec<FirstExport> {
    if rules.from.is_some() || rules.horizon.backfill_days.is_some() {
        return Vec::new();
    }
    let without_runs = projects.iter().filter(|project| project.runs.is_empty());
    let new: BTreeSet<&str> = without_runs.map(|project| project.id.as_str()).collect();
    let mut days: BTreeMap<&str, BTreeSet<Day>> = BTreeMap::new();
    for job in jobs {
        let key = &job.job.key;
        if new.contains(key.project_id.as_str()) {
            days.entry(&key.project_id).or_default().insert(key.day);
        }
    }
    let first = |(id, days): (&str, BTreeSet<Day>)| {
        Some(FirstExport {
            project_id: id.to_owned(),
            range: *days.first()?..=*days.last()?,
            days: days.len(),
            events: 0,
        })
    };
    days.into_iter().filter_map(first).collect()
}

/// Those that are asked about: each that is long, and all of them when they are many events
/// together.
pub fn long_ones(first: Vec<FirstExport>) -> Vec<FirstExport> {
    let events = first
        .iter()
        .fold(0_i64, |sum, export| sum.saturating_add(export.events));
    let is_long = |export: &FirstExport| export.days > MANY_DAYS || events > MANY_EVENTS;
    first.into_iter().filter(is_long).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Horizon;
    use shared::job::Job;
    use shared::topology::Lane;

    fn rules() -> Rules {
        Rules {
            now: "2024-06-10T12:00:00Z".parse().unwrap(),
            horizon: Horizon {
                lag: std::time::Duration::from_secs(1_800),
                backfill_days: None,
            },
            from: None,
            to: None,
            observations: false,
        }
    }

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn new_project(id: &str) -> Project {
        Project {
            id: id.to_owned(),
            ..Project::default()
        }
    }

    fn jobs(id: &str, days: &[&str]) -> Vec<Planned> {
        let planned = |text: &&str| Planned {
            job: Job::daily(id, day(text), false),
            lane: Lane::Backfill,
            reason: crate::plan::Reason::New,
        };
        days.iter().map(planned).collect()
    }

    #[test]
    fn only_what_goes_back_without_a_limit_is_a_first_export() {
        let projects = [new_project("new")];
        let planned = jobs("new", &["2024-06-09", "2023-01-01", "2024-06-01"]);
        let all = first_exports(&rules(), &projects, &planned);
        let expected = FirstExport {
            project_id: "new".to_owned(),
            range: day("2023-01-01")..=day("2024-06-09"),
            days: 3,
            events: 0,
        };
        assert_eq!(all, [expected]);
        assert!(first_exports(&rules(), &projects, &[]).is_empty());
        // `--to` says where it ends, not how far back it goes.
        let to = Rules {
            to: Some(day("2024-06-09")),
            ..rules()
        };
        assert_eq!(first_exports(&to, &projects, &planned).len(), 1);
        let from = Rules {
            from: Some(day("2023-01-01")),
            ..rules()
        };
        assert!(first_exports(&from, &projects, &planned).is_empty());
        let mut bounded = rules();
        bounded.horizon.backfill_days = Some(0);
        assert!(first_exports(&bounded, &projects, &planned).is_empty());
    }

    #[test]
    fn a_project_that_has_runs_is_never_asked_about() {
        let known = Project {
            runs: vec![crate::plan::tests::run(
                day("2024-06-08"),
                "daily",
                shared::ledger::State::Completed,
            )],
            ..new_project("known")
        };
        let planned = jobs("known", &["2024-06-09", "2023-01-01"]);
        assert!(first_exports(&rules(), &[known], &planned).is_empty());
    }

    #[test]
    fn many_days_of_one_or_many_events_of_all_are_asked_about() {
        let export = |id: &str, days: usize, events: i64| FirstExport {
            project_id: id.to_owned(),
            range: day("2024-01-01")..=day("2024-06-09"),
            days,
            events,
        };
        let asked = |first: Vec<FirstExport>| {
            let long = long_ones(first).into_iter();
            long.map(|export| export.project_id).collect::<Vec<_>>()
        };
        assert!(asked(vec![export("a", MANY_DAYS, 400_000), export("b", 1, 600_000)]).is_empty());
        assert_eq!(asked(vec![export("a", MANY_DAYS + 1, 10), export("b", 1, 10)]), ["a"]);
        assert_eq!(
            asked(vec![export("a", 1, 600_000), export("b", 1, 400_001)]),
            ["a", "b"]
        );
        assert_eq!(
            asked(vec![export("a", 1, i64::MAX), export("b", 1, i64::MAX)]),
            ["a", "b"]
        );
    }
}
