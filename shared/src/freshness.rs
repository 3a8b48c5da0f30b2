//! Until when today is exported, and since when a step is late. PURE.

use chrono::{DateTime, TimeDelta, Utc};

use crate::job::{Day, Span};

/// The last time that the steps of all projects were asked for, with all messages confirmed, and the
/// settings of then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSteps {
    /// Up to when borders were looked at
    pub asked: DateTime<Utc>,
    /// `EXPORT_EVERY`
    pub every: TimeDelta,
    /// `STEP_LAG`
    pub lag: TimeDelta,
}

impl LastSteps {
    /// When the step that ends at the first border after `moment` is due. `None`: that border is
    /// midnight, or its step would be due after midnight. The `daily` run follows it then.
    fn due_behind(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let day = Span::of(Day::of(moment));
        let passed = (moment - day.from).num_seconds();
        let steps = passed.checked_div_euclid(self.every.num_seconds())?;
        let border = day.from + self.every * i32::try_from(steps + 1).ok()?;
        Some(border + self.lag).filter(|due| border < day.until && *due < day.until)
    }

    /// When steps are to be asked for next, after they were last.
    fn next_due(&self) -> Option<DateTime<Utc>> {
        let today = Span::of(Day::of(self.asked));
        let asked_until = (self.asked - self.lag).max(today.from);
        self.due_behind(asked_until).or_else(|| self.due_behind(today.until))
    }

    /// The last border that steps were asked for: the last whose lag had passed. Midnight: none of
    /// that day had.
    fn border(&self) -> Option<DateTime<Utc>> {
        let today = Span::of(Day::of(self.asked));
        let passed = (self.asked - self.lag - today.from).num_seconds().max(0);
        let steps = passed.checked_div_euclid(self.every.num_seconds())?;
        Some(today.from + self.every * i32::try_from(steps).ok()?)
    }
}

/// The steps of one project on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Langfuse's `projects.id`
    pub project_id: String,
    /// Whether the project is paused
    pub paused: bool,
    /// The end of the last step that was asked for
    pub asked_until: DateTime<Utc>,
    /// What completed steps have exported
    pub completed: Vec<Span>,
}

impl Steps {
    /// Until when the day is exported without a gap: its beginning when no step of it is completed.
    pub fn covered_until(&self, day: Day) -> DateTime<Utc> {
        let mut completed = self.completed.clone();
        completed.sort_unstable();
        let start = Span::of(day).from;
        completed.iter().fold(start, |covered, span| {
            if span.from <= covered {
                covered.max(span.until)
            } else {
                covered
            }
        })
    }
}

/// How fresh the data of today are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Until when today is exported in every project that gets steps; `None`: no project got one
    pub covered_until: Option<DateTime<Utc>>,
    /// Since when the step is due that is missing for the longest time; `None`: no step is late
    pub late_since: Option<DateTime<Utc>>,
}

