//! Moments as pages show them: UTC, with the age beside. PURE.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::output;

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// For the attribute `datetime`
    pub(super) machine: String,
    /// `2026-06-01 12:00:00`
    pub(super) text: String,
    /// `3 min ago`, `in 3 min`
    pub(super) age: String,
}

impl Moment {
    pub(super) fn new(now: DateTime<Utc>, moment: DateTime<Utc>) -> Self {
        let age = if moment > now + TimeDelta::seconds(1) {
            format!("in {}", output::age(moment, now))
        } else {
            format!("{} ago", output::age(now, moment))
        };
        Self {
            machine: moment.to_rfc3339_opts(SecondsFormat::Secs, true),
            text: output::moment(moment),
            age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_says_whether_it_is_past() {
        let now = "2026-06-01T12:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let age = |minutes| Moment::new(now, now - TimeDelta::minutes(minutes)).age;
        assert_eq!(age(5), "5 min ago");
        assert_eq!(age(-5), "in 5 min");
        assert_eq!(Moment::new(now, now).machine, "2026-06-01T12:00:00Z");
    }
}
