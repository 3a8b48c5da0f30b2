//! A year of a project as a table: a row for each day of the week, a column for each week. PURE.

use chrono::{Datelike, Days, NaiveDate};
use shared::job::Day;

use crate::console::address::Prefix;
use crate::console::pages::words;
use crate::console::rows::project::Rows;
use crate::output::count;
use crate::standing::standings;

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The year.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Calendar {
    pub(super) year: i32,
    /// Each month that begins in a column of its own, and how many columns it has
    pub(super) months: Vec<(&'static str, usize)>,
    pub(super) weekdays: Vec<(&'static str, Vec<Option<Cell>>)>,
}

/// A day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    day: Day,
    pub(super) href: String,
    /// The name of its shape
    pub(super) class: &'static str,
    /// PostHog does not hold all of it
    pub(super) lost: bool,
    /// The date, and what became of it
    pub(super) words: String,
}

impl Calendar {
    pub(super) fn new(prefix: &Prefix, id: &str, rows: &Rows) -> Self {
        let Some(first) = NaiveDate::from_ymd_opt(rows.year, 1, 1) else {
            return Self::default();
        };
        let standings = standings(&rows.days);
        let page = prefix.project(id);
        let last = Day::of(rows.now);
        let cell = |day: Day| {
            let standing = standings.get(&day).copied();
            let (class, what) = standing.map_or(("n", "no run"), words::of_day);
            let mut said = format!("{day}: {what}");
            if let Some(counts) = rows.counts.get(&day).filter(|_| standing.is_some()) {
                said.push_str(&format!(", {}", count(counts.sent, "event")));
                if counts.rejected > 0 {
                    said.push_str(&format!(", {} rejected", count(counts.rejected, "row")));
                }
            }
            let verdict = rows.verdicts.get(&day).copied();
            if let Some(verdict) = verdict {
                said.push_str(&format!(", {}", words::of_arrival(verdict)));
            }
            Cell {
                day,
                href: format!("{page}?day={day}#runs"),
                class,
                lost: verdict == Some(shared::ledger::Verdict::Missing),
                words: said,
            }
        };
        let mut weekdays: Vec<(&str, Vec<Option<Cell>>)> = WEEKDAYS.iter().map(|name| (*name, Vec::new())).collect();
        let mut months: Vec<(&str, usize)> = Vec::new();
        // The Monday of the week that the year begins in.
        let mut monday = first - Days::new(u64::from(first.weekday().num_days_from_monday()));
        while monday.year() <= rows.year {
            for (row, (_, cells)) in weekdays.iter_mut().enumerate() {
                let day = monday + Days::new(row as u64);
                let shown = day.year() == rows.year && Day(day) <= last;
                cells.push(shown.then(|| cell(Day(day))));
            }
            let ends_in = (monday + Days::new(6)).max(first);
            let month = if ends_in.year() > rows.year {
                11
            } else {
                ends_in.month0()
            };
            let name = MONTHS.get(month as usize).copied().unwrap_or_default();
            match months.last_mut() {
                Some((last, columns)) if *last == name => *columns += 1,
                _ => months.push((name, 1)),
            }
            monday = monday + Days::new(7);
        }
        Self {
            year: rows.year,
            months,
            weekdays,
        }
    }

    /// The words of a day of this year.
    pub(super) fn words(&self, day: Day) -> Option<String> {
        let mut cells = self.weekdays.iter().flat_map(|(_, cells)| cells.iter().flatten());
        cells.find(|cell| cell.day == day).map(|cell| cell.words.clone())
    }
}
