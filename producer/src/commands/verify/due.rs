//! Which days are looked at, and which of the others miss events.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use shared::job::Day;
use shared::ledger::{Arrival, Ledger, Wanted};

use super::Arguments;
use crate::config::Horizon;
use crate::error::CommandError;

/// How far back it looks by itself: at days of that time, and at what was exported in it.
const DAYS_BACK: u64 = 30;

/// A range of days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Days {
    from: Day,
    to: Day,
    /// Whether somebody said so
    is_asked: bool,
    now: DateTime<Utc>,
}

impl Days {
    /// The days that the arguments ask for, or the last 30.
    pub(super) async fn new(arguments: &Arguments, ledger: &Ledger) -> Result<Self, CommandError> {
        let now = ledger.now().await?;
        let yesterday = Day::of(now).previous();
        let (from, to) = arguments.days.bounds()?;
        let is_asked = from.or(to).is_some();
        let to = to.unwrap_or(yesterday);
        if to > yesterday {
            return Err(CommandError::refused(format!(
                "{to} is not over yet: only days that are over can be verified"
            )));
        }
        let back = yesterday
            .0
            .checked_sub_days(chrono::Days::new(DAYS_BACK))
            .map_or(Day::FIRST, Day);
        Ok(Self {
            from: from.unwrap_or(back.min(to)),
            to,
            is_asked,
            now,
        })
    }

    /// The last day of which nothing is still to be sent: what changed since its export is.
    fn settled(self, horizon: Horizon) -> Day {
        let over = self.now.checked_sub_signed(horizon.settle_after.unwrap_or_default());
        over.map_or(Day::FIRST, |over| Day::of(over).previous())
    }

    /// What was exported since then is due, however old its day.
    fn exported_since(self) -> DateTime<Utc> {
        let since = self.now.checked_sub_days(chrono::Days::new(DAYS_BACK));
        since.unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Between which days those that miss events are told of. Without dates all of them are.
    fn bounds(self) -> Option<(Day, Day)> {
        self.is_asked.then_some((self.from, self.to))
    }
}

/// The days to verify: those that were asked for, or those that are due.
pub(super) async fn due(
    arguments: &Arguments,
    horizon: Horizon,
    ledger: &Ledger,
    days: Days,
) -> Result<Vec<(String, Day)>, CommandError> {
    let wanted = Wanted {
        projects: &arguments.projects,
        from: days.from,
        to: days.to,
        exported_since: days.exported_since(),
        all: days.is_asked,
        missing: arguments.repair,
        settled: days.settled(horizon),
    };
    Ok(ledger.days_to_verify(&wanted).await?)
}

/// The days that miss events, as an earlier look found, and were not looked at now.
pub(super) async fn earlier(
    arguments: &Arguments,
    ledger: &Ledger,
    days: Days,
    looked_at: &[Arrival],
) -> Result<Vec<Arrival>, CommandError> {
    let looked_at: BTreeSet<(&str, Day)> = looked_at
        .iter()
        .map(|found| (found.project_id.as_str(), found.day))
        .collect();
    let mut arrivals = ledger.missing_arrivals(&arguments.projects, days.bounds()).await?;
    arrivals.retain(|found| !looked_at.contains(&(found.project_id.as_str(), found.day)));
    Ok(arrivals)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_day_has_settled_that_long_after_its_end() {
        let days = |now: &str| Days {
            from: Day::FIRST,
            to: Day::LAST,
            is_asked: false,
            now: now.parse().unwrap(),
        };
        let horizon = |hours: Option<i64>| Horizon {
            settle_after: hours.map(TimeDelta::hours),
            ..Horizon::default()
        };
        for (now, hours, last) in [
            ("2024-06-05T00:00:00Z", Some(24), "2024-06-03"),
            ("2024-06-04T23:59:59Z", Some(24), "2024-06-02"),
            ("2024-06-05T00:00:00Z", None, "2024-06-04"),
            ("2024-06-05T06:00:00Z", Some(30), "2024-06-03"),
        ] {
            let settled = days(now).settled(horizon(hours));
            assert_eq!(settled, last.parse().unwrap(), "{now}, {hours:?} h");
        }
    }
}
