//! How far one project is. PURE.

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::integration::StoredIntegration;
use shared::job::Day;
use shared::ledger::{Arrival, Pause, Summary, Verdict};

use super::today::Today;
use crate::missing::{self, Missing};
use crate::output::{age, cell, count};
use crate::plan::Rules;
use crate::standing::{Known, Standing};

/// One project. The names in its JSON are stable.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) project_id: String,
    pub(super) name: Option<String>,
    pub(super) enabled: bool,
    pub(super) paused: Option<Pause>,
    pub(super) standing: Standing,
    pub(super) completed: i64,
    pub(super) running: i64,
    pub(super) queued: i64,
    pub(super) waiting: i64,
    pub(super) dead: i64,
    pub(super) skipped: i64,
    pub(super) discarded: i64,
    pub(super) events_sent: i64,
    pub(super) rows_rejected: i64,
    pub(super) oldest_missing_day: Option<Day>,
    pub(super) days_behind: i64,
    /// How many days are missing
    pub(super) missing_days: usize,
    /// How many of these have no job yet
    pub(super) days_without_job: usize,
    /// How many of these no enqueue publishes until a person decides
    pub(super) days_held_back: usize,
    /// How many exported days PostHog does not hold whole, and the oldest
    pub(super) days_not_arrived: usize,
    pub(super) oldest_not_arrived_day: Option<Day>,
    /// How many days miss events that nobody is called for: the project is switched off or gone
    pub(super) days_set_aside: usize,
    /// How many days were verified; 0 where nobody verifies
    pub(super) days_verified: usize,
    /// Of how many days nothing is known: PostHog could not be asked, or not about them
    pub(super) days_unknown: usize,
    /// Its newest trace or observation
    pub(super) newest_row_at: Option<DateTime<Utc>>,
    /// `None`: it has no steps today
    pub(super) today: Option<Today>,
}

impl Line {
    pub(super) fn new(
        rules: &Rules,
        missing: &Missing,
        id: &str,
        stored: Option<&StoredIntegration>,
        summary: &Summary,
    ) -> Self {
        let oldest_missing_day = missing.days.first().copied();
        Self {
            project_id: id.to_owned(),
            name: stored.map(|found| found.project_name.clone()),
            enabled: stored.is_some_and(|found| found.enabled),
            paused: None,
            standing: Standing::default(),
            completed: summary.completed,
            running: summary.running,
            queued: summary.queued,
            waiting: summary.waiting,
            dead: summary.dead,
            skipped: summary.skipped,
            discarded: summary.discarded,
            events_sent: summary.sent,
            rows_rejected: summary.rejected,
            days_behind: oldest_missing_day.map_or(0, |day| (rules.newest_over().0 - day.0).num_days() + 1),
            oldest_missing_day,
            missing_days: missing.days.len(),
            days_without_job: missing.without_job,
            days_held_back: 0,
            days_not_arrived: 0,
            oldest_not_arrived_day: None,
            days_set_aside: 0,
            days_verified: 0,
            days_unknown: 0,
            newest_row_at: None,
            today: None,
        }
    }

    /// The same, with what is known of its days in PostHog.
    pub(super) fn arrived(mut self, arrivals: &[&Arrival]) -> Self {
        let of = |verdict| arrivals.iter().filter(move |arrival| arrival.verdict == verdict);
        let missing = || of(Verdict::Missing).filter(|arrival| !arrival.set_aside);
        self.days_not_arrived = missing().count();
        self.oldest_not_arrived_day = missing().map(|arrival| arrival.day).min();
        self.days_set_aside = of(Verdict::Missing).count() - self.days_not_arrived;
        self.days_unknown = of(Verdict::Unknown).count();
        self.days_verified = arrivals.len() - self.days_unknown;
        self
    }

