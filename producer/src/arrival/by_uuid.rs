//! Where hours differ: which events it is. Hours with too many events for one answer are cut into
//! cells by the first digits of the uuids, and only the cells that differ are read, so that PostHog
//! is asked as rarely as it can be: each question costs it the whole day of the event.

use std::collections::BTreeMap;

use shared::job::Stream;

use super::diff::{Diff, Part};
use super::ours::Ours;
use super::tally::{Cell, Differs, EventKey, Held, Hour, differing, parts, window};
use super::theirs::{Theirs, Way};
use super::unknown::Unknown;
use crate::posthog_app::AppError;

/// So many uuids are expected of one answer. PostHog gives 50,000 at most.
const ROWS: u64 = 40_000;
/// So many of PostHog's uuids are in memory at once, of nine bytes each. Ours are read once for each
/// such part.
const IN_MEMORY: u64 = 1_000_000;

/// One stream's comparison.
#[derive(Debug)]
pub(super) struct ByUuid<'a> {
    pub(super) ours: &'a Ours<'a>,
    pub(super) theirs: Theirs<'a>,
    pub(super) stream: Stream,
    pub(super) way: Way,
}

/// Why cells could not be compared.
enum Failure {
    /// One cell alone is too much for an answer.
    TooCoarse(AppError),
    /// Anything else
    Unknown(Unknown),
}

impl<E: Into<Unknown>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Unknown(error.into())
    }
}

impl ByUuid<'_> {
    /// What is missing and what is extra in these hours.
    pub(super) async fn diff(&self, hours: &[Differs]) -> Result<Diff, Unknown> {
        let mut digits = digits(hours);
        loop {
            let cells = self.cells(hours, digits).await?;
            match self.compare(&cells, digits).await {
                Ok(diff) => return Ok(diff),
                Err(Failure::TooCoarse(_)) if digits < Cell::MOST_DIGITS => digits += 1,
                Err(Failure::TooCoarse(error)) => return Err(error.into()),
                Err(Failure::Unknown(unknown)) => return Err(unknown),
            }
        }
    }

    /// The parts of these hours that differ.
    async fn cells(&self, hours: &[Differs], digits: u32) -> Result<Vec<Differs>, Unknown> {
        if digits == 0 {
            return Ok(hours.to_vec());
        }
        let stream = [self.stream];
        let counted = self.theirs.cells(self.way, &stream, window(hours), digits).await?;
        let held = counted.held.get(&self.stream).cloned().unwrap_or_default();
        if !hold_as_many(hours, &held) {
            return Err(AppError::Changed(self.theirs.host()).into());
        }
        let expected = self.ours.cells(self.stream, window(hours), digits).await?;
        Ok(differing(&expected, &held))
    }

    /// Compares cells by uuid.
    async fn compare(&self, cells: &[Differs], digits: u32) -> Result<Diff, Failure> {
        if cells.iter().all(|cell| cell.held == 0) {
            return Ok(self.ours.nothing_there(cells));
        }
        let mut diff = Diff::default();
        let mut answers = Answers::default();
        for cells in parts(cells, IN_MEMORY) {
            let mut part = Part::of(self.keys(cells, digits, &mut answers).await?);
            let against = |own| diff.row(&mut part, own);
            self.ours.rows(self.stream, cells, digits, against).await?;
            diff.rest(part);
        }
        if !diff.extra.is_empty() {
            let found = |key| diff.found_elsewhere(key);
            self.ours.all(self.stream, found).await?;
        }
        Ok(diff)
    }

    /// The uuids that PostHog holds in some cells.
    async fn keys(&self, cells: &[Differs], digits: u32, answers: &mut Answers) -> Result<Vec<EventKey>, Failure> {
        let mut all = Vec::new();
        // By hour, so that a question for fewer cells is one for fewer hours.
        let mut cells: Vec<Differs> = cells.iter().filter(|cell| cell.held > 0).copied().collect();
        cells.sort_unstable_by_key(|differs| (differs.cell.hour, differs.cell.prefix));
        let mut left = if cells.is_empty() { Vec::new() } else { vec![&cells[..]] };
        while let Some(some) = left.pop() {
            let held = some.iter().map(|cell| cell.held).sum();
            let error = if answers.may_hold(held) || some.len() == 1 {
                self.theirs.deadline.check()?;
                match self.theirs.keys(self.way, self.stream, some, digits).await {
                    Ok(keys) => match answers.judge(held, keys.len()) {
                        Read::Whole => {
                            all.extend(keys);
                            continue;
                        }
                        Read::Cut => AppError::Cut(self.theirs.host()),
                        Read::Changed => return Err(AppError::Changed(self.theirs.host()).into()),
                    },
                    Err(error) if error.asks_for_less() => error,
                    Err(error) => return Err(error.into()),
                }
            } else {
                AppError::Cut(self.theirs.host())
            };
            if some.len() == 1 {
                return Err(Failure::TooCoarse(error));
            }
            let (first, second) = some.split_at(some.len() / 2);
            left.extend([second, first]);
        }
        Ok(all)
    }
}

