//! The steps of a day: runs that export a part of it while it is going on. PURE.
//!
//! A step never satisfies its day. Whatever the steps missed, the `daily` run sends, because it
//! leaves out only what they are known to have sent. So a step that is lost, late or dead costs
//! nothing but freshness.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shared::job::{Day, Job, RunKey, STEP_PREFIX, Scope, Span};
use shared::ledger::{RunRow, State};
use shared::settings::format_duration;

use super::{Planned, Reason, lane};

/// The length of a day: with it there are no steps.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest step.
const SHORTEST: Duration = Duration::from_secs(15 * 60);
/// The shortest time between a step's end and its export.
const SHORTEST_LAG: Duration = Duration::from_secs(10 * 60);

/// When steps begin and end: `EXPORT_EVERY`, `STEP_LAG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    every: TimeDelta,
    lag: TimeDelta,
}

impl Steps {
    /// `None`: the day is exported once, when it is over.
    ///
    /// # Errors
    /// What is wrong with the length of a step or with the lag.
    pub fn new(every: Duration, lag: Duration) -> Result<Option<Self>, String> {
        if every == DAY {
            return Ok(None);
        }
        let divides = every >= SHORTEST && every < DAY && DAY.as_millis().is_multiple_of(every.as_millis());
        if !divides || !every.as_secs().is_multiple_of(60) {
            let wrong = format!("EXPORT_EVERY: `{}`", format_duration(every));
            return Err(format!(
                "{wrong} must be 1d, or 15m to 12h and divide a day, for example 15m, 1h or 6h"
            ));
        }
        if lag < SHORTEST_LAG {
            let wrong = format!("STEP_LAG: `{}`", format_duration(lag));
            return Err(format!(
                "{wrong} must be 10m at least: rows of a step still arrive after its end"
            ));
        }
        if lag >= DAY {
            return Err(format!(
                "STEP_LAG: `{}` must be shorter than a day",
                format_duration(lag)
            ));
        }
        let delta = |length| TimeDelta::from_std(length).unwrap_or_default();
        Ok(Some(Self {
            every: delta(every),
            lag: delta(lag),
        }))
    }

    /// How long a step is.
    pub fn every(&self) -> Duration {
        self.every.to_std().unwrap_or(DAY)
    }

    /// Until when today is to be exported by now: the last border that is `STEP_LAG` ago. `None`
    /// when today has none yet. The border at midnight is none: the `daily` run follows it.
    pub fn border(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let start = Span::of(Day::of(now)).from;
        let passed = now - start - self.lag;
        let steps = passed.num_seconds().div_euclid(self.every.num_seconds());
        let steps = i32::try_from(steps).ok().filter(|steps| *steps > 0)?;
        Some(start + self.every * steps)
    }

    /// When the next border is due.
    pub fn next(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let today = Span::of(Day::of(now));
        let border = self.border(now).unwrap_or(today.from) + self.every;
        // The one at midnight is none; the first one of tomorrow follows.
        let border = if border < today.until {
            border
        } else {
            border + self.every
        };
        border + self.lag
    }

    /// What no step of today has been asked for yet: one step for each gap. After a time without a
    /// producer that is one long step, not many short ones. `asked` are the spans of today's steps,
    /// in whatever state they are.
    pub fn missing(&self, now: DateTime<Utc>, asked: &[Span]) -> Vec<Span> {
        let Some(border) = self.border(now) else {
            return Vec::new();
        };
        let mut asked = asked.to_vec();
        asked.sort_unstable();
        let mut from = Span::of(Day::of(now)).from;
        let mut gaps = Vec::new();
        for span in asked {
            if from < span.from.min(border) {
                let until = span.from.min(border);
                gaps.push(Span { from, until });
            }
            from = from.max(span.until);
        }
        if from < border {
            gaps.push(Span { from, until: border });
        }
        gaps
    }
}

/// The steps to publish now. `runs` are today's runs of these projects.
///
/// What a step was asked for that was discarded or skipped counts as not asked for, so the next step
/// exports it, too.
pub fn plan(
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
        let stands = |run: &&&RunRow| !matches!(run.state, State::Discarded | State::Skipped);
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

    #[test]
    fn a_length_must_divide_the_day() {
        let new = |every: u64, lag: u64| Steps::new(Duration::from_secs(every), Duration::from_secs(lag));
        assert_eq!(new(24 * 3600, 0), Ok(None));
        for every in [900, 1_200, 1_800, 3_600, 5_400, 7_200, 6 * 3_600, 12 * 3_600] {
            assert!(new(every, 1_800).unwrap().is_some(), "{every}");
        }
        for every in [0, 60, 899, 901, 1_000, 5 * 3_600, 25 * 3_600, 48 * 3_600] {
            assert!(new(every, 1_800).is_err(), "{every}");
        }
        assert!(new(3_600, 599).is_err());
    }

    #[test]
    fn a_step_is_due_once_its_border_is_the_lag_ago() {
        let hourly = steps(60, 30);
        for (now, border) in [
            ("00:00", None),
            ("01:29", None),
            ("01:30", Some("01:00")),
            ("02:29", Some("01:00")),
            ("23:59", Some("23:00")),
        ] {
            let border = border.map(moment);
            assert_eq!(hourly.border(moment(now)), border, "{now}");
        }
        assert_eq!(hourly.next(moment("00:00")), moment("01:30"));
        assert_eq!(hourly.next(moment("09:31")), moment("10:30"));
        let tomorrow = moment("01:30") + TimeDelta::days(1);
        assert_eq!(hourly.next(moment("23:31")), tomorrow, "the daily run follows midnight");
    }

    #[test]
    fn what_was_not_asked_for_is_one_step_a_gap() {
        let hourly = steps(60, 30);
        assert!(hourly.missing(moment("01:00"), &[]).is_empty());
        assert_eq!(hourly.missing(moment("15:45"), &[]), [span("00:00", "15:00")]);
        let asked = [span("03:00", "04:00"), span("00:00", "01:00")];
        assert_eq!(
            hourly.missing(moment("06:30"), &asked),
            [span("01:00", "03:00"), span("04:00", "06:00")]
        );
        assert!(hourly.missing(moment("06:30"), &[span("00:00", "12:00")]).is_empty());
    }

    fn step(run: &str, span: Span, state: State) -> RunRow {
        RunRow {
            full: false,
            span_from: Some(span.from),
            span_until: Some(span.until),
            ..super::super::tests::run(Day::of(span.from), run, state)
        }
    }

    #[test]
    fn a_step_exports_what_a_discarded_one_did_not() {
        let hourly = steps(60, 30);
        let planned = |runs: &[RunRow], now: &str| {
            let projects = ["p".to_owned(), "q".to_owned()];
            let planned = plan(&hourly, moment(now), false, &projects, runs);
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
                let mut planned = plan(&steps, now, false, &projects, &runs);
                for planned in &mut planned {
                    prop_assert!(runs.iter().all(|run| run.run != planned.job.key.run), "each name once");
                    let span = planned.job.scope.span.unwrap();
                    prop_assert!(span.from < span.until && Some(span.until) <= steps.border(now));
                    runs.push(step(&planned.job.key.run, span, State::Queued));
                }
                prop_assert!(plan(&steps, now, false, &projects, &runs).is_empty());
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
