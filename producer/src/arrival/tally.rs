//! What a stream holds in an hour, folded to a few numbers: how many events, and the XOR of their
//! uuids. Two sides with the same numbers hold the same events. PURE.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use shared::job::Stream;
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

    /// Whether the uuid's text begins with one of these digits; they are neighbours, in order.
    pub(super) fn begins_with(self, prefixes: &[Prefix]) -> bool {
        let (Some(first), Some(last)) = (prefixes.first(), prefixes.last()) else {
            return false;
        };
        let own = self.0.checked_shr(64 - 4 * first.length).unwrap_or(0);
        (first.digits..=last.digits).contains(&own)
    }
}

/// The first hexadecimal digits of uuids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    digits: u64,
    length: u32,
}

impl Prefix {
    /// Longer ones would be split by the first hyphen, and are never needed.
    pub(super) const LONGEST: u32 = 6;

    /// The sixteen that are one digit longer.
    pub(super) fn children(self) -> impl Iterator<Item = Self> {
        (0..16).map(move |digit| Self {
            digits: self.digits << 4 | digit,
            length: self.length + 1,
        })
    }

    /// All prefixes of that length that begin with this one.
    pub(super) fn to_length(self, length: u32) -> Vec<Self> {
        let mut all = vec![self];
        while all.first().is_some_and(|prefix| prefix.length < length) {
            all = all.into_iter().flat_map(Self::children).collect();
        }
        all
    }

    pub(super) fn length(self) -> u32 {
        self.length
    }

    pub(super) fn text(self) -> String {
        match self.length {
            0 => String::new(),
            length => format!("{:0width$x}", self.digits, width = length as usize),
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

/// What PostHog ought to hold of a stream's hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Events that must be there
    pub(super) must: Tally,
    /// Events that may be there or not: late rows, and rows that were refused
    pub(super) may: Tally,
}

/// What PostHog holds of a stream's hour.
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

pub(super) type Place = (Stream, Hour);

/// The hours of a stream between which the two sides differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) stream: Stream,
    pub(super) from: Hour,
    /// Exclusive
    pub(super) until: Hour,
    /// What we expect there, together
    pub(super) expected: u64,
    /// What they hold there
    pub(super) held: u64,
}

/// For each stream that differs, the range of hours to look at by uuid. Where the other side has
/// counts only, equal counts may hide a difference in other hours: then it is the whole day.
pub(super) fn differing(
    ours: &BTreeMap<Place, Expected>,
    theirs: &BTreeMap<Place, Held>,
    streams: &[Stream],
    day: std::ops::Range<Hour>,
) -> Vec<Range> {
    let look = |stream: Stream| {
        let hours = || (day.start.0..day.end.0).map(Hour);
        let at = |hour: Hour| {
            let expected = ours.get(&(stream, hour)).copied().unwrap_or_default();
            let held = theirs.get(&(stream, hour)).copied();
            // An hour without events was not counted in any way.
            (expected, held.unwrap_or(Held { count: 0, xor: Some(0) }))
        };
        let differs = |hour: &Hour| {
            let (expected, held) = at(*hour);
            !expected.is_met(held)
        };
        let first = hours().find(differs)?;
        let last = hours().rfind(differs)?;
        let is_weak = hours().any(|hour| at(hour).1.xor.is_none());
        let (from, until) = if is_weak {
            (day.start, day.end)
        } else {
            (first, last.next())
        };
        let within = || (from.0..until.0).map(Hour).map(at);
        Some(Range {
            stream,
            from,
            until,
            expected: within().map(|(e, _)| e.must.count + e.may.count).sum(),
            held: within().map(|(_, held)| held.count).sum(),
        })
    };
    streams.iter().copied().filter_map(look).collect()
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
    fn prefixes_are_those_of_the_text() {
        let of = |text: &str| EventKey::of(text.parse().unwrap());
        let key = of("0a1b2c3d-0000-0000-0000-000000000000");
        let all = Prefix::default().to_length(2);
        assert_eq!(all.len(), 256);
        let fitting: Vec<String> = all
            .into_iter()
            .filter(|prefix| key.begins_with(&[*prefix]))
            .map(Prefix::text)
            .collect();
        assert_eq!(fitting, ["0a"]);
        assert!(key.begins_with(&[Prefix::default()]) && !key.begins_with(&[]));
        let some = Prefix::default().to_length(1);
        assert!(key.begins_with(&some[..3]) && !key.begins_with(&some[1..]));
        assert_eq!(Prefix::default().text(), "");
    }

    #[test]
    fn only_what_differs_is_looked_at() {
        use Stream::{Score, Trace};
        let key = |n| EventKey::of(uuid(n));
        let must = |keys: &[u64], may: &[u64]| {
            let mut expected = Expected::default();
            for n in keys {
                expected.must.add(key(*n));
            }
            for n in may {
                expected.may.add(key(*n));
            }
            expected
        };
        let held = |keys: &[u64]| {
            let tally = must(keys, &[]).must;
            Held {
                count: tally.count,
                xor: Some(tally.xor),
            }
        };
        let ours: BTreeMap<Place, Expected> = [
            ((Trace, Hour(0)), must(&[1, 2], &[])),
            ((Trace, Hour(3)), must(&[3], &[4])),
            ((Score, Hour(5)), must(&[5, 6], &[7])),
        ]
        .into();
        let range = |theirs: &[(Place, Held)]| {
            let theirs = theirs.iter().copied().collect();
            let ranges = differing(&ours, &theirs, &[Trace, Score], Hour(0)..Hour(24));
            let shown = |r: &Range| (r.stream, r.from.0, r.until.0, r.expected, r.held);
            ranges.iter().map(shown).collect::<Vec<_>>()
        };
        let same = [
            ((Trace, Hour(0)), held(&[1, 2])),
            ((Trace, Hour(3)), held(&[3])),
            ((Score, Hour(5)), held(&[5, 6, 7])),
        ];
        assert_eq!(range(&same), []);
        let mut other = same;
        other[0].1 = held(&[1, 8]);
        assert_eq!(range(&other), [(Trace, 0, 1, 2, 2)]);
        assert_eq!(range(&same[..2]), [(Score, 5, 6, 3, 0)]);
        let mut weak = same;
        for (_, held) in &mut weak {
            held.xor = None;
        }
        assert_eq!(range(&weak), [], "equal counts are all that can be said");
        weak[1].1.count = 9;
        assert_eq!(range(&weak), [(Trace, 0, 24, 4, 11)]);
    }
}
