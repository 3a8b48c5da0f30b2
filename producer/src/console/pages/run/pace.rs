//! How quick a stream is, and about how long it takes still. PURE.

use chrono::{DateTime, TimeDelta, Utc};
use shared::ledger::{ClaimRow, RunRow, State, StreamRow};

use crate::output::{count, number};

/// The run is begun by the statement of a claim; more lies between them only where claims are missing.
const APART: TimeDelta = TimeDelta::seconds(5);

/// Events a second, and about how long it takes still, while a worker is at it. `percent` is how far
/// in its day it is. `None`: nobody knows for how long workers have had it.
pub(super) fn pace(run: &RunRow, claims: &[ClaimRow], row: &StreamRow, percent: i64) -> Option<String> {
    if run.state != State::Running || row.done || row.sent == 0 {
        return None;
    }
    let worked = worked(run.started_at?, claims, row.updated_at)?.num_seconds().max(1);
    let pace = format!("{} a second", number(row.sent / worked));
    if !(1..=99).contains(&percent) {
        return Some(pace);
    }
    let left = TimeDelta::seconds(worked * (100 - percent) / percent);
    let words = match left.num_minutes() {
        0 => "less than a minute".to_owned(),
        minutes @ ..120 => count(usize::try_from(minutes).unwrap_or(0), "minute"),
        minutes => count(usize::try_from(minutes / 60).unwrap_or(0), "hour"),
    };
    Some(format!("{pace}, about {words} left"))
}

/// For how long workers had the run from its first row until this moment, its waits left out. `None`:
/// nobody has it, or not every claim since then is known.
fn worked(began: DateTime<Utc>, claims: &[ClaimRow], until: DateTime<Utc>) -> Option<TimeDelta> {
    let since: Vec<&ClaimRow> = claims
        .iter()
        .filter(|claim| claim.claimed_at >= began - APART)
        .collect();
    let (first, last) = (since.first()?, since.last()?);
    let follow = |pair: &[&ClaimRow]| matches!(pair, [a, b] if b.number == a.number + 1);
    let all = first.claimed_at <= began + APART && since.windows(2).all(follow);
    if !all || last.ended_as.is_some() {
        return None;
    }
    since.iter().try_fold(TimeDelta::zero(), |sum, claim| {
        let until = match claim.ended_as {
            Some(_) => claim.ended_at?,
            None => until.max(claim.claimed_at),
        };
        Some(sum + (until - claim.claimed_at).max(TimeDelta::zero()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn claim(number: i32, from: i64, to: Option<i64>) -> ClaimRow {
        ClaimRow {
            run: "daily".to_owned(),
            number,
            worker: "w".to_owned(),
            attempt: 1,
            claimed_at: at(from),
            ended_at: to.map(at),
            ended_as: to.map(|_| "waiting".to_owned()),
            error_code: None,
            error: None,
            trace_id: None,
        }
    }

    #[test]
    fn a_wait_is_no_work() {
        let minutes = |claims: &[ClaimRow], until| worked(at(100), claims, at(until)).map(|time| time.num_minutes());
        assert_eq!(minutes(&[claim(1, 100, None)], 104), Some(4));
        // Ten minutes, two hours on a rung, and four minutes.
        let slices = [claim(1, 100, Some(110)), claim(2, 230, None)];
        assert_eq!(minutes(&slices, 234), Some(14));
        // The claim that is going on has sent nothing yet.
        assert_eq!(minutes(&slices, 110), Some(10));
        // The cursors went back to the first row with the second claim.
        let again = [claim(1, 10, Some(20)), claim(2, 100, None)];
        assert_eq!(minutes(&again, 103), Some(3));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let known = |claims: &[ClaimRow]| worked(at(100), claims, at(300)).is_some();
        assert!(!known(&[]));
        // A worker of before began it.
        assert!(!known(&[claim(1, 200, None)]));
        // Some in between are not kept.
        assert!(!known(&[claim(1, 100, Some(110)), claim(60, 290, None)]));
        assert!(!known(&[claim(1, 100, Some(110))]));
    }
}
