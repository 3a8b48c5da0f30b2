//! What the oracle found.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use chrono::NaiveDate;
use serde_json::Value;

use super::compare::altered;

/// How many findings are written out.
const SHOWN: usize = 5;

/// What was expected and what came, for some projects and days. Reports can be added up.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events that must arrive.
    pub expected: usize,
    /// Those that did, altered or not.
    pub delivered: usize,
    /// Those that did not.
    pub missing: usize,
    /// Events that should not be there at all.
    pub unexpected: usize,
    /// Events that arrived, but not as they should.
    pub altered: usize,
    /// Events of which PostHog keeps more than one copy.
    pub copies_kept: usize,
    /// Copies under the distinct id that their row had before it changed, as far as the oracle was
    /// told to remember it; not counted elsewhere.
    pub former_copies: usize,
    /// Copies that PostHog folded away.
    pub resent: usize,
    /// The same per project and day.
    pub by_day: BTreeMap<(String, NaiveDate), DayReport>,
    /// The first findings, in words.
    pub findings: Vec<String>,
}

/// One project's day in a [`Report`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayReport {
    /// Events that must arrive.
    pub expected: usize,
    /// Those that did, altered or not.
    pub delivered: usize,
    /// Those that did not.
    pub missing: usize,
    /// Events that arrived, but not as they should.
    pub altered: usize,
}

impl Report {
    /// Whether everything arrived as it should, and nothing else.
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.unexpected == 0 && self.altered == 0 && self.copies_kept == 0
    }

    /// Stops the test unless the report is clean.
    ///
    /// # Panics
    /// When it is not, with the first findings.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}\n{}", self.findings.join("\n"));
    }

    /// [`assert_clean`](Self::assert_clean), and that there was anything to check.
    ///
    /// # Panics
    /// When it is not clean, or nothing was expected.
    #[track_caller]
    pub fn assert_delivered(&self) {
        self.assert_clean();
        assert!(self.expected > 0, "no event was expected, so nothing was checked");
    }

    /// Adds one expected event and the copies of it that arrived.
    pub(super) fn add(&mut self, project: &str, day: NaiveDate, expected: &Value, copies: &[Value]) {
        let mut found = DayReport {
            expected: 1,
            ..DayReport::default()
        };
        let mut nearest: Option<Vec<_>> = None;
        for copy in copies {
            let differences = altered(expected, copy);
            if nearest.as_ref().is_none_or(|nearest| differences.len() < nearest.len()) {
                nearest = Some(differences);
            }
        }
        match nearest {
            None => {
                found.missing = 1;
                self.find(|| format!("missing: {}", name(expected)));
            }
            Some(differences) => {
                found.delivered = 1;
                if !differences.is_empty() {
                    found.altered = 1;
                    self.find(|| {
                        let lines: Vec<_> = differences.iter().map(|one| format!("    {one}")).collect();
                        format!("altered: {}\n{}", name(expected), lines.join("\n"))
                    });
                }
            }
        }
        if copies.len() > 1 {
            self.find(|| {
                let ids: Vec<_> = copies
                    .iter()
                    .map(|copy| format!("{} {}", copy["distinct_id"], copy["timestamp"]))
                    .collect();
                format!("{} copies kept: {}: {}", copies.len(), name(expected), ids.join(", "))
            });
        }
        self.expected += found.expected;
        self.delivered += found.delivered;
        self.missing += found.missing;
        self.altered += found.altered;
        self.by_day.entry((project.to_owned(), day)).or_default().add(found);
    }

    pub(super) fn add_unexpected(&mut self, event: &Value) {
        self.unexpected += 1;
        self.find(|| format!("unexpected: {}", name(event)));
    }

    fn find(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < SHOWN {
            self.findings.push(finding());
        }
    }
}

fn name(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (event_name, id) = (text(&event["event"]), &event["properties"]["langfuse_id"]);
    format!(
        "{event_name} {id} ({}, {})",
        text(&event["timestamp"]),
        text(&event["uuid"])
    )
}

impl DayReport {
    fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.missing += other.missing;
        self.altered += other.altered;
    }
}

impl Add for Report {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.missing += other.missing;
        self.unexpected += other.unexpected;
        self.altered += other.altered;
        self.copies_kept += other.copies_kept;
        self.former_copies += other.former_copies;
        self.resent += other.resent;
        for (day, found) in other.by_day {
            self.by_day.entry(day).or_default().add(found);
        }
        self.findings.extend(other.findings);
        self.findings.truncate(SHOWN);
        self
    }
}

impl Sum for Report {
    fn sum<I: Iterator<Item = Self>>(reports: I) -> Self {
        reports.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "delivered {} of {} events, {} missing, {} unexpected, {} copies kept",
            self.delivered, self.expected, self.missing, self.unexpected, self.copies_kept
        )?;
        if self.altered > 0 {
            write!(out, ", {} altered", self.altered)?;
        }
        if self.former_copies > 0 {
            write!(out, ", {} under a former distinct id", self.former_copies)?;
        }
        Ok(())
    }
}
