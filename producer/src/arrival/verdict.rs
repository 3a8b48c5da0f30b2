//! What the numbers of a day mean. PURE.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use shared::job::Stream;
use shared::ledger::Verdict;

use crate::output::{agree, count};

/// For so long after it was sent an event may not be visible yet.
pub(super) const VISIBLE_AFTER: TimeDelta = TimeDelta::hours(24);
/// Fewer lost events at the end of a day are no sign of a limit.
const FEW: u64 = 10;

/// The numbers of one hour of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Events that must be there
    pub(crate) expected: u64,
    /// Those of them that are not
    pub(crate) missing: u64,
}

/// Hours of the day, by stream.
pub(crate) type Hours = BTreeMap<Stream, BTreeMap<u8, Counted>>;

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    /// Hours that hold events of ours
    #[serde(skip)]
    pub(crate) hours: Hours,
    /// How many of the missing were sent a day ago or earlier
    pub(crate) overdue: u64,
    /// Events that no row of ours calls for
    pub(crate) extra: u64,
    /// Rows that came too late to be certainly there, and rows that PostHog refused
    pub(crate) late: u64,
    /// Copies that PostHog has not folded yet; no error
    pub(crate) copies: u64,
    /// Ids of some missing rows, as `trace/id`
    pub(crate) sample: Vec<String>,
    /// Whether only counts could be compared
    pub(crate) weaker: bool,
}

impl Found {
    /// Events that must be there.
    pub(crate) fn expected(&self) -> u64 {
        self.all().map(|counted| counted.expected).sum()
    }

    /// Those of them that are not.
    pub(crate) fn missing(&self) -> u64 {
        self.all().map(|counted| counted.missing).sum()
    }

    /// Whether something must be there, and nothing of it is.
    pub(crate) fn is_nothing_there(&self) -> bool {
        self.missing() > 0 && self.missing() == self.expected()
    }

    fn all(&self) -> impl Iterator<Item = &Counted> {
        self.hours.values().flat_map(BTreeMap::values)
    }

    /// The streams that miss events.
    pub(crate) fn streams_missing(&self) -> Vec<Stream> {
        let misses = |hours: &BTreeMap<u8, Counted>| hours.values().any(|counted| counted.missing > 0);
        let streams = self.hours.iter().filter(|(_, hours)| misses(hours));
        streams.map(|(stream, _)| *stream).collect()
    }

    /// The verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.missing() > 0 {
            if self.overdue > 0 {
                Verdict::Missing
            } else {
                Verdict::NotYet
            }
        } else if self.extra > 0 {
            Verdict::Extra
        } else {
            Verdict::Arrived
        }
    }

    /// The first hour from which on nothing arrived, where that looks like PostHog's billing limit:
    /// every stream that misses events has lost all of them from some hour on, and before that at
    /// most some of the one hour in which it began.
    pub(crate) fn nothing_after(&self) -> Option<u8> {
        let mut first = None;
        let mut lost = 0;
        for hours in self.hours.values() {
            if hours.values().all(|counted| counted.missing == 0) {
                continue;
            }
            let (hour, missing) = tail(hours)?;
            first = Some(first.map_or(hour, |known: u8| known.min(hour)));
            lost += missing;
        }
        first.filter(|_| lost >= FEW)
    }
}

/// The first hour of the end of a stream's day in which everything is missing, and how much that
/// is. `None` when something is missing before, other than in the hour in which it began.
fn tail(hours: &BTreeMap<u8, Counted>) -> Option<(u8, u64)> {
    let filled = || hours.iter().filter(|(_, counted)| counted.expected > 0);
    let is_lost = |counted: &Counted| counted.missing == counted.expected;
    let tail: Vec<(u8, u64)> = filled()
        .rev()
        .take_while(|(_, counted)| is_lost(counted))
        .map(|(hour, counted)| (*hour, counted.missing))
        .collect();
    let (first, _) = *tail.last()?;
    let before: Vec<&Counted> = filled()
        .filter(|(hour, _)| **hour < first)
        .map(|(_, counted)| counted)
        .collect();
    let (_, whole) = before
        .split_last()
        .map_or((None, &before[..]), |(last, rest)| (Some(last), rest));
    let is_clean = whole.iter().all(|counted| counted.missing == 0);
    is_clean.then(|| (first, tail.iter().map(|(_, missing)| missing).sum()))
}

