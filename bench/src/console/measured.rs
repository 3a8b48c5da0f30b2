//! PURE: what was measured of the console, its tables and its targets.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::sample::{Spread, as_f64};
use crate::table::{align_right, table};
use crate::targets::Bound::AtMost;
use crate::targets::{Target, number};

/// A look at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A page that reads nothing: what the way there and back takes
    Nothing,
    /// The overview, the first look after the console's start
    First,
    /// The overview, five seconds after the last look, as a browser asks again
    Again,
    /// The overview, at once after another look: nothing is read
    Memory,
    /// The overview of one state
    Chosen,
    /// A project
    Project,
    /// One of its earlier years
    Year,
    /// One of its days
    Day,
    /// A run that a worker is at
    Run,
    /// The dead letters
    Dead,
    /// Those of a cause
    Cause,
    /// The overview with hourly steps, the first look
    FirstSteps,
    /// The same, five seconds after the last look
    AgainSteps,
    /// A project with hourly steps
    ProjectSteps,
    /// The steps of one of its days
    DaySteps,
}

impl Look {
    /// Those at a ledger without steps, and those at the same one with hourly steps.
    pub const ALL: [&'static [Self]; 2] = [
        &[
            Self::Nothing,
            Self::First,
            Self::Again,
            Self::Memory,
            Self::Chosen,
            Self::Project,
            Self::Year,
            Self::Day,
            Self::Run,
            Self::Dead,
            Self::Cause,
        ],
        &[Self::FirstSteps, Self::AgainSteps, Self::ProjectSteps, Self::DaySteps],
    ];
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "a page that reads nothing",
            Self::First => "overview, first look",
            Self::Again => "overview, a look every 5 s",
            Self::Memory => "overview, from memory",
            Self::Chosen => "overview of one state, every 5 s",
            Self::Project => "project",
            Self::Year => "project, an earlier year",
            Self::Day => "project, one day",
            Self::Run => "run, a worker is at it",
            Self::Dead => "dead letters",
            Self::Cause => "dead letters of a cause",
            Self::FirstSteps => "hourly steps: overview, first look",
            Self::AgainSteps => "hourly steps: overview, every 5 s",
            Self::ProjectSteps => "hourly steps: project",
            Self::DaySteps => "hourly steps: one day",
        })
    }
}

impl Serialize for Look {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What some looks in a row took.
#[derive(Clone, Debug, Serialize)]
pub struct Looked {
    /// At what
    pub look: Look,
    /// In which round
    pub round: u32,
    /// Seconds of each, from the request to the last byte
    pub walls: Vec<f64>,
    /// CPU seconds of the console, of all together
    pub cpu: f64,
    /// CPU seconds of PostgreSQL, of all together
    pub postgres_cpu: f64,
    /// Bytes of the page
    pub bytes: usize,
    /// The same as gzip
    pub gzip_bytes: usize,
}

/// Everything that was measured of the console.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Console {
    /// The looks
    pub looks: Vec<Looked>,
    /// The most memory that a console held, in bytes
    pub peak_memory: u64,
}

impl Console {
    fn of(&self, look: Look) -> impl Iterator<Item = &Looked> {
        self.looks.iter().filter(move |found| found.look == look)
    }

    fn wall(&self, look: Look) -> Option<Spread> {
        Spread::of(
            self.of(look)
                .flat_map(|found| found.walls.iter().map(|wall| wall * 1e3)),
        )
    }

    fn each(&self, look: Look, value: fn(&Looked) -> f64) -> Option<f64> {
        let looks: usize = self.of(look).map(|found| found.walls.len()).sum();
        let sum: f64 = self.of(look).map(value).sum();
        (looks > 0).then(|| sum * 1e3 / as_f64(looks as u64))
    }

    fn all() -> impl Iterator<Item = Look> {
        Look::ALL.into_iter().flatten().copied()
    }

