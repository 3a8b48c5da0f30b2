//! PURE: what is measured, and what a list of measurements says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::memory::Held;

/// A piece of work that is measured again and again. The order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// The worker, one day, with that delay of the receiver's answers in milliseconds
    Worker(u64),
    /// The same by another commit's worker
    Other(u64),
    /// The same day by posthog-node
    PosthogNode(u64),
    /// The same rows by COPY, in so many connections
    Copy(usize),
    /// Four projects at once on one worker, together as many rows
    Projects,
    /// The same four, one after the other
    ProjectsInTurn,
    /// Two workers, a day each
    Workers,
    /// The worker, the day in 24 steps and a run for the rest
    Steps,
    /// The worker, what changed of the day: one event of a hundred
    Settled,
    /// The worker with `EVENTS_PER_SECOND`, a job of each lane at once
    Paced,
    /// `producer verify` on the day, which has arrived
    Arrival,
    /// The same, where one event of a hundred is missing, everywhere in the day
    Missing,
    /// The worker, a day without inputs and outputs
    BareDay,
    /// The same, ten times as large
    LargeDay,
    /// `producer verify` on that, which has arrived
    LargeArrival,
    /// The same, where one event of a hundred is missing
    LargeMissing,
}

/// For how many seconds the events of [`Case::Paced`] are enough, at the rate that is asked for.
pub const PACED: f64 = 10.0;

impl Case {
    /// Whether it is one of `producer verify`, and whether events are missing in it.
    pub fn verifies(self) -> Option<bool> {
        match self {
            Self::Arrival | Self::LargeArrival => Some(false),
            Self::Missing | Self::LargeMissing => Some(true),
            _ => None,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(latency) => write!(f, "worker, answers after {latency} ms"),
            Self::Other(latency) => write!(f, "the other commit's worker, answers after {latency} ms"),
            Self::PosthogNode(latency) => write!(f, "posthog-node, answers after {latency} ms"),
            Self::Copy(1) => f.write_str("COPY, 1 connection"),
            Self::Copy(connections) => write!(f, "COPY, {connections} connections"),
            Self::Projects => f.write_str("worker, four projects at once"),
            Self::ProjectsInTurn => f.write_str("worker, the same four in turn"),
            Self::Workers => f.write_str("two workers, a day each"),
            Self::Steps => f.write_str("worker, the day in 24 steps and the rest"),
            Self::Settled => f.write_str("worker, what changed of the day, 1 %"),
            Self::Paced => write!(f, "worker, two jobs within EVENTS_PER_SECOND, {PACED:.0} s of it"),
            Self::Arrival => f.write_str("verify, a day that has arrived"),
            Self::Missing => f.write_str("verify, 1 % is missing, all over the day"),
            Self::BareDay => f.write_str("worker, bare day"),
            Self::LargeDay => f.write_str("worker, bare day, ten times as large"),
            Self::LargeArrival => f.write_str("verify, that large day, which has arrived"),
            Self::LargeMissing => f.write_str("verify, the same, 1 % is missing, all over the day"),
        }
    }
}

impl Serialize for Case {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Of what
    pub case: Case,
    /// In which round
    pub round: u32,
    /// Seconds from begin to end
    pub wall: f64,
    /// CPU seconds of its own processes
    pub cpu: Option<f64>,
    /// CPU seconds of PostgreSQL
    pub postgres_cpu: f64,
    /// Bytes
    pub peak_memory: Option<u64>,
    /// Memory over time: seconds and bytes; kept of the first round, and empty where it was not looked at
    pub memory: Vec<Held>,
    /// Events
    pub events: u64,
    /// Batches the receiver got
    pub batches: u64,
    /// Bytes the receiver got
    pub bytes: u64,
    /// Seconds from the first batch to the last
    pub sending: f64,
    /// CPU seconds of the receiver
    pub receiver_cpu: f64,
}

/// A median, and how far the measurements lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or between the two middle ones
    pub median: f64,
    /// The least
    pub min: f64,
    /// The greatest
    pub max: f64,
}

impl Spread {
    /// `None` for an empty list.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { median, min, max })
    }
}

/// What the measurements of one case say.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Of what
    pub case: Case,
    /// How many measurements
    pub runs: usize,
    /// Seconds
    pub wall: Spread,
    /// CPU seconds
    pub cpu: Option<Spread>,
    /// CPU seconds
    pub postgres_cpu: Spread,
    /// Bytes
    pub peak_memory: Option<Spread>,
    /// CPU seconds
    pub receiver_cpu: Spread,
    /// Events of each
    pub events: u64,
    /// Bytes sent, the median
    pub bytes: f64,
}

