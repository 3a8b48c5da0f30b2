//! Long histories: the days from before the nightly export of a project began. `enqueue` goes back
//! to the project's first row, and what PostHog has taken cannot be taken back row by row. So a
//! long history is asked about. PURE.

use std::collections::{BTreeMap, BTreeSet};

use shared::job::{DAILY, Day};
use shared::langfuse::Days;
use shared::ledger::RunRow;

use super::{Planned, Project, Reason, Rules, without, yesterday};

/// A history of more days that hold data than this is asked about.
const MANY_DAYS: usize = 30;
/// Histories of more events than this, all projects together, are asked about.
const MANY_EVENTS: i64 = 1_000_000;

/// The days of a project that are exported for the first time, and are older than the first day
/// that was enqueued in time. All new days, where none was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstExport {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// Oldest to newest day
    pub range: Days,
    /// Those that hold data
    pub days: BTreeSet<Day>,
    /// The range without the days that have other runs
    pub stretches: Vec<Days>,
    /// About how many events they hold
    pub events: i64,
}

impl FirstExport {
    /// Whether this job is a part of it.
    pub fn has(&self, planned: &Planned) -> bool {
        let key = &planned.job.key;
        planned.reason == Reason::New && key.project_id == self.project_id && self.days.contains(&key.day)
    }
}

/// The first exports among these jobs, without their events. None, when somebody has said how far
/// back to go: by `--from` or `--day`, or by `BACKFILL_DAYS`.
pub fn first_exports(rules: &Rules, projects: &[Project], jobs: &[Planned]) -> Vec<FirstExport> {
    if rules.from.is_some() || rules.horizon.backfill_days.is_some() {
        return Vec::new();
    }
    let mut new: BTreeMap<&str, BTreeSet<Day>> = BTreeMap::new();
    for planned in jobs.iter().filter(|planned| planned.reason == Reason::New) {
        let key = &planned.job.key;
        new.entry(&key.project_id).or_default().insert(key.day);
    }
    let first = |project: &Project| {
        let mut days = new.remove(project.id.as_str())?;
        if let Some(began) = nightly_since(&project.runs) {
            days.retain(|day| *day < began);
        }
        let range = *days.first()?..=*days.last()?;
        let others = project.runs.iter().map(|run| run.day);
        let others: BTreeSet<Day> = others.filter(|day| !days.contains(day)).collect();
        let mut stretches = without(vec![range.clone()], &others);
        stretches.retain(|stretch| days.range(stretch.clone()).next().is_some());
        Some(FirstExport {
            project_id: project.id.clone(),
            range,
            days,
            stretches,
            events: 0,
        })
    };
    projects.iter().filter_map(first).collect()
}

/// The first day that was enqueued in time: as the newest day, and not as a part of a backfill.
/// From then on, each new day is what the nightly run is for. A replay, or an old day that somebody
/// has asked for, says nothing about the days around it.
fn nightly_since(runs: &[RunRow]) -> Option<Day> {
    let in_time = |run: &&RunRow| run.run == DAILY && run.day >= yesterday(run.queued_at);
    runs.iter().filter(in_time).map(|run| run.day).min()
}

