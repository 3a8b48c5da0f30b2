//! Which steps of today are to be published. PURE.

use chrono::{DateTime, Utc};
use shared::job::{Day, Job, RunKey, STEP_PREFIX, Scope, Span};
use shared::ledger::{RunRow, State};

use super::{Planned, Reason, lane};
use crate::steps::Steps;

/// The steps to publish now. `runs` are today's runs of these projects.
///
/// What a step was asked for that was discarded or skipped counts as not asked for, so the next step
/// exports it, too.
pub fn plan_steps(
    steps: &Steps,
    now: DateTime<Utc>,
    observations: bool,
    projects: &[String],
    runs: &[RunRow],
) -> Vec<Planned> {
    let today = Day::of(now);
    let mut planned = Vec::new();
    for project in projects {
        let own: Vec<&RunRow> = runs.iter().filter(|run| run.project_id == *project).collect();
        let stands = |run: &&&RunRow| run.is_step() && !matches!(run.state, State::Discarded | State::Skipped);
        let asked: Vec<Span> = own.iter().filter(stands).filter_map(|run| run.span()).collect();
        for span in steps.missing(now, &asked) {
            let scope = Scope {
                span: Some(span),
                ..Scope::whole(observations)
            };
            planned.push(Planned {
                job: Job {
                    key: RunKey::new(project, today, free_name(span, &own)),
                    scope,
                },
                lane: lane(today, now),
                reason: Reason::Step,
            });
        }
    }
    planned
}

/// The name of a step's run. A step that was discarded keeps its name, so the one that follows it
/// gets a number.
fn free_name(span: Span, runs: &[&RunRow]) -> String {
    let name = format!("{STEP_PREFIX}{}", span.from.format("%H%M"));
    let taken = |name: &String| runs.iter().any(|run| run.run == *name);
    let others = (2_u32..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(others)
        .find(|name| !taken(name))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60;

    fn steps(every: u64, lag: u64) -> Steps {
        let minutes = |minutes| Duration::from_secs(minutes * MINUTE);
        Steps::new(minutes(every), minutes(lag)).unwrap().unwrap()
    }

    fn moment(time: &str) -> DateTime<Utc> {
        format!("2024-06-01T{time}:00Z").parse().unwrap()
    }

    fn span(from: &str, until: &str) -> Span {
        Span {
            from: moment(from),
            until: moment(until),
        }
    }

    fn step(run: &str, span: Span, state: State) -> RunRow {
        RunRow {
            full: false,
            span_from: Some(span.from),
            span_until: Some(span.until),
            ..crate::plan::tests::run(Day::of(span.from), run, state)
        }
    }

    #[test]
    fn a_step_exports_what_a_discarded_one_did_not() {
        let hourly = steps(60, 30);
        let planned = |runs: &[RunRow], now: &str| {
            let projects = ["p".to_owned(), "q".to_owned()];
            let planned = plan_steps(&hourly, moment(now), false, &projects, runs);
            let of = |planned: Planned| (planned.job.key.to_string(), planned.job.scope.span.unwrap());
            planned.into_iter().map(of).collect::<Vec<_>>()
        };
        let other = |until: &str| ("q/2024-06-01/step-0000".to_owned(), span("00:00", until));
        let of = |name: &str, span: Span| (format!("p/2024-06-01/{name}"), span);
        assert_eq!(
            planned(&[], "01:30"),
            [of("step-0000", span("00:00", "01:00")), other("01:00")]
        );
        for (state, name, from) in [
            (State::Completed, "step-0100", "01:00"),
            (State::Queued, "step-0100", "01:00"),
            (State::Waiting, "step-0100", "01:00"),
            (State::Running, "step-0100", "01:00"),
            (State::Discarded, "step-0000-2", "00:00"),
            (State::Skipped, "step-0000-2", "00:00"),
        ] {
            let runs = [step("step-0000", span("00:00", "01:00"), state)];
            let expected = [of(name, span(from, "02:00")), other("02:00")];
            assert_eq!(planned(&runs, "02:30"), expected, "{state}");
        }
        let twice = [
            step("step-0000", span("00:00", "01:00"), State::Discarded),
            step("step-0000-2", span("00:00", "02:00"), State::Discarded),
        ];
        assert_eq!(planned(&twice, "03:30")[0], of("step-0000-3", span("00:00", "03:00")));
    }

    proptest! {
        /// Whenever the producer looks, and whatever becomes of the steps: afterwards everything up
        /// to the border was asked for once, of what still stands, and nothing behind it.
        #[test]
        fn after_a_plan_nothing_is_missing(
            every in prop::sample::select(vec![15_u64, 20, 30, 60, 90, 360, 720]), lag in 10_u64..300,
            looks in proptest::collection::vec((0_i64..1_440, prop::sample::select(State::ALL.to_vec())), 1..12),
        ) {
            let steps = steps(every, lag);
            let mut looks = looks;
            looks.sort_unstable_by_key(|(minute, _)| *minute);
            let projects = ["p".to_owned()];
            let mut runs: Vec<RunRow> = Vec::new();
            for (minute, outcome) in looks {
                let now = moment("00:00") + TimeDelta::minutes(minute);
                let mut planned = plan_steps(&steps, now, false, &projects, &runs);
                for planned in &mut planned {
                    prop_assert!(runs.iter().all(|run| run.run != planned.job.key.run), "each name once");
                    let span = planned.job.scope.span.unwrap();
                    prop_assert!(span.from < span.until && Some(span.until) <= steps.border(now));
                    runs.push(step(&planned.job.key.run, span, State::Queued));
                }
                prop_assert!(plan_steps(&steps, now, false, &projects, &runs).is_empty());
                let mut asked: Vec<Span> = runs
                    .iter()
                    .filter(|run| !matches!(run.state, State::Discarded | State::Skipped))
                    .filter_map(RunRow::span)
                    .collect();
                asked.sort_unstable();
                prop_assert!(asked.windows(2).all(|pair| pair[0].until == pair[1].from), "no gap, nothing twice");
                prop_assert!(asked.first().is_none_or(|span| span.from == moment("00:00")));
                prop_assert!(asked.last().map(|span| span.until) >= steps.border(now));
                if let Some(last) = runs.last_mut() {
                    last.state = outcome;
                }
            }
        }
    }
}