/// `69,412 of 70,000 arrived; nothing after 19:00: this looks like PostHog's billing limit`
pub(crate) fn sentence(found: &Found, verdict: Verdict) -> String {
    let number = |value: u64| crate::output::number(i64::try_from(value).unwrap_or(i64::MAX));
    let (expected, missing) = (found.expected(), found.missing());
    let mut parts = Vec::new();
    if missing == 0 {
        parts.push(match expected {
            0 => "nothing to arrive".to_owned(),
            1 => "1 event arrived".to_owned(),
            expected => format!("all {} arrived", count(expected, "event")),
        });
    } else {
        parts.push(format!(
            "{} of {} arrived",
            number(expected - missing),
            number(expected)
        ));
        if verdict == Verdict::NotYet {
            parts.push("PostHog may still be at work on the others, within a day of the export".to_owned());
        }
        if let Some(hour) = found.nothing_after() {
            let when = if missing == expected {
                "nothing at all".to_owned()
            } else {
                format!("nothing after {hour:02}:00")
            };
            parts.push(format!("{when}: this looks like PostHog's billing limit"));
        }
    }
    if found.extra > 0 {
        parts.push(format!(
            "{} more than the database calls for (deleted in Langfuse, or moved to another day)",
            number(found.extra)
        ));
    }
    if found.late > 0 {
        let (were, are) = (agree(found.late, "was", "were"), agree(found.late, "is", "are"));
        parts.push(format!(
            "{} came late or {were} refused and {are} not judged",
            number(found.late)
        ));
    }
    if found.copies > 0 {
        let are = agree(found.copies, "is", "are");
        parts.push(format!("{} {are} not folded yet", count(found.copies, "copy")));
    }
    if found.weaker {
        parts.push("by counts alone: this PostHog is too old for more".to_owned());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream, and of some hours what is expected and what is missing.
    type Day<'a> = (Stream, &'a [(u8, u64, u64)]);

    fn found(streams: &[Day<'_>]) -> Found {
        let hours = |hours: &[(u8, u64, u64)]| {
            let counted = |(hour, expected, missing): &(u8, u64, u64)| {
                (
                    *hour,
                    Counted {
                        expected: *expected,
                        missing: *missing,
                    },
                )
            };
            hours.iter().map(counted).collect()
        };
        Found {
            hours: streams.iter().map(|(stream, of)| (*stream, hours(of))).collect(),
            ..Found::default()
        }
    }

    #[test]
    fn what_ends_in_the_middle_of_a_day_looks_like_a_limit() {
        use Stream::{Score, Trace};
        for (what, streams, hour) in [
            (
                "nothing is missing",
                &[(Trace, &[(1, 50, 0), (2, 50, 0)][..])][..],
                None,
            ),
            (
                "all from an hour on",
                &[(Trace, &[(1, 50, 0), (19, 50, 0), (20, 50, 50), (23, 5, 5)][..])],
                Some(20),
            ),
            (
                "it began within an hour",
                &[(Trace, &[(1, 50, 0), (18, 50, 7), (19, 50, 50)][..])],
                Some(19),
            ),
            ("everything", &[(Trace, &[(3, 50, 50), (4, 50, 50)][..])], Some(3)),
            ("a hole", &[(Trace, &[(1, 50, 50), (2, 50, 0)][..])], None),
            (
                "a hole before",
                &[(Trace, &[(1, 50, 1), (2, 50, 0), (3, 50, 50)][..])],
                None,
            ),
            ("few at the end", &[(Trace, &[(1, 50, 0), (23, 3, 3)][..])], None),
            (
                "one stream was through already",
                &[(Trace, &[(1, 50, 0), (2, 50, 50)][..]), (Score, &[(5, 3, 0)][..])],
                Some(2),
            ),
            (
                "two streams",
                &[(Trace, &[(1, 50, 0), (9, 50, 50)][..]), (Score, &[(7, 3, 3)][..])],
                Some(7),
            ),
        ] {
            assert_eq!(found(streams).nothing_after(), hour, "{what}");
        }
    }

    #[test]
    fn a_day_old_loss_is_missing_and_a_fresh_one_is_not_yet_there() {
        let mut lost = found(&[(Stream::Trace, &[(1, 50, 2)])]);
        assert_eq!(lost.verdict(), Verdict::NotYet);
        lost.overdue = 1;
        assert_eq!(lost.verdict(), Verdict::Missing, "one of them is enough");
        let mut more = found(&[(Stream::Trace, &[(1, 50, 0)])]);
        assert_eq!(more.verdict(), Verdict::Arrived);
        more.copies = 9;
        more.late = 1;
        assert_eq!(more.verdict(), Verdict::Arrived);
        more.extra = 1;
        assert_eq!(more.verdict(), Verdict::Extra);
    }

    #[test]
    fn a_verdict_is_a_sentence() {
        let limit = found(&[(Stream::Trace, &[(0, 69_412, 0), (19, 588, 588)])]);
        assert_eq!(
            sentence(&limit, Verdict::Missing),
            "69,412 of 70,000 arrived; nothing after 19:00: this looks like PostHog's billing limit"
        );
        let whole = found(&[(Stream::Trace, &[(0, 1_000, 0)])]);
        assert_eq!(sentence(&whole, Verdict::Arrived), "all 1,000 events arrived");
        assert_eq!(sentence(&Found::default(), Verdict::Arrived), "nothing to arrive");
        let none = found(&[(Stream::Score, &[(4, 20, 20)])]);
        let said = sentence(&none, Verdict::NotYet);
        assert!(
            said.contains("nothing at all: this looks like") && said.contains("still be at work"),
            "{said}"
        );
    }
}