/// One summary a case, in the order of the cases.
pub fn summaries(samples: &[Sample]) -> Vec<Summary> {
    let mut cases: Vec<Case> = samples.iter().map(|sample| sample.case).collect();
    cases.sort_unstable();
    cases.dedup();
    cases.into_iter().filter_map(|case| summary(samples, case)).collect()
}

fn summary(samples: &[Sample], case: Case) -> Option<Summary> {
    let own: Vec<&Sample> = samples.iter().filter(|sample| sample.case == case).collect();
    let spread = |value: fn(&Sample) -> f64| Spread::of(own.iter().map(|sample| value(sample)));
    Some(Summary {
        case,
        runs: own.len(),
        wall: spread(|sample| sample.wall)?,
        cpu: Spread::of(own.iter().filter_map(|sample| sample.cpu)),
        postgres_cpu: spread(|sample| sample.postgres_cpu)?,
        peak_memory: Spread::of(own.iter().filter_map(|sample| sample.peak_memory).map(as_f64)),
        receiver_cpu: spread(|sample| sample.receiver_cpu)?,
        events: own.first()?.events,
        bytes: spread(|sample| as_f64(sample.bytes))?.median,
    })
}

/// How often `below` fits into `above`: the medians' ratio, and the least and the greatest of the
/// rounds that have both.
pub fn ratio(samples: &[Sample], above: Case, below: Case, value: fn(&Sample) -> Option<f64>) -> Option<Spread> {
    let of = |case: Case| move |sample: &&Sample| sample.case == case;
    let median = |case| Some(Spread::of(samples.iter().filter(of(case)).filter_map(value))?.median);
    let rounds = samples.iter().filter(of(above)).filter_map(|sample| {
        let other = samples
            .iter()
            .filter(of(below))
            .find(|other| other.round == sample.round)?;
        Some(value(sample)? / value(other)?)
    });
    let rounds = Spread::of(rounds)?;
    Some(Spread {
        median: median(above)? / median(below)?,
        ..rounds
    })
}

/// Counts and sizes are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]
pub fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(case: Case, round: u32, wall: f64, cpu: f64) -> Sample {
        Sample {
            case,
            round,
            wall,
            cpu: Some(cpu),
            postgres_cpu: wall,
            peak_memory: Some(50 << 20),
            memory: Vec::new(),
            events: 700,
            batches: 1,
            bytes: 1000,
            sending: 1.0,
            receiver_cpu: 0.0,
        }
    }

    #[test]
    fn the_median_is_the_middle_one_or_between_two() {
        let median = |values: &[f64]| Spread::of(values.iter().copied()).map(|spread| spread.median);
        assert_eq!(median(&[3.0, 1.0, 10.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 10.0]), Some(3.0));
        assert_eq!(median(&[]), None);
        let spread = Spread::of([2.0, 9.0, 1.0]);
        assert_eq!(spread.map(|spread| (spread.min, spread.max)), Some((1.0, 9.0)));
    }

    #[test]
    fn ratios_are_of_medians_and_spread_over_the_rounds() {
        let (ours, theirs) = (Case::Worker(0), Case::PosthogNode(0));
        let samples: Vec<Sample> = [(1, 5.0, 50.0), (2, 4.0, 60.0), (3, 6.0, 55.0)]
            .into_iter()
            .flat_map(|(round, a, b)| [sample(ours, round, a, 1.0), sample(theirs, round, b, 1.0)])
            .collect();
        let found = ratio(&samples, theirs, ours, |sample| Some(sample.wall)).unwrap();
        assert_eq!((found.median, found.min, found.max), (11.0, 55.0 / 6.0, 15.0));
        assert!(ratio(&samples, theirs, Case::Copy(1), |sample| Some(sample.wall)).is_none());
    }

    #[test]
    fn there_is_one_summary_a_case_in_the_order_of_the_table() {
        let samples = [
            sample(Case::Copy(3), 1, 1.0, 0.0),
            sample(Case::Worker(50), 1, 2.0, 0.0),
            sample(Case::Copy(3), 2, 3.0, 0.0),
        ];
        let found = summaries(&samples);
        let cases: Vec<(Case, usize)> = found.iter().map(|summary| (summary.case, summary.runs)).collect();
        assert_eq!(cases, [(Case::Worker(50), 1), (Case::Copy(3), 2)]);
        assert!((found[1].wall.median - 2.0).abs() < f64::EPSILON);
    }
}