/// How many digits make cells that fit into an answer. PURE.
fn digits(hours: &[Differs]) -> u32 {
    let all: u64 = hours.iter().map(|hour| hour.expected.max(hour.held)).sum();
    let fits = |digits: &u32| all >> (4 * digits) <= ROWS;
    (0..Cell::MOST_DIGITS).find(fits).unwrap_or(Cell::MOST_DIGITS)
}

/// What is known of how many rows an answer of this server may have. It does not say when it has cut
/// one, and an older PostHog cuts at 10,000. PURE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answers {
    /// No more are asked for at once.
    most: u64,
    /// The longest answer so far: one of fewer rows is not cut.
    longest: u64,
}

/// What an answer is, beside what was counted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Whole,
    /// Perhaps the server gives no more rows.
    Cut,
    /// The server gives as many, and has fewer now: a replica that lags behind, or a deletion.
    Changed,
}

impl Default for Answers {
    fn default() -> Self {
        Self { most: ROWS, longest: 0 }
    }
}

impl Answers {
    /// Whether it is worth to ask for so many.
    fn may_hold(self, held: u64) -> bool {
        held <= self.most
    }

    /// Judges an answer of so many rows, where so many were counted before. More may have come since.
    fn judge(&mut self, held: u64, rows: usize) -> Read {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let read = if rows >= held {
            Read::Whole
        } else if held <= self.longest {
            Read::Changed
        } else {
            self.most = self.most.min(rows.max(1));
            Read::Cut
        };
        self.longest = self.longest.max(rows);
        read
    }
}

/// Whether the cells hold what their hours held a moment before; an answer that was cut, or that
/// comes from a replica that lags behind, has fewer. PURE.
fn hold_as_many(hours: &[Differs], cells: &BTreeMap<Cell, Held>) -> bool {
    let mut held: BTreeMap<Hour, u64> = BTreeMap::new();
    for (cell, of) in cells {
        *held.entry(cell.hour).or_default() += of.count;
    }
    let found = |hour: Hour| held.get(&hour).copied().unwrap_or_default();
    hours.iter().all(|differs| found(differs.cell.hour) >= differs.held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_as_small_as_an_answer_wants_them() {
        let of = |expected, held| Differs {
            cell: Cell {
                prefix: 0,
                hour: Hour(0),
            },
            must: expected,
            overdue: 0,
            expected,
            held,
        };
        for (hours, wanted) in [
            (&[][..], 0),
            (&[of(20_000, 0), of(20_000, 5)], 0),
            (&[of(0, 41_000)], 1),
            (&[of(600_000, 590_000)], 1),
            (&[of(7_000_000, 0)], 2),
            (&[of(9_000_000_000, 0)], 2),
        ] {
            assert_eq!(digits(hours), wanted, "{hours:?}");
        }
    }

    #[test]
    fn a_cut_answer_is_told_from_one_whose_events_are_gone() {
        // An older server: 10,000 rows at most.
        let mut old = Answers::default();
        assert_eq!(old.judge(40_000, 10_000), Read::Cut);
        assert!(!old.may_hold(20_000) && old.may_hold(10_000));
        assert_eq!(old.judge(10_000, 10_000), Read::Whole);
        assert_eq!(old.judge(9_999, 9_000), Read::Changed);
        // A few events were deleted between the count and the question.
        let mut new = Answers::default();
        assert_eq!(new.judge(40_000, 39_990), Read::Cut, "it may be one");
        assert!(new.may_hold(20_000));
        assert_eq!(new.judge(20_000, 19_995), Read::Changed);
        assert_eq!(new.judge(40_000, 40_010), Read::Whole, "some came");
        // No row at all never makes everything missing.
        assert_eq!(Answers::default().judge(5, 0), Read::Cut);
        assert_eq!(new.judge(38_000, 0), Read::Changed);
    }

    #[test]
    fn cells_with_fewer_events_than_their_hours_are_not_believed() {
        let cell = |prefix, hour| Cell {
            prefix,
            hour: Hour(hour),
        };
        let held = |count| Held { count, xor: Some(0) };
        let hours = [Differs {
            cell: cell(0, 7),
            must: 9,
            overdue: 0,
            expected: 9,
            held: 5,
        }];
        let fits = |cells: &[(Cell, Held)]| hold_as_many(&hours, &cells.iter().copied().collect());
        assert!(fits(&[(cell(1, 7), held(2)), (cell(9, 7), held(3))]));
        assert!(!fits(&[(cell(1, 7), held(4)), (cell(9, 8), held(3))]));
        assert!(!fits(&[]));
    }
}