impl Freshness {
    /// `steps` are those of the day that `now` lies in. A project counts if it was asked for a step
    /// at the last border that steps were asked for: the others were paused, disabled or removed
    /// before.
    pub fn of(now: DateTime<Utc>, last: Option<LastSteps>, steps: &[Steps]) -> Self {
        let today = Day::of(now);
        let of_today = last.filter(|last| Day::of(last.asked) == today);
        let asked = || steps.iter().map(|steps| steps.asked_until).max();
        let border = of_today.and_then(|last| last.border()).or_else(asked);
        let counts = |steps: &&Steps| !steps.paused && border.is_some_and(|border| steps.asked_until >= border);
        let covered: Vec<DateTime<Utc>> = steps
            .iter()
            .filter(counts)
            .map(|steps| steps.covered_until(today))
            .collect();
        let due = |last: LastSteps| {
            let exported = covered.iter().filter_map(|until| last.due_behind(*until));
            exported.chain(last.next_due()).min()
        };
        Self {
            covered_until: covered.iter().copied().min(),
            late_since: last.and_then(due).filter(|due| *due <= now),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 1_440;

    /// So many minutes after the beginning of 2024-06-01.
    fn at(minutes: i64) -> DateTime<Utc> {
        "2024-06-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minutes)
    }

    fn time(text: &str) -> DateTime<Utc> {
        let (hours, minutes) = text.split_once(':').unwrap();
        at(hours.parse::<i64>().unwrap() * 60 + minutes.parse::<i64>().unwrap())
    }

    fn span(from: i64, until: i64) -> Span {
        Span {
            from: at(from),
            until: at(until),
        }
    }

    fn steps(asked_until: &str, completed: &[(&str, &str)]) -> Steps {
        Steps {
            project_id: "p".to_owned(),
            paused: false,
            asked_until: time(asked_until),
            completed: completed
                .iter()
                .map(|(from, until)| Span {
                    from: time(from),
                    until: time(until),
                })
                .collect(),
        }
    }

    fn paused(steps: Steps) -> Steps {
        Steps { paused: true, ..steps }
    }

    fn last(asked: &str) -> LastSteps {
        LastSteps {
            asked: time(asked),
            every: TimeDelta::hours(1),
            lag: TimeDelta::minutes(30),
        }
    }

    #[test]
    fn what_is_late_and_what_is_not() {
        let done = steps("09:00", &[("00:00", "03:00"), ("03:00", "09:00")]);
        let open = steps("09:00", &[("00:00", "08:00")]);
        let gap = steps("09:00", &[("00:00", "03:00"), ("04:00", "09:00")]);
        let none = steps("09:00", &[]);
        // `24:00` and later are times of the next day.
        for (what, now, asked, steps, covered, late) in [
            ("EXPORT_EVERY=1d", "09:40", None, vec![], None, None),
            (
                "switched off today",
                "19:40",
                None,
                vec![done.clone()],
                Some("09:00"),
                None,
            ),
            (
                "all is well",
                "10:29",
                Some("09:31"),
                vec![done.clone()],
                Some("09:00"),
                None,
            ),
            (
                "the producer is away",
                "12:00",
                Some("09:31"),
                vec![done.clone()],
                Some("09:00"),
                Some("10:30"),
            ),
            (
                "a step is not done",
                "10:10",
                Some("09:31"),
                vec![done.clone(), open.clone()],
                Some("08:00"),
                Some("09:30"),
            ),
            (
                "its lag has not passed",
                "09:29",
                Some("08:31"),
                vec![open.clone()],
                Some("08:00"),
                None,
            ),
            (
                "a step in between is missing",
                "09:40",
                Some("09:31"),
                vec![gap],
                Some("03:00"),
                Some("04:30"),
            ),
            (
                "nothing is done",
                "09:40",
                Some("09:31"),
                vec![none.clone()],
                Some("00:00"),
                Some("01:30"),
            ),
            (
                "a paused project",
                "09:40",
                Some("09:31"),
                vec![done.clone(), paused(none)],
                Some("09:00"),
                None,
            ),
            (
                "left out at the last border",
                "10:40",
                Some("10:31"),
                vec![open, steps("10:00", &[("00:00", "10:00")])],
                Some("10:00"),
                None,
            ),
            ("midnight", "24:00", Some("23:30"), vec![], None, None),
            (
                "before the first border is due",
                "25:29",
                Some("23:30"),
                vec![],
                None,
                None,
            ),
            (
                "the first border was left out",
                "26:00",
                Some("23:30"),
                vec![],
                None,
                Some("25:30"),
            ),
            (
                "the only project was disabled",
                "12:40",
                Some("12:31"),
                vec![done.clone()],
                None,
                None,
            ),
            ("nobody has a project", "10:20", Some("09:31"), vec![], None, None),
            (
                "the producer is away since yesterday noon",
                "33:00",
                Some("12:31"),
                vec![],
                None,
                Some("13:30"),
            ),
            (
                "the border at midnight is none",
                "24:31",
                Some("23:30"),
                vec![],
                None,
                None,
            ),
        ] {
            let expected = Freshness {
                covered_until: covered.map(time),
                late_since: late.map(time),
            };
            assert_eq!(Freshness::of(time(now), asked.map(last), &steps), expected, "{what}");
        }
    }

    #[test]
    fn a_step_that_would_be_due_after_midnight_is_none() {
        let late = LastSteps {
            lag: TimeDelta::hours(3),
            ..last("21:01")
        };
        assert_eq!(late.next_due(), Some(time("22:00")));
        let last = LastSteps {
            asked: time("23:00"),
            ..late
        };
        assert_eq!(last.next_due(), Some(time("28:00")));
        let never = LastSteps {
            lag: TimeDelta::hours(24),
            ..late
        };
        assert_eq!(never.next_due(), None);
    }

    fn settings() -> impl Strategy<Value = (i64, i64)> {
        let every = prop::sample::select(vec![15_i64, 20, 30, 60, 90, 360, 720]);
        (every, 10_i64..300)
    }

    /// The last border whose lag has passed, as the producer plans it; 0: none.
    fn border(minute: i64, every: i64, lag: i64) -> i64 {
        (minute - lag).max(0) / every * every
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Minute by minute: the first one that no completed step has is where it ends.
        #[test]
        fn what_is_covered_has_no_gap(spans in prop::collection::vec((0..DAY, 1..300_i64), 0..12)) {
            let completed: Vec<(i64, i64)> = spans.iter().map(|(from, length)| (*from, (from + length).min(DAY))).collect();
            let first = (0..DAY).find(|minute| !completed.iter().any(|(from, until)| (from..until).contains(&minute)));
            let steps = Steps {
                project_id: String::new(), paused: false, asked_until: at(DAY),
                completed: completed.iter().map(|(from, until)| span(*from, *until)).collect(),
            };
            prop_assert_eq!(steps.covered_until(Day::of(at(0))), at(first.unwrap_or(DAY)));
        }

        /// While every border is asked for and exported when it is due, no step is ever late: over
        /// two days and the midnight between them.
        #[test]
        fn a_line_that_keeps_up_is_never_late((every, lag) in settings()) {
            let mut due = None;
            for minute in 0..2 * DAY {
                let (start, of_day) = (minute / DAY * DAY, minute % DAY);
                let asked = border(of_day, every, lag);
                if asked > border(of_day - 1, every, lag) {
                    due = Some(minute);
                }
                let last = due.map(|due| LastSteps { asked: at(due), every: TimeDelta::minutes(every), lag: TimeDelta::minutes(lag) });
                let steps = Steps {
                    project_id: String::new(), paused: false, asked_until: at(start + asked), completed: vec![span(start, start + asked)],
                };
                let steps = if asked > 0 { vec![steps] } else { Vec::new() };
                let found = Freshness::of(at(minute), last, &steps);
                prop_assert_eq!(found.late_since, None, "minute {}", minute);
                prop_assert_eq!(found.covered_until, (asked > 0).then(|| at(start + asked)));
            }
        }

        /// And when nothing is exported from some border on, the next one is late as soon as it is
        /// due, until midnight.
        #[test]
        fn a_line_that_stops_is_late((every, lag) in settings(), stopped in 0_i64..DAY, now in 0_i64..DAY) {
            let covered = border(stopped, every, lag);
            let asked = border(now, every, lag);
            prop_assume!(now >= stopped && asked > 0);
            let last = LastSteps { asked: at(now), every: TimeDelta::minutes(every), lag: TimeDelta::minutes(lag) };
            let completed = if covered > 0 { vec![span(0, covered)] } else { Vec::new() };
            let steps = [Steps { project_id: String::new(), paused: false, asked_until: at(asked), completed }];
            let late = (asked > covered).then(|| at(covered + every + lag));
            prop_assert_eq!(Freshness::of(at(now), Some(last), &steps).late_since, late);
        }
    }
}
