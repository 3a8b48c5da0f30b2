//! Rows that arrived after their day was exported. PURE.
//!
//! A run that began at T has certainly read the rows created before T − [`MARGIN`]. It may have
//! missed later ones: clocks differ, transactions commit late, replicas lag.
//!
//! - A row created after T leads to a late run at once.
//! - A row created within the margin before T may have been read or not. It leads to a late run
//!   once the row is older than the margin, because that run then certainly reads it.
//!
//! A row that was "created" in the future counts as created now, so it leads to a late run at once.
//! After that it may have been read or not: nothing says when it arrived. It leads to the second
//! late run once its moment has come, because that run then certainly reads it.
//!
//! So every row is sent, and no row leads to more than two late runs.
//!
//! As long as the day's `settled` run is still to come or has not ended, such rows are left to it.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use shared::coverage;
use shared::job::{Day, Job, LATE_PREFIX, RunKey, Scope};
use shared::langfuse::Newest;
use shared::ledger::{RunRow, State};

use super::{Planned, Project, Reason, Rules, before, by_day, lane, settled};

/// See above; the same as a run with `changed` allows for. It is well below the default of
/// `EXPORT_LAG`, so that an ordinary day needs no late run.
pub const MARGIN: Duration = Duration::from_secs(coverage::MARGIN.num_seconds().unsigned_abs());

/// The rows that arrived since the last sweep, by project and day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// When the newest row of each day was created, of those that were created by now
    pub newest: Newest,
    /// Days with a row that was "created" in the future
    pub ahead: BTreeSet<(String, Day)>,
}

impl Arrived {
    /// Adds what another statement has found.
    pub fn add(&mut self, newest: Newest) {
        for (day, created_at) in newest {
            let known = self.newest.entry(day).or_insert(created_at);
            *known = created_at.max(*known);
        }
    }
}

/// What the completed runs of a day cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Coverage {
    /// When the last of them began. Everything created up to [`MARGIN`] before that was read
    began: DateTime<Utc>,
    /// When the last of them ended
    ended: DateTime<Utc>,
    /// Whether the last of them was a late run
    is_late: bool,
}

/// What is covered of a day: its usual streams, and its other observations where they are wanted and
/// a run has exported them. A day that was exported without them stays as it is.
fn covered(runs: &[&RunRow], observations: bool) -> Option<(Coverage, bool)> {
    let usual = coverage(runs, Scope::has_usual)?;
    let others = observations.then(|| coverage(runs, Scope::has_observations)).flatten();
    let both = others.map(|others| Coverage {
        began: usual.began.min(others.began),
        ended: usual.ended.max(others.ended),
        is_late: usual.is_late && others.is_late,
    });
    Some((both.unwrap_or(usual), others.is_some()))
}

/// What the completed runs cover that read some streams. A run without `created_after` covers every
/// row of these. A run with it extends the coverage, if it leaves no gap.
fn coverage(runs: &[&RunRow], reads: fn(&Scope) -> bool) -> Option<Coverage> {
    let completed = runs
        .iter()
        .filter(|run| run.state == State::Completed && reads(&run.scope()) && run.span().is_none());
    let mut done: Vec<_> = completed
        .filter_map(|run| Some((run.started_at?, run.completed_at?, run.created_after)))
        .collect();
    done.sort_unstable();
    let mut covered: Option<Coverage> = None;
    for (began, ended, created_after) in done {
        covered = match (covered, created_after) {
            (Some(so_far), Some(after)) if after > before(so_far.began, MARGIN) => Some(so_far),
            (None, Some(_)) => None,
            (so_far, _) => Some(Coverage {
                began,
                ended: so_far.map_or(ended, |c| c.ended.max(ended)),
                is_late: created_after.is_some(),
            }),
        };
    }
    covered
}

