//! Rows that arrived after their day was exported. PURE.
//!
//! A run that began at T has read, for certain, what was created before T − [`MARGIN`]: clocks differ, transactions commit
//! late, replicas lag. A row created after T calls for a run at once. One from the margin before T may have been read or not;
//! it calls for a run when it is older than the margin, so that this run reads it for certain. So every row is
//! sent, and none calls for more than two runs.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use shared::job::{Day, Job, LATE_PREFIX, RunKey, Scope};
use shared::ledger::{RunRow, State};

use super::{Planned, Reason, delta, lane};

/// See above. Well under `EXPORT_LAG`'s default, so that an ordinary day calls for no late run.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// What the completed runs of a day cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Coverage {
    /// When the last of them began: up to [`MARGIN`] before that, everything was read
    began: DateTime<Utc>,
    /// When the last of them ended
    ended: DateTime<Utc>,
}

/// Full runs cover all; one with `created_after` goes on where the coverage so far ends, if it leaves no gap.
fn coverage(runs: &[&RunRow]) -> Option<Coverage> {
    let completed = runs
        .iter()
        .filter(|run| run.state == State::Completed && run.events.is_none());
    let mut done: Vec<_> = completed
        .filter_map(|run| Some((run.started_at?, run.completed_at?, run.created_after)))
        .collect();
    done.sort_unstable();
    let mut covered: Option<Coverage> = None;
    for (began, ended, created_after) in done {
        covered = match (covered, created_after) {
            (Some(so_far), Some(after)) if after > so_far.began - delta(MARGIN) => Some(so_far),
            (None, Some(_)) => None,
            (so_far, _) => Some(Coverage {
                began,
                ended: so_far.map_or(ended, |c| c.ended.max(ended)),
            }),
        };
    }
    covered
}

/// From when on created rows are of interest for a project, if it has an exported day: from the beginning of each day's
/// export, but not what the last sweep has looked at.
pub fn sweep_from(runs: &[RunRow], swept_until: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    let mut by_day: BTreeMap<Day, Vec<&RunRow>> = BTreeMap::new();
    for run in runs {
        by_day.entry(run.day).or_default().push(run);
    }
    let from = |coverage: Coverage| {
        let known = match swept_until {
            // A day that was exported since, or just then, was not looked at.
            Some(until) if coverage.ended + delta(MARGIN) < until => coverage.began.max(until),
            _ => coverage.began,
        };
        known - delta(MARGIN)
    };
    by_day.values().filter_map(|runs| coverage(runs)).map(from).min()
}

/// The late run that a day needs whose newest row was created at `newest`.
pub(super) fn job(now: DateTime<Utc>, runs: &[&RunRow], newest: DateTime<Utc>) -> Option<Planned> {
    let covered = coverage(runs)?;
    let certain = covered.began - delta(MARGIN);
    let calls = newest > covered.began || (newest >= certain && newest < now - delta(MARGIN));
    // A late run on its way reads these rows too, or is followed by another that does.
    let underway = |run: &&&RunRow| {
        run.created_after.is_some() && run.events.is_none() && !matches!(run.state, State::Completed | State::Discarded)
    };
    let first = runs.first()?;
    if !calls || runs.iter().any(|run| underway(&run)) {
        return None;
    }
    let job = Job {
        key: RunKey::new(&first.project_id, first.day, free_name(covered.began, runs)),
        scope: Scope {
            created_after: Some(certain),
            ..Scope::default()
        },
    };
    Some(Planned {
        lane: lane(first.day, now),
        job,
        reason: Reason::Late,
    })
}

/// Named after what it follows, so that one which was published but not recorded is published again under the same name.
fn free_name(after: DateTime<Utc>, runs: &[&RunRow]) -> String {
    let name = format!("{LATE_PREFIX}{}", after.to_rfc3339_opts(SecondsFormat::Millis, true));
    let taken = |name: &str| runs.iter().any(|run| run.run == name);
    if !taken(&name) {
        return name;
    }
    // Only a discarded one can have it.
    let others = (2_u32..).map(|number| format!("{name}-{number}"));
    others.into_iter().find(|other| !taken(other)).unwrap_or(name)
}
