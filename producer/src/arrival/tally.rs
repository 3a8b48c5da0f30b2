//! What a stream holds in an hour, or in a part of one, folded to a few numbers: how many events, and
//! the XOR of their uuids. Two sides with the same numbers hold the same events. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Seconds of an hour.
const HOUR: i64 = 3_600;

/// What an event is compared by: the first eight bytes of its uuid. Of ten million events, two have
/// the same with a chance of one in ten thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EventKey(pub(super) u64);

impl EventKey {
    pub(super) fn of(uuid: Uuid) -> Self {
        Self(uuid.as_u64_pair().0)
    }

    /// As ClickHouse's `reinterpretAsUInt64` reads these bytes.
    fn folded(self) -> u64 {
        self.0.swap_bytes()
    }

    /// The first hexadecimal digits of the uuid.
    pub(super) fn prefix(self, digits: u32) -> u64 {
        self.0.checked_shr(64 - 4 * digits).unwrap_or(0)
    }
}

/// An hour, or the part of it whose uuids begin with the same hexadecimal digits. Cells of one
/// prefix are neighbours: an event whose time has moved is in another hour, under the same prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) prefix: u64,
    pub(super) hour: Hour,
}

impl Cell {
    /// Two digits make 24 × 256 cells of a day, fewer than the rows that any PostHog gives.
    pub(super) const MOST_DIGITS: u32 = 2;

    /// Where an event lies.
    pub(super) fn of(key: EventKey, hour: Hour, digits: u32) -> Self {
        let prefix = key.prefix(digits);
        Self { prefix, hour }
    }

    /// As a query names it: the hour and the digits in one word.
    pub(super) fn text(self, digits: u32) -> String {
        match digits as usize {
            0 => self.hour.0.to_string(),
            width => format!("{}{:0width$x}", self.hour.0, self.prefix),
        }
    }
}

/// Events, folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How many
    pub(super) count: u64,
    /// The XOR of their keys, as ClickHouse has it
    pub(super) xor: u64,
}

impl Tally {
    pub(super) fn add(&mut self, key: EventKey) {
        self.count += 1;
        self.xor ^= key.folded();
    }

    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            xor: self.xor ^ other.xor,
        }
    }
}

/// An hour since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Hour(pub(super) i64);

impl Hour {
    pub(super) fn of(time: DateTime<Utc>) -> Self {
        Self(time.timestamp().div_euclid(HOUR))
    }

    /// Its first moment.
    pub(super) fn start(self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0 * HOUR, 0).unwrap_or(DateTime::UNIX_EPOCH)
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What PostHog ought to hold of a stream's cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Events that must be there
    pub(super) must: Tally,
    /// Events that may be there or not: late rows, and rows that were refused
    pub(super) may: Tally,
    /// How many of those that must be there were sent so long ago that PostHog must show them
    pub(super) overdue: u64,
}

/// What PostHog holds of a stream's cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// How many distinct events
    pub(super) count: u64,
    /// The XOR of their keys; `None` from a server that has no such function
    pub(super) xor: Option<u64>,
}

impl Expected {
    /// Whether PostHog certainly holds what it ought to, as far as these numbers tell.
    fn is_met(&self, held: Held) -> bool {
        let all = self.must.and(self.may);
        match held.xor {
            Some(xor) => {
                let held = Tally { count: held.count, xor };
                held == self.must || held == all
            }
            None => (self.must.count..=all.count).contains(&held.count),
        }
    }
}

/// A cell in which the two sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Differs {
    pub(super) cell: Cell,
    /// Events that must be there
    pub(super) must: u64,
    /// Those of them that PostHog must show by now
    pub(super) overdue: u64,
    /// Events that must or may be there
    pub(super) expected: u64,
    /// Events that are there
    pub(super) held: u64,
}

/// The cells of a stream to look at by uuid, in order. Where the other side has counts only, equal
/// counts may hide a difference in other cells: as soon as one differs, it is all of them.
pub(super) fn differing(ours: &BTreeMap<Cell, Expected>, theirs: &BTreeMap<Cell, Held>) -> Vec<Differs> {
    let cells: BTreeSet<Cell> = ours.keys().chain(theirs.keys()).copied().collect();
    let is_weak = theirs.values().any(|held| held.xor.is_none());
    let mut is_met_everywhere = true;
    let differs = cells.into_iter().filter_map(|cell| {
        let expected = ours.get(&cell).copied().unwrap_or_default();
        // A cell without events was not counted in any way.
        let held = theirs.get(&cell).copied().unwrap_or(Held { count: 0, xor: Some(0) });
        let is_met = expected.is_met(held);
        is_met_everywhere &= is_met;
        (is_weak || !is_met).then_some(Differs {
            cell,
            must: expected.must.count,
            overdue: expected.overdue,
            expected: expected.must.count + expected.may.count,
            held: held.count,
        })
    });
    let differs: Vec<Differs> = differs.collect();
    if is_met_everywhere { Vec::new() } else { differs }
}