    /// Whether what was exported has arrived.
    fn arrival(&self) -> String {
        let days = [
            (self.days_not_arrived, "MISSING"),
            (self.days_set_aside, "set aside"),
            (self.days_unknown, "UNKNOWN"),
        ];
        let said: Vec<String> = days
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(number, "day")))
            .collect();
        match said.as_slice() {
            [] if self.days_verified == 0 => "-".to_owned(),
            [] => "ok".to_owned(),
            said => said.join(", "),
        }
    }

    /// The same, once all else is known.
    pub(super) fn judged(mut self) -> Self {
        self.standing = Standing::of(Known {
            dead: self.dead > 0,
            enabled: self.enabled,
            paused_by_fault: self.paused.as_ref().map(|pause| pause.error_code.is_some()),
            held_back: self.days_held_back > 0,
            not_arrived: self.days_not_arrived > 0,
            missing: self.missing_days > 0,
        });
        self
    }

    /// How many days are missing, and the oldest; and until when today is exported, where it has steps.
    fn lag(&self) -> String {
        let days = self.days_lag();
        match &self.today {
            Some(today) => format!("{days}; {}", today.words()),
            None => days,
        }
    }

    fn days_lag(&self) -> String {
        missing::words(self.missing_days, self.oldest_missing_day).unwrap_or_else(|| "up to date".to_owned())
    }

    pub(super) fn row(&self, now: DateTime<Utc>) -> [String; 13] {
        let pause = self.paused.as_ref();
        let behind = match pause {
            _ if !self.enabled => "disabled".to_owned(),
            Some(pause) => {
                let cause = pause.error_code.as_deref().unwrap_or("by a person");
                format!("PAUSED ({cause}), {}", self.lag())
            }
            None if self.days_held_back > 0 => {
                format!("HELD BACK ({}), {}", count(self.days_held_back, "day"), self.lag())
            }
            None => self.lag(),
        };
        [
            self.project_id.clone(),
            cell(self.name.as_ref()),
            self.completed.to_string(),
            self.running.to_string(),
            self.queued.to_string(),
            self.waiting.to_string(),
            self.dead.to_string(),
            self.skipped.to_string(),
            self.events_sent.to_string(),
            self.rows_rejected.to_string(),
            self.arrival(),
            cell(self.newest_row_at.map(|newest| age(now, newest))),
            behind,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Horizon;
    use shared::ledger::RunRow;

    fn line(days: &[&str], change: impl FnOnce(&mut Line)) -> Line {
        let rules = Rules {
            now: "2026-06-10T12:00:00Z".parse().unwrap(),
            horizon: Horizon {
                lag: std::time::Duration::ZERO,
                ..Horizon::default()
            },
            from: None,
            to: None,
            observations: false,
        };
        let with_data = days.iter().map(|day| day.parse().unwrap()).collect();
        let missing = Missing::of::<RunRow>([], &with_data, rules.newest_over());
        assert_eq!(missing.without_job, days.len());
        let mut line = Line::new(&rules, &missing, "p", None, &Summary::default());
        line.enabled = true;
        change(&mut line);
        line.judged()
    }

    #[test]
    fn the_lag_is_the_days_that_are_missing_and_not_the_calendar_between() {
        let lag = |days: &[&str]| {
            let line = line(days, |_| ());
            (line.lag(), line.days_behind)
        };
        assert_eq!(lag(&["2023-11-18"]), ("1 day missing: 2023-11-18".to_owned(), 935));
        let two = ("2 days missing, oldest 2026-06-01".to_owned(), 9);
        assert_eq!(lag(&["2026-06-08", "2026-06-01"]), two);
        assert_eq!(lag(&[]), ("up to date".to_owned(), 0));
    }

    #[test]
    fn what_needs_attention() {
        let pause = |code: Option<&str>| {
            Some(Pause {
                project_id: "p".to_owned(),
                settings: None,
                error_code: code.map(str::to_owned),
                error: "why".to_owned(),
                paused_by: "x".to_owned(),
                paused_at: DateTime::UNIX_EPOCH,
            })
        };
        let standing = |days: &[&str], change: &dyn Fn(&mut Line)| line(days, change).standing;
        let day = &["2026-06-08"];
        assert_eq!(standing(&[], &|_| ()), Standing::UpToDate);
        assert_eq!(standing(day, &|_| ()), Standing::Behind);
        assert_eq!(standing(day, &|line| line.dead = 1), Standing::NeedsSomebody);
        assert_eq!(standing(day, &|line| line.paused = pause(None)), Standing::Paused);
        let refused = |line: &mut Line| line.paused = pause(Some("unauthorized"));
        assert_eq!(standing(day, &refused), Standing::NeedsSomebody);
        let held_back = |line: &mut Line| line.days_held_back = 31;
        assert_eq!(standing(day, &held_back), Standing::NeedsSomebody);
        let lost = |line: &mut Line| (line.days_not_arrived, line.days_verified) = (2, 9);
        assert_eq!(standing(&[], &lost), Standing::NeedsSomebody);
        assert_eq!(line(day, lost).arrival(), "2 days MISSING");
        assert_eq!(line(day, |line| line.days_verified = 7).arrival(), "ok");
        assert_eq!(line(day, |_| ()).arrival(), "-");
        let unknown = |line: &mut Line| (line.days_unknown, line.days_verified) = (1, 9);
        assert_eq!(line(day, unknown).arrival(), "1 day UNKNOWN");
        assert_eq!(standing(&[], &unknown), Standing::UpToDate);
        let both = |line: &mut Line| (line.days_not_arrived, line.days_unknown) = (2, 3);
        assert_eq!(line(day, both).arrival(), "2 days MISSING, 3 days UNKNOWN");
        assert!(line(day, held_back).row(DateTime::UNIX_EPOCH)[12].starts_with("HELD BACK (31 days), 1 day missing"));
        assert_eq!(standing(day, &|line| line.enabled = false), Standing::Disabled);
        let given_up = |line: &mut Line| (line.enabled, line.dead) = (false, 1);
        assert_eq!(standing(&[], &given_up), Standing::NeedsSomebody);
    }
}