/// From which moment of creation on a project's rows must be looked at; `None` when none of its
/// days was exported. A row can be late when it was created after the export of its day began. What
/// the last sweep has looked at is left out.
pub fn sweep_from(runs: &[RunRow], swept_until: Option<DateTime<Utc>>, observations: bool) -> Option<DateTime<Utc>> {
    let from = |coverage: Coverage| {
        let known = match swept_until {
            // The last sweep did not look at days whose export ended after it, or just before.
            Some(until) if coverage.ended < before(until, MARGIN) => coverage.began.max(until),
            _ => coverage.began,
        };
        before(known, MARGIN)
    };
    let by_day = by_day(runs);
    let covered = by_day.values().filter_map(|runs| covered(runs, observations));
    covered.map(|(coverage, _)| from(coverage)).min()
}

/// Whether the day is exported with its other observations: they are wanted, and a run has exported
/// them.
pub(super) fn with_observations(rules: &Rules, runs: &[&RunRow]) -> bool {
    covered(runs, rules.observations).is_some_and(|(_, others)| others)
}

/// Whether rows of the day arrived that nothing has read for certain.
fn is_late(rules: &Rules, first: &RunRow, covered: Coverage, arrived: &Arrived) -> bool {
    let of_day = (first.project_id.clone(), first.day);
    let newest = arrived.newest.get(&of_day).copied();
    let certain = before(covered.began, MARGIN);
    let missed = |newest| newest > covered.began || (newest >= certain && newest < before(rules.now, MARGIN));
    newest.is_some_and(missed) || (arrived.ahead.contains(&of_day) && !covered.is_late)
}

/// Since when rows of the day may have been created that are left to its `settled` run; `None` where
/// none are.
fn left_since(rules: &Rules, runs: &[&RunRow], arrived: &Arrived) -> Option<DateTime<Utc>> {
    let (covered, _) = covered(runs, rules.observations)?;
    let is_left = settled::takes_late_rows(rules, runs) && is_late(rules, runs.first()?, covered, arrived);
    is_left.then_some(covered.began)
}

/// Until when the project's late rows count as looked for, after a sweep up to `until`. Those that are
/// left to a `settled` run must be found again as long as that has not ended, so the next sweep begins
/// with the export that they follow. But no earlier than this one: of a project with late rows each
/// day, some day is always left.
pub fn swept_until(
    rules: &Rules,
    project: &Project,
    arrived: &Arrived,
    until: DateTime<Utc>,
    last: Option<DateTime<Utc>>,
) -> DateTime<Utc> {
    let by_day = by_day(&project.runs);
    let left = by_day
        .values()
        .filter_map(|runs| left_since(rules, runs, arrived))
        .min();
    left.map_or(until, |began| last.map_or(began, |last| began.max(last)).min(until))
}

/// The late run that a day needs, if any.
pub(super) fn job(rules: &Rules, runs: &[&RunRow], arrived: &Arrived) -> Option<Planned> {
    let first = runs.first()?;
    let (covered, others) = covered(runs, rules.observations)?;
    // A late run that is under way reads these rows, too. If it does not, the next enqueue plans
    // another.
    let underway = |run: &&&RunRow| {
        run.created_after.is_some()
            && run.scope().has_usual()
            && (!others || run.scope().has_observations())
            && !matches!(run.state, State::Completed | State::Discarded)
    };
    if !is_late(rules, first, covered, arrived)
        || settled::takes_late_rows(rules, runs)
        || runs.iter().any(|run| underway(&run))
    {
        return None;
    }
    let job = Job {
        key: RunKey::new(&first.project_id, first.day, free_name(covered.began, runs)),
        scope: Scope {
            created_after: Some(before(covered.began, MARGIN)),
            ..Scope::whole(others)
        },
    };
    Some(Planned {
        lane: lane(first.day, rules.now),
        job,
        reason: Reason::Late,
    })
}

/// The run is named after the export that it follows. If it is published but not recorded, the next
/// enqueue publishes it under the same name, so the day is not exported twice.
fn free_name(after: DateTime<Utc>, runs: &[&RunRow]) -> String {
    let name = format!("{LATE_PREFIX}{}", after.to_rfc3339_opts(SecondsFormat::Millis, true));
    let taken = |name: &str| runs.iter().any(|run| run.run == name);
    if !taken(&name) {
        return name;
    }
    // A discarded run has that name, or one that exports fewer streams.
    let others = (2_u32..).map(|number| format!("{name}-{number}"));
    others.into_iter().find(|other| !taken(other)).unwrap_or(name)
}