    /// The table of the looks.
    pub fn table(&self) -> String {
        let mut table = table(&[
            "median (least–greatest)",
            "looks",
            "time",
            "its CPU",
            "PostgreSQL's CPU",
            "page",
            "as gzip",
        ]);
        align_right(&mut table);
        for look in Self::all() {
            let Some(Spread { median, min, max }) = self.wall(look) else {
                continue;
            };
            let size = |bytes: usize| format!("{:.1} kB", as_f64(bytes as u64) / 1e3);
            let sizes = self.of(look).next().map(|found| (found.bytes, found.gzip_bytes));
            let (bytes, gzip_bytes) = sizes.unwrap_or_default();
            let cpu = |value| {
                self.each(look, value)
                    .map_or_else(String::new, |cpu| format!("{cpu:.1} ms"))
            };
            let looks: usize = self.of(look).map(|found| found.walls.len()).sum();
            table.add_row([
                look.to_string(),
                looks.to_string(),
                format!("{median:.1} ms ({min:.1}–{max:.1})"),
                cpu(|found| found.cpu),
                cpu(|found| found.postgres_cpu),
                size(bytes),
                size(gzip_bytes),
            ]);
        }
        table.to_string()
    }

    /// The targets.
    pub fn targets(&self) -> Vec<Target> {
        // A first look connects to three servers, and finds nothing in memory.
        let is_first = |look: &Look| matches!(look, Look::First | Look::FirstSteps);
        let slowest = Self::all()
            .filter(|look| !is_first(look))
            .filter_map(|look| self.wall(look));
        let slowest = slowest.map(|wall| wall.median).max_by(f64::total_cmp);
        let largest = self.looks.iter().map(|found| found.bytes).max();
        let over = |above, below| Some(self.wall(above)?.median / self.wall(below)?.median);
        vec![
            number("the slowest page", AtMost(100.0), " ms", slowest),
            number(
                "the first look after the console's start",
                AtMost(300.0),
                " ms",
                self.wall(Look::First).map(|wall| wall.median),
            ),
            number(
                "the largest page, before compression",
                AtMost(200.0),
                " kB",
                largest.map(|bytes| as_f64(bytes as u64) / 1e3),
            ),
            number(
                "the overview every 5 s over the same page from memory",
                AtMost(10.0),
                " ×",
                over(Look::Again, Look::Memory),
            ),
            number(
                "the same with hourly steps over without",
                AtMost(1.5),
                " ×",
                over(Look::AgainSteps, Look::Again),
            ),
            number(
                "the console's peak memory",
                AtMost(64.0),
                " MiB",
                (self.peak_memory > 0).then(|| as_f64(self.peak_memory) / (1024.0 * 1024.0)),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(look: Look, walls: &[f64]) -> Looked {
        Looked {
            look,
            round: 1,
            walls: walls.to_vec(),
            cpu: 0.01,
            postgres_cpu: 0.04,
            bytes: 150_000,
            gzip_bytes: 20_000,
        }
    }

    #[test]
    fn the_slowest_page_is_that_of_the_greatest_median() {
        let console = Console {
            looks: vec![
                looked(Look::Again, &[0.05, 0.07, 0.3]),
                looked(Look::Memory, &[0.01]),
                looked(Look::Run, &[0.09, 0.002]),
            ],
            peak_memory: 0,
        };
        let found = |what: &str| {
            let targets = console.targets();
            let target = targets.into_iter().find(|target| target.what == what).unwrap();
            (target.found.unwrap_or_default(), target.held)
        };
        assert_eq!(found("the slowest page"), ("70.00 ms".to_owned(), Some(true)));
        assert_eq!(
            found("the overview every 5 s over the same page from memory"),
            ("7.00 ×".to_owned(), Some(true))
        );
        assert_eq!(found("the console's peak memory").1, None);
        let table = console.table();
        assert!(
            table.contains("70.0 ms (50.0–300.0)") && table.contains("20.0 kB"),
            "{table}"
        );
        assert!(!table.contains("dead letters"), "{table}");
    }
}