/// Those that are asked about: each that is long, and all of them when they are many events
/// together.
pub fn long_ones(first: Vec<FirstExport>) -> Vec<FirstExport> {
    let events = first
        .iter()
        .fold(0_i64, |sum, export| sum.saturating_add(export.events));
    let is_long = |export: &FirstExport| export.days.len() > MANY_DAYS || events > MANY_EVENTS;
    first.into_iter().filter(is_long).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Horizon;
    use crate::plan::tests::run;
    use shared::job::Job;
    use shared::ledger::State;
    use shared::topology::Lane;

    fn rules() -> Rules {
        Rules {
            now: "2024-06-10T12:00:00Z".parse().unwrap(),
            horizon: Horizon {
                lag: std::time::Duration::from_secs(1_800),
                ..Horizon::default()
            },
            from: None,
            to: None,
            observations: false,
        }
    }

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn project(runs: Vec<RunRow>) -> Project {
        Project {
            id: "p".to_owned(),
            runs,
            ..Project::default()
        }
    }

    fn jobs(days: &[&str]) -> Vec<Planned> {
        let planned = |text: &&str| Planned {
            job: Job::daily("p", day(text), false),
            lane: Lane::Backfill,
            reason: Reason::New,
        };
        days.iter().map(planned).collect()
    }

    fn days(texts: &[&str]) -> BTreeSet<Day> {
        texts.iter().map(|text| day(text)).collect()
    }

    #[test]
    fn only_what_goes_back_without_a_limit_is_a_first_export() {
        let projects = [project(Vec::new())];
        let planned = jobs(&["2024-06-09", "2023-01-01", "2024-06-01"]);
        let all = first_exports(&rules(), &projects, &planned);
        let range = day("2023-01-01")..=day("2024-06-09");
        let expected = FirstExport {
            project_id: "p".to_owned(),
            range: range.clone(),
            days: days(&["2023-01-01", "2024-06-01", "2024-06-09"]),
            stretches: vec![range],
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

    /// A run of that day, which was enqueued on another.
    fn run_of(text: &str, name: &str, queued: &str) -> RunRow {
        RunRow {
            queued_at: format!("{queued}T01:00:00Z").parse().unwrap(),
            ..run(day(text), name, State::Completed)
        }
    }

    /// What some runs leave of the history, of which these days are planned.
    fn left(runs: Vec<RunRow>, planned: &[&str]) -> BTreeSet<Day> {
        let first = first_exports(&rules(), &[project(runs)], &jobs(planned));
        first.into_iter().flat_map(|export| export.days).collect()
    }

    #[test]
    fn one_run_does_not_release_the_history_before_or_around_it() {
        let planned = ["2024-06-09", "2024-06-07", "2024-06-01", "2023-01-01"];
        // Yesterday's run: by the nightly, by `--day`, or with BACKFILL_DAYS that is gone.
        let nightly = run_of("2024-06-08", DAILY, "2024-06-09");
        assert_eq!(left(vec![nightly.clone()], &planned), days(&planned[1..]));
        // The days since then are the nightly run's, also after weeks without a producer.
        let long_ago = run_of("2023-06-01", DAILY, "2023-06-02");
        assert_eq!(left(vec![long_ago, nightly], &planned), days(&planned[3..]));
        // An old day, or an old part, that somebody has asked for.
        let part = ["2023-02-01", "2023-02-02"].map(|day| run_of(day, DAILY, "2024-06-09"));
        assert_eq!(left(part.into(), &planned), days(&planned));
        // A replay, and a message that somebody has published.
        let replay = run_of("2024-06-08", "replay-1", "2024-06-09");
        assert_eq!(left(vec![replay], &planned), days(&planned));
        // The whole history was approved: nothing of it is planned again.
        assert_eq!(
            left(vec![run_of("2024-06-08", DAILY, "2024-06-09")], &planned[..1]),
            days(&[])
        );
    }

    #[test]
    fn what_is_resumed_or_late_was_decided_before() {
        let mut planned = jobs(&["2023-01-01", "2023-01-02"]);
        planned[0].reason = Reason::Resumed;
        let first = first_exports(&rules(), &[project(Vec::new())], &planned);
        assert_eq!(first[0].days, days(&["2023-01-02"]));
        assert_eq!((first[0].has(&planned[0]), first[0].has(&planned[1])), (false, true));
        planned[1].reason = Reason::Late;
        assert!(!first[0].has(&planned[1]));
    }

    /// Else two rows of a wrong clock would count with all that was exported between them.
    #[test]
    fn days_that_have_runs_are_not_estimated() {
        let runs = ["2023-02-01", "2024-06-01"].map(|day| run_of(day, DAILY, "2024-06-09"));
        let first = first_exports(&rules(), &[project(runs.into())], &jobs(&["2023-01-01", "2024-06-02"]));
        let stretches = [
            day("2023-01-01")..=day("2023-01-31"),
            day("2024-06-02")..=day("2024-06-02"),
        ];
        assert_eq!(first[0].stretches, stretches);
    }

    #[test]
    fn many_days_of_one_or_many_events_of_all_are_asked_about() {
        let export = |id: &str, days: usize, events: i64| FirstExport {
            project_id: id.to_owned(),
            range: day("2024-01-01")..=day("2024-06-09"),
            days: std::iter::successors(Some(day("2024-01-01")), |day| Some(day.next()))
                .take(days)
                .collect(),
            stretches: Vec::new(),
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
