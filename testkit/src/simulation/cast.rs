//! Who and what takes part in a simulation.

use chrono::NaiveDate;

/// Workers at once.
pub const WORKERS: usize = 3;
/// Project and its key.
pub(super) const PROJECTS: [(&str, &str); 2] = [("project one", "phc_one"), ("project two", "phc_two")];
/// The last one is today, until somebody moves the clock over midnight.
pub(super) const DAYS: [&str; 4] = ["2024-06-01", "2024-06-02", "2024-06-03", TODAY];
/// How many of them are over when a simulation begins, so that their `daily` run may be asked for.
pub(super) const OVER: usize = DAYS.len() - 1;
pub(super) const TODAY: &str = "2024-06-04";
/// When a simulation begins.
pub(super) const BEGINNING: &str = "2024-06-04 12:10";
/// No step moves the clock behind this moment: what changes until then is promised to arrive.
pub(super) const LATEST: &str = "2024-06-05T18:00:00Z";
pub(super) const TRACES_PER_DAY: usize = 80;
/// How many projects and days there are for steps to name.
pub(super) const CHOICES: (usize, usize) = (PROJECTS.len(), DAYS.len());

/// One of the days, or another one, as a date.
pub(super) fn day(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}