/// The hours from the first to the last of these cells.
pub(super) fn window(cells: &[Differs]) -> Range<Hour> {
    let hours = || cells.iter().map(|differs| differs.cell.hour);
    match (hours().min(), hours().max()) {
        (Some(first), Some(last)) => first..last.next(),
        _ => Hour(0)..Hour(0),
    }
}

/// The cells in parts in which PostHog holds at most so many events, as far as one prefix is no more
/// than that: all hours of a prefix stay together.
pub(super) fn parts(cells: &[Differs], most: u64) -> Vec<&[Differs]> {
    let size = |cells: &[Differs]| -> u64 { cells.iter().map(|differs| differs.held).sum() };
    let mut parts = Vec::new();
    let (mut start, mut end) = (0, 0);
    for prefix in cells.chunk_by(|a, b| a.cell.prefix == b.cell.prefix) {
        if end > start && size(&cells[start..end]) + size(prefix) > most {
            parts.push(&cells[start..end]);
            start = end;
        }
        end += prefix.len();
    }
    if end > start {
        parts.push(&cells[start..end]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(first: u64) -> Uuid {
        Uuid::from_u64_pair(first, 7)
    }

    #[test]
    fn a_key_is_folded_as_clickhouse_reads_its_bytes() {
        let uuid: Uuid = "0102030405060708090a0b0c0d0e0f10".parse().unwrap();
        let expected = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        let mut tally = Tally::default();
        tally.add(EventKey::of(uuid));
        assert_eq!(
            tally,
            Tally {
                count: 1,
                xor: expected
            }
        );
    }

    #[test]
    fn a_cell_is_named_by_its_hour_and_the_first_digits() {
        let key = EventKey::of("0a1b2c3d-0000-0000-0000-000000000000".parse().unwrap());
        let named = |digits| Cell::of(key, Hour(477_000), digits).text(digits);
        assert_eq!([named(0), named(1), named(2)], ["477000", "4770000", "4770000a"]);
        let last = EventKey(u64::MAX);
        assert_eq!(Cell::of(last, Hour(5), 2).text(2), "5ff");
    }

    fn must(keys: &[u64], may: &[u64]) -> Expected {
        let mut expected = Expected::default();
        for n in keys {
            expected.must.add(EventKey::of(uuid(*n)));
        }
        for n in may {
            expected.may.add(EventKey::of(uuid(*n)));
        }
        expected
    }

    fn held(keys: &[u64]) -> Held {
        let tally = must(keys, &[]).must;
        Held {
            count: tally.count,
            xor: Some(tally.xor),
        }
    }

    fn cell(prefix: u64, hour: i64) -> Cell {
        Cell {
            prefix,
            hour: Hour(hour),
        }
    }

    #[test]
    fn only_what_differs_is_looked_at() {
        let ours: BTreeMap<Cell, Expected> = [
            (cell(0, 0), must(&[1, 2], &[])),
            (cell(0, 3), must(&[3], &[4])),
            (cell(0, 5), must(&[5, 6], &[7])),
        ]
        .into();
        let differ = |theirs: &[(Cell, Held)]| {
            let differing = differing(&ours, &theirs.iter().copied().collect());
            let shown = |d: &Differs| (d.cell.hour.0, d.must, d.expected, d.held);
            differing.iter().map(shown).collect::<Vec<_>>()
        };
        let same = [
            (cell(0, 0), held(&[1, 2])),
            (cell(0, 3), held(&[3])),
            (cell(0, 5), held(&[5, 6, 7])),
        ];
        assert_eq!(differ(&same), []);
        let mut other = same;
        other[0].1 = held(&[1, 8]);
        assert_eq!(differ(&other), [(0, 2, 2, 2)]);
        assert_eq!(differ(&same[..2]), [(5, 2, 3, 0)]);
        let more = [&same[..], &[(cell(0, 9), held(&[9]))]].concat();
        assert_eq!(differ(&more), [(9, 0, 0, 1)]);
        let mut weak = same;
        for (_, held) in &mut weak {
            held.xor = None;
        }
        assert_eq!(differ(&weak), [], "equal counts are all that can be said");
        weak[1].1.count = 9;
        assert_eq!(differ(&weak), [(0, 2, 2, 2), (3, 1, 2, 9), (5, 2, 3, 3)]);
    }

    #[test]
    fn a_part_has_all_hours_of_a_prefix_and_fits_into_memory() {
        let differs = |prefix, hour, expected, held| Differs {
            cell: cell(prefix, hour),
            must: expected,
            overdue: 0,
            expected,
            held,
        };
        let cells = [
            differs(0, 1, 3, 4),
            differs(0, 2, 5, 5),
            differs(1, 9, 1, 1),
            differs(2, 3, 0, 99),
            differs(3, 4, 10, 1),
        ];
        let lengths = |most| parts(&cells, most).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lengths(10), [3, 1, 1]);
        assert_eq!(lengths(9), [2, 1, 1, 1]);
        assert_eq!(lengths(1_000), [5]);
        assert!(parts(&[], 10).is_empty());
        assert_eq!(window(&cells), Hour(1)..Hour(10));
    }
}
