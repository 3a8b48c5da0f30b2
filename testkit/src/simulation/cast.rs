//! Who and what takes part in a simulation.

use chrono::NaiveDate;

/// Workers at once.
pub const WORKERS: usize = 3;
/// Project and its key.
pub(super) const PROJECTS: [(&str, &str); 2] = [("project one", "phc_one"), ("project two", "phc_two")];
pub(super) const DAYS: [&str; 3] = ["2024-06-01", "2024-06-02", "2024-06-03"];
pub(super) const TRACES_PER_DAY: usize = 80;
/// How many projects and days there are for steps to name.
pub(super) const CHOICES: (usize, usize) = (PROJECTS.len(), DAYS.len());

/// One of the days, or another one, as a date.
pub(super) fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}
