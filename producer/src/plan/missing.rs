//! Which days are missing, as ranges: years without data are one range, not a list of days. PURE.

use std::collections::BTreeSet;

use shared::job::Day;
use shared::langfuse::Days;
use shared::ledger::RunRow;

use super::settles;

/// The days of a window that no run settles, oldest first. They are to be enqueued if they hold
/// data.
pub fn missing_days(runs: &[RunRow], window: Days) -> Vec<Days> {
    let settled = runs.iter().filter(|run| settles(run)).map(|run| run.day).collect();
    without(vec![window], &settled)
}

/// The ranges without these days.
pub fn without(ranges: Vec<Days>, days: &BTreeSet<Day>) -> Vec<Days> {
    let mut rest = Vec::with_capacity(ranges.len());
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        let (mut first, last) = range.clone().into_inner();
        for day in days.range(range) {
            if first < *day {
                rest.push(first..=day.previous());
            }
            first = day.next();
        }
        if first <= last {
            rest.push(first..=last);
        }
    }
    rest
}

/// The days that lie in any of the ranges, as ranges that do not overlap.
pub fn union(mut ranges: Vec<Days>) -> Vec<Days> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut all: Vec<Days> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match all.last_mut() {
            Some(last) if *range.start() <= last.end().next() => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => all.push(range),
        }
    }
    all
}
