//! The `settled` run of a day: once, `SETTLE_AFTER` its end, what changed since its export is sent
//! again. PURE.
//!
//! A day that was exported later than that is settled already, so a backfill leads to none.

use chrono::{DateTime, TimeDelta, Utc};
use shared::job::{Day, Job, RunKey, SETTLED, Scope, Span};
use shared::ledger::{RunRow, State};

use super::{Planned, Reason, Rules, lane};

/// For how long a run is still planned that could not be planned in time, because no enqueue ran.
/// After that it is given up. So switching it on does not read a whole history again.
const STILL: TimeDelta = TimeDelta::days(7);

/// Where the `settled` run of a day stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// None is needed, it has ended, or it can no longer come
    None,
    /// Its time has not come, or it has not ended. It reads late rows, too
    ToCome,
    /// It is to be published now
    Due,
}

fn standing(rules: &Rules, day: Day, runs: &[&RunRow]) -> Standing {
    if let Some(settled) = runs.iter().find(|run| run.run == SETTLED) {
        return match settled.state {
            // Skipped, it comes back as soon as its project is planned for.
            State::Queued | State::Running | State::Waiting | State::Skipped => Standing::ToCome,
            State::Completed | State::Dead | State::Discarded => Standing::None,
        };
    }
    let (Some(after), Some(began)) = (rules.horizon.settle_after, last_began(runs)) else {
        return Standing::None;
    };
    let due = Span::of(day).until + after;
    if began >= due || rules.now >= due + STILL {
        Standing::None
    } else if rules.now >= due {
        Standing::Due
    } else {
        Standing::ToCome
    }
}

/// When the last completed run began that read the whole day.
fn last_began(runs: &[&RunRow]) -> Option<DateTime<Utc>> {
    let whole = runs.iter().filter(|run| run.state == State::Completed && run.full);
    whole.filter_map(|run| run.started_at).max()
}

/// Whether late rows of the day are left to its `settled` run.
pub(super) fn takes_late_rows(rules: &Rules, runs: &[&RunRow]) -> bool {
    let day = runs.first().map(|run| run.day);
    day.is_some_and(|day| standing(rules, day, runs) != Standing::None)
}

