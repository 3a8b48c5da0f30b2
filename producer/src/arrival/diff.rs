//! What is missing and what is extra, by uuid. PURE.

use std::collections::{BTreeMap, HashSet};

use super::tally::EventKey;

/// So many extra events are looked for in the rest of the day, and no more.
const MOST_EXTRA: usize = 200_000;
/// So many missing rows are named.
pub(super) const SAMPLES: usize = 5;

/// A row of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) key: EventKey,
    /// Hours since the beginning of the day
    pub(super) hour: u8,
    /// Whether it must be there
    pub(super) must: bool,
    /// Whether PostHog must show it by now
    pub(super) overdue: bool,
}

/// The events that PostHog holds in some cells; ours are held against them row by row, since a day
/// may have millions: nine bytes of memory an event of theirs, and none for ours.
#[derive(Clone, Debug)]
pub(super) struct Part {
    keys: Vec<EventKey>,
    /// Whether a row of ours calls for it
    called_for: Vec<bool>,
}

impl Part {
    /// They may come with copies, and in any order.
    pub(super) fn of(mut keys: Vec<EventKey>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        Self {
            called_for: vec![false; keys.len()],
            keys,
        }
    }
}

/// What a stream's comparison has found, part by part.
#[derive(Clone, Debug, Default)]
pub(super) struct Diff {
    /// Missing events by hour of the day
    pub(super) missing: BTreeMap<u8, u64>,
    /// How many of them PostHog must show by now
    pub(super) overdue: u64,
    /// Some of them
    pub(super) sample: Vec<EventKey>,
    /// Events that no row of ours calls for, as far as they are remembered
    pub(super) extra: HashSet<EventKey>,
    /// Extra events beyond those
    pub(super) more_extra: u64,
}

impl Diff {
    /// Takes in a row of ours in the cells of a part.
    pub(super) fn row(&mut self, part: &mut Part, own: Own) {
        if let Ok(at) = part.keys.binary_search(&own.key) {
            if let Some(called_for) = part.called_for.get_mut(at) {
                *called_for = true;
            }
        } else if own.must {
            *self.missing.entry(own.hour).or_default() += 1;
            self.overdue += u64::from(own.overdue);
            if self.sample.len() < SAMPLES {
                self.sample.push(own.key);
            }
        }
    }

    /// Takes in what no row of a part's cells has called for.
    pub(super) fn rest(&mut self, part: Part) {
        let extra = part.keys.into_iter().zip(part.called_for);
        for (key, _) in extra.filter(|(_, called_for)| !called_for) {
            if self.extra.len() < MOST_EXTRA {
                self.extra.insert(key);
            } else {
                self.more_extra += 1;
            }
        }
    }

    /// A row of ours at another hour of the day: its event is not extra, its time has moved.
    pub(super) fn found_elsewhere(&mut self, key: EventKey) {
        self.extra.remove(&key);
    }

    /// How many are missing.
    pub(super) fn missing(&self) -> u64 {
        self.missing.values().sum()
    }

