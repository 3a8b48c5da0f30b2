//! When the steps of a day begin and end: runs that export a part of it while it is going on. PURE.
//!
//! A step never satisfies its day. Whatever the steps missed, the `daily` run sends, because it
//! leaves out only what they are known to have sent. So a step that is lost, late or dead costs
//! nothing but freshness.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shared::job::{Day, Span};
use shared::settings::format_duration;

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

    /// How long after its end a step is due.
    pub fn lag(&self) -> Duration {
        self.lag.to_std().unwrap_or(DAY)
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
        let due = self.border(now).unwrap_or(today.from) + self.every + self.lag;
        // What is due tomorrow is exported by the `daily` run; the first border of tomorrow follows.
        if due < today.until {
            due
        } else {
            today.until + self.every + self.lag
        }
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

#[cfg(test)]
mod tests {
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
        // Nor is there a step that would be due tomorrow.
        let late = steps(60, 90);
        assert_eq!(late.next(moment("22:31")), moment("23:30"));
        assert_eq!(late.next(moment("23:30")), moment("02:30") + TimeDelta::days(1));
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
}