/// The run, where it is due. `observations`: whether the day was exported with them.
pub(super) fn job(rules: &Rules, runs: &[&RunRow], observations: bool) -> Option<Planned> {
    let first = runs.first()?;
    let scope = Scope {
        changed: true,
        ..Scope::whole(observations)
    };
    (standing(rules, first.day, runs) == Standing::Due).then(|| Planned {
        job: Job {
            key: RunKey::new(&first.project_id, first.day, SETTLED),
            scope,
        },
        lane: lane(first.day, rules.now),
        reason: Reason::Settled,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;
    use shared::job::DAILY;
    use shared::langfuse::Newest;

    use super::*;
    use crate::config::Horizon;
    use crate::plan::tests::run;
    use crate::plan::{Arrived, MARGIN, Project, plan, sweep_from, swept_until};

    /// The day; its `daily` run begins at one o'clock of the next.
    const DAY: &str = "2024-06-08";

    fn day() -> Day {
        DAY.parse().unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        format!("2024-06-{text}:00Z").parse().unwrap()
    }

    fn rules(now: DateTime<Utc>) -> Rules {
        Rules {
            now,
            horizon: Horizon {
                lag: Duration::from_secs(1_800),
                settle_after: Some(TimeDelta::hours(24)),
                backfill_days: None,
            },
            from: None,
            to: None,
            observations: false,
        }
    }

    fn project(runs: Vec<RunRow>) -> Project {
        Project {
            id: "p".to_owned(),
            runs,
            days_with_data: BTreeSet::new(),
        }
    }

    fn planned(rules: &Rules, runs: &[RunRow]) -> Vec<String> {
        let jobs = plan(rules, &[project(runs.to_vec())], &Arrived::default(), Vec::new());
        jobs.into_iter().map(|planned| planned.job.key.run).collect()
    }

    #[test]
    fn a_day_is_settled_once_when_its_time_has_come() {
        let daily = || run(day(), DAILY, State::Completed);
        let began = |text: &str, run: RunRow| RunRow {
            started_at: Some(at(text)),
            ..run
        };
        for (what, now, runs, wanted) in [
            ("too early", "09T23:59", vec![daily()], false),
            ("now", "10T00:00", vec![daily()], true),
            ("a week late", "16T23:59", vec![daily()], true),
            ("too late", "17T00:00", vec![daily()], false),
            ("not exported", "10T00:00", vec![run(day(), DAILY, State::Dead)], false),
            (
                "exported by a replay",
                "10T00:00",
                vec![run(day(), "replay-1", State::Completed)],
                true,
            ),
            ("exported late", "10T06:00", vec![began("10T00:00", daily())], false),
            (
                "replayed late",
                "10T06:00",
                vec![daily(), began("10T00:01", run(day(), "replay-1", State::Completed))],
                false,
            ),
            (
                "a late run reads only late rows",
                "10T06:00",
                vec![
                    daily(),
                    RunRow {
                        full: false,
                        created_after: Some(at("09T00:55")),
                        ..began("10T00:01", run(day(), "late-1", State::Completed))
                    },
                ],
                true,
            ),
        ] {
            let wanted = if wanted { vec![SETTLED.to_owned()] } else { Vec::new() };
            assert_eq!(planned(&rules(at(now)), &runs), wanted, "{what}");
        }
        for state in State::ALL {
            // Skipped, it comes back as all do.
            let runs = [daily(), run(day(), SETTLED, state)];
            let again = planned(&rules(at("10T06:00")), &runs);
            assert_eq!(!again.is_empty(), state == State::Skipped, "{state}");
        }
        let mut off = rules(at("10T06:00"));
        off.horizon.settle_after = None;
        assert!(planned(&off, &[daily()]).is_empty());
    }

    #[test]
    fn it_reads_what_the_day_was_exported_with() {
        let mut rules = rules(at("10T06:00"));
        rules.observations = true;
        let mut daily = run(day(), DAILY, State::Completed);
        for observations in [false, true] {
            daily.events = Job::daily("p", day(), observations)
                .scope
                .events
                .map(|events| events.into_iter().collect());
            let jobs = plan(&rules, &[project(vec![daily.clone()])], &Arrived::default(), Vec::new());
            let scope = Scope {
                changed: true,
                ..Scope::whole(observations)
            };
            assert_eq!((jobs[0].job.scope.clone(), jobs[0].reason), (scope, Reason::Settled));
        }
    }

    #[test]
    fn late_rows_are_left_to_it() {
        let arrived = Arrived {
            newest: Newest::from([(("p".to_owned(), day()), at("09T14:00"))]),
            ..Arrived::default()
        };
        let daily = || run(day(), DAILY, State::Completed);
        let with = |state| vec![daily(), run(day(), SETTLED, state)];
        for (now, runs, left) in [
            ("09T15:00", vec![daily()], true),
            ("10T01:00", vec![daily()], true),
            ("18T01:00", vec![daily()], false),
            ("10T03:00", with(State::Queued), true),
            ("10T03:00", with(State::Running), true),
            ("10T03:00", with(State::Waiting), true),
            ("10T03:00", with(State::Skipped), true),
            ("10T03:00", with(State::Dead), false),
            ("10T03:00", with(State::Discarded), false),
        ] {
            let projects = [project(runs)];
            let jobs = plan(&rules(at(now)), &projects, &arrived, Vec::new());
            let late = jobs.iter().any(|planned| planned.reason == Reason::Late);
            assert_eq!(late, !left, "{now}");
            let swept = |last| swept_until(&rules(at(now)), &projects[0], &arrived, at(now), last);
            assert_eq!(swept(None), if left { at("09T01:00") } else { at(now) }, "{now}");
            let last = at("09T13:00");
            assert_eq!(swept(Some(last)), if left { last } else { at(now) }, "{now}");
        }
    }

    /// What becomes of a run between two looks.
    #[derive(Clone, Copy, Debug)]
    enum End {
        Completed,
        Dead,
        Skipped,
        Discarded,
        NotYet,
    }

    /// The day's runs, its late rows, and until when they were looked for.
    struct Ledger {
        runs: Vec<RunRow>,
        swept: Option<DateTime<Utc>>,
        rows: Vec<DateTime<Utc>>,
    }

    impl Ledger {
        /// An enqueue, and what becomes of the runs until the next one.
        fn look(&mut self, now: DateTime<Utc>, end: End) {
            let rules = rules(now);
            let from = sweep_from(&self.runs, self.swept, false);
            let seen = self
                .rows
                .iter()
                .filter(|row| from.is_some_and(|from| **row >= from) && **row < now);
            let newest = seen.max().map(|newest| (("p".to_owned(), day()), *newest));
            let arrived = Arrived {
                newest: newest.into_iter().collect(),
                ..Arrived::default()
            };
            let projects = [project(self.runs.clone())];
            let swept = swept_until(&rules, &projects[0], &arrived, now, self.swept);
            for planned in plan(&rules, &projects, &arrived, Vec::new()) {
                let key = planned.key();
                self.runs.retain(|run| run.key() != key);
                self.runs.push(RunRow {
                    full: planned.job.scope.is_full(),
                    created_after: planned.job.scope.created_after,
                    ..run(key.day, &key.run, State::Queued)
                });
            }
            self.swept = Some(swept);
            for run in &mut self.runs {
                if matches!(run.state, State::Completed | State::Discarded)
                    || run.run == SETTLED && run.state == State::Dead
                {
                    continue;
                }
                run.state = match end {
                    End::Completed => State::Completed,
                    End::Dead => State::Dead,
                    End::Skipped => State::Skipped,
                    // To discard a late run is to give its rows up.
                    End::Discarded if run.run == SETTLED => State::Discarded,
                    End::Discarded | End::NotYet => State::Queued,
                };
                let done = run.state == State::Completed;
                run.started_at = done.then_some(now + TimeDelta::minutes(2));
                run.completed_at = done.then_some(now + TimeDelta::minutes(3));
            }
        }

        fn has_read(&self, row: DateTime<Utc>) -> bool {
            let margin = TimeDelta::from_std(MARGIN).unwrap();
            let reads = |run: &RunRow| run.created_after.is_none_or(|after| after <= row);
            let mut done = self
                .runs
                .iter()
                .filter(|run| run.state == State::Completed && reads(run));
            done.any(|run| run.started_at.unwrap() - margin >= row)
        }
    }

    /// Else the nightly enqueue of a project with a late row a day would read further back each time.
    #[test]
    fn a_late_row_each_day_does_not_hold_up_the_sweep() {
        let start = at("09T01:00");
        let mut runs = Vec::new();
        let mut swept = None;
        for number in 0..40 {
            let now = start + TimeDelta::days(number);
            let from = sweep_from(&runs, swept, false);
            assert!(
                from.is_none_or(|from| now - from < TimeDelta::days(3)),
                "{number}: {from:?}"
            );
            // At noon a row arrived for the day before.
            let day = Day::of(now - TimeDelta::days(2));
            let arrived = Arrived {
                newest: [(("p".to_owned(), day), now - TimeDelta::hours(13))].into(),
                ..Arrived::default()
            };
            let today = Project {
                days_with_data: [Day::of(now).previous()].into(),
                ..project(runs.clone())
            };
            let projects = [today];
            swept = Some(swept_until(&rules(now), &projects[0], &arrived, now, swept));
            for planned in plan(&rules(now), &projects, &arrived, Vec::new()) {
                let key = planned.key();
                assert_ne!(planned.reason, Reason::Late, "{key}");
                runs.push(RunRow {
                    started_at: Some(now + TimeDelta::minutes(2)),
                    completed_at: Some(now + TimeDelta::minutes(3)),
                    ..run(key.day, &key.run, State::Completed)
                });
            }
        }
    }

    proptest! {
        /// Whatever becomes of the runs: in the end each late row was read by one of them.
        #[test]
        fn no_late_row_is_forgotten(
            rows in proptest::collection::vec(0_i64..5 * 1_440, 1..8),
            looks in proptest::collection::vec(
                (30_i64..5 * 1_440, prop::sample::select(vec![End::Completed, End::Dead, End::Skipped, End::Discarded, End::NotYet])),
                0..8,
            ),
        ) {
            let start = at("09T01:00");
            let mut looks = looks;
            looks.sort_unstable_by_key(|(minute, _)| *minute);
            let mut ledger = Ledger {
                runs: vec![run(day(), DAILY, State::Completed)],
                swept: None,
                rows: rows.iter().map(|minute| start + TimeDelta::minutes(*minute)).collect(),
            };
            for (minute, end) in looks {
                ledger.look(start + TimeDelta::minutes(minute), end);
            }
            for days in 5..10 {
                ledger.look(start + TimeDelta::days(days), End::Completed);
            }
            for row in &ledger.rows {
                prop_assert!(ledger.has_read(*row), "{row}: {:?}", ledger.runs);
            }
        }
    }
}