    /// How many are extra.
    pub(super) fn extra(&self) -> u64 {
        self.more_extra + u64::try_from(self.extra.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::tally::{Cell, Expected, Held, Hour, Tally, differing, parts, window};
    use super::*;

    /// What became of a row and of its event.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Arrived,
        Dropped,
        /// Kept twice and not folded yet
        Doubled,
        /// Its time moved to this hour after it was sent
        Moved(u8),
        /// The same, and sent again: both copies are there
        MovedAndSent(u8),
        /// Deleted in Langfuse after it was sent
        Deleted,
        /// Came after the run, and was sent by another, or not
        Late {
            sent: bool,
        },
    }

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            6 => Just(Fate::Arrived),
            1 => Just(Fate::Dropped),
            1 => Just(Fate::Doubled),
            1 => (0..24_u8).prop_map(Fate::Moved),
            1 => (0..24_u8).prop_map(Fate::MovedAndSent),
            1 => Just(Fate::Deleted),
            1 => any::<bool>().prop_map(|sent| Fate::Late { sent }),
        ]
    }

    /// The whole way from rows to numbers: by hour, by cell where hours differ, by uuid where cells do.
    fn verify(rows: &[(EventKey, u8, Fate)], weak: bool, digits: u32) -> (HashSet<EventKey>, HashSet<EventKey>, Diff) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (mut missing, mut extra) = (HashSet::new(), HashSet::new());
        for (key, hour, fate) in rows.iter().copied() {
            let own = |hour, must| Own {
                key,
                hour,
                must,
                overdue: must,
            };
            match fate {
                Fate::Arrived | Fate::Doubled => {
                    ours.push(own(hour, true));
                    theirs.push((key, hour));
                    if fate == Fate::Doubled {
                        theirs.push((key, hour));
                    }
                }
                Fate::Dropped => {
                    ours.push(own(hour, true));
                    missing.insert(key);
                }
                Fate::Moved(now) => {
                    ours.push(own(now, true));
                    theirs.push((key, hour));
                }
                Fate::MovedAndSent(now) => {
                    ours.push(own(now, true));
                    theirs.push((key, hour));
                    theirs.push((key, now));
                }
                Fate::Deleted => {
                    theirs.push((key, hour));
                    extra.insert(key);
                }
                Fate::Late { sent } => {
                    ours.push(own(hour, false));
                    if sent {
                        theirs.push((key, hour));
                    }
                }
            }
        }
        let hour = |hour: u8| Hour(i64::from(hour));
        let cells = |digits: u32, hours: &dyn Fn(u8) -> bool| {
            let mut expected: BTreeMap<Cell, Expected> = BTreeMap::new();
            for own in ours.iter().filter(|own| hours(own.hour)) {
                let at = expected.entry(Cell::of(own.key, hour(own.hour), digits)).or_default();
                if own.must {
                    at.must.add(own.key);
                } else {
                    at.may.add(own.key);
                }
            }
            // `select distinct event, uuid, timestamp`
            let distinct: HashSet<_> = theirs.iter().copied().collect();
            let mut tallies: BTreeMap<Cell, Tally> = BTreeMap::new();
            for (key, at) in distinct.iter().filter(|(_, at)| hours(*at)) {
                tallies.entry(Cell::of(*key, hour(*at), digits)).or_default().add(*key);
            }
            let held = tallies.into_iter().map(|(at, Tally { count, xor })| {
                (
                    at,
                    Held {
                        count,
                        xor: (!weak).then_some(xor),
                    },
                )
            });
            differing(&expected, &held.collect())
        };
        let mut differs = cells(0, &|_| true);
        if digits > 0 {
            let within = window(&differs);
            differs = cells(digits, &|at| within.contains(&hour(at)));
        }
        let mut diff = Diff::default();
        for cells in parts(&differs, 5) {
            let is_in = |key: EventKey, at: u8| {
                let cell = Cell::of(key, hour(at), digits);
                cells.iter().any(|differs| differs.cell == cell)
            };
            let held = theirs.iter().filter(|(key, at)| is_in(*key, *at));
            let mut part = Part::of(held.map(|(key, _)| *key).collect());
            for own in ours.iter().filter(|own| is_in(own.key, own.hour)) {
                diff.row(&mut part, *own);
            }
            diff.rest(part);
        }
        for own in &ours {
            diff.found_elsewhere(own.key);
        }
        (missing, extra, diff)
    }

    proptest! {
        /// Any set of dropped, doubled, moved and deleted rows: missing and extra are exactly those.
        #[test]
        fn missing_and_extra_are_exactly_those(
            rows in proptest::collection::vec((0..24_u8, fate()), 0..80), digits in 0..3_u32, seed in any::<u64>(),
        ) {
            let rows: Vec<_> = rows.into_iter().enumerate().map(|(at, (hour, fate))| {
                let uuid = Uuid::new_v5(&Uuid::from_u64_pair(seed, 0), &at.to_le_bytes());
                (EventKey::of(uuid), hour, fate)
            }).collect();
            let (missing, extra, diff) = verify(&rows, false, digits);
            prop_assert_eq!(diff.missing(), missing.len() as u64);
            prop_assert_eq!(diff.overdue, diff.missing());
            prop_assert!(diff.sample.iter().all(|key| missing.contains(key)));
            prop_assert_eq!(&diff.extra, &extra);
        }

        /// With counts alone a difference may stay hidden, but what is found is true.
        #[test]
        fn counts_alone_never_accuse(rows in proptest::collection::vec((0..24_u8, fate()), 0..80)) {
            let rows: Vec<_> = rows.into_iter().enumerate().map(|(at, (hour, fate))| {
                (EventKey::of(Uuid::new_v5(&Uuid::nil(), &at.to_le_bytes())), hour, fate)
            }).collect();
            let (missing, extra, diff) = verify(&rows, true, 0);
            prop_assert!(diff.missing() <= missing.len() as u64);
            prop_assert!(diff.extra.is_subset(&extra));
        }
    }
}
