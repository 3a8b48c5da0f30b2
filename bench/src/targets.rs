//! PURE: the targets, and whether they were held.

use serde::Serialize;

use crate::sample::{Case, PACED, Sample, Spread, as_f64, ratio};

const MIB: f64 = 1024.0 * 1024.0;

/// What a worker without work took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleWorker {
    /// Bytes it holds
    pub memory: u64,
    /// CPU seconds
    pub cpu: f64,
    /// Seconds it was watched
    pub watched: f64,
}

/// Size of the same bodies, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Compressed {
    /// Before compression
    pub json: u64,
    /// As the worker sent them
    pub worker: u64,
    /// By gzip level 6
    pub gzip_6: u64,
}

/// A target and what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Of what
    pub what: &'static str,
    /// What is wanted
    pub wanted: String,
    /// What was found; none when it was not measured
    pub found: Option<String>,
    /// Whether it was held
    pub held: Option<bool>,
}

/// Where a target lies.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Between(f64, f64),
}

use Bound::{AtLeast, AtMost, Between};

impl Bound {
    fn holds(self, found: f64) -> bool {
        match self {
            AtMost(bound) => found <= bound,
            AtLeast(bound) => found >= bound,
            Between(low, high) => (low..=high).contains(&found),
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            AtMost(bound) => format!("≤ {bound}{unit}"),
            AtLeast(bound) => format!("≥ {bound}{unit}"),
            Between(low, high) => format!("{low}–{high}{unit}"),
        }
    }
}

/// All of them.
pub fn targets(samples: &[Sample], idle: Option<IdleWorker>, compressed: Option<Compressed>) -> Vec<Target> {
    let wall = |above, below| ratio(samples, above, below, |sample| Some(sample.wall));
    let per_event = |above, below| {
        ratio(samples, above, below, |sample| {
            Some(sample.wall / as_f64(sample.events))
        })
    };
    let day = Case::Worker(0);
    vec![
        times(
            "posthog-node's time over ours, answers at once",
            AtLeast(10.0),
            wall(Case::PosthogNode(0), day),
        ),
        times(
            "the same, answers after 50 ms",
            AtLeast(18.0),
            wall(Case::PosthogNode(50), Case::Worker(50)),
        ),
        times(
            "our time with answers after 200 ms over that with answers at once",
            AtMost(1.15),
            wall(Case::Worker(200), day),
        ),
        times(
            "posthog-node's CPU over the worker's",
            AtLeast(12.0),
            ratio(samples, Case::PosthogNode(0), day, |sample| sample.cpu),
        ),
        times(
            "our time over the database's own limit (COPY, 3 connections)",
            AtMost(1.1),
            wall(day, Case::Copy(3)),
        ),
        times("the same, the stretch goal", AtMost(1.0), wall(day, Case::Copy(3))),
        times(
            "PostgreSQL's CPU over that of COPY in one connection",
            AtMost(0.75),
            ratio(samples, day, Case::Copy(1), |sample| Some(sample.postgres_cpu)),
        ),
        times(
            "time over that of the other commit's worker",
            AtMost(1.05),
            wall(day, Case::Other(0)),
        ),
        times(
            "CPU over that of the other commit's worker",
            AtMost(1.05),
            ratio(samples, day, Case::Other(0), |sample| sample.cpu),
        ),
        number(
            "peak memory of the worker",
            AtMost(64.0),
            " MiB",
            peak_of(samples, |case| matches!(case, Case::Worker(_))),
        ),
        times(
            "peak memory, a day ten times as large over a small one",
            AtMost(1.1),
            ratio(samples, Case::LargeDay, Case::BareDay, |sample| {
                sample.peak_memory.map(as_f64)
            }),
        ),
        times(
            "time per event, a day ten times as large over a small one",
            AtMost(1.1),
            per_event(Case::LargeDay, Case::BareDay),
        ),
        times(
            "time per event, four projects at once over one job",
            AtMost(1.0),
            per_event(Case::Projects, day),
        ),
        // Their rows are stored in another order than those of the one large job. So the cost of
        // four jobs at once is compared with the same four one after the other.
        times(
            "time, four projects at once over the same rows one job after the other",
            AtMost(1.0),
            wall(Case::Projects, Case::ProjectsInTurn),
        ),
        times(
            "time per event, two workers with a day each over one job",
            AtMost(1.0),
            per_event(Case::Workers, day),
        ),
        times(
            "PostgreSQL's CPU, the day in 24 steps and the rest over one job",
            AtMost(2.2),
            ratio(samples, Case::Steps, day, |sample| Some(sample.postgres_cpu)),
        ),
        times(
            "the worker's CPU, the same",
            AtMost(1.6),
            ratio(samples, Case::Steps, day, |sample| sample.cpu),
        ),
        times(
            "bytes sent, the same",
            AtMost(1.05),
            ratio(samples, Case::Steps, day, |sample| Some(as_f64(sample.bytes))),
        ),
        times(
            "PostgreSQL's CPU, what changed of a day (1 %) over the day",
            AtMost(1.0),
            ratio(samples, Case::Settled, day, |sample| Some(sample.postgres_cpu)),
        ),
        times(
            "bytes sent, the same",
            AtMost(0.02),
            ratio(samples, Case::Settled, day, |sample| Some(as_f64(sample.bytes))),
        ),
        times(
            "PostgreSQL's CPU, verify over the export of the same day",
            AtMost(0.35),
            ratio(samples, Case::Arrival, day, |sample| Some(sample.postgres_cpu)),
        ),
        times(
            "the same, 1 % is missing, all over the day",
            AtMost(1.0),
            ratio(samples, Case::Missing, day, |sample| Some(sample.postgres_cpu)),
        ),
        number(
            "peak memory of verify",
            AtMost(40.0),
            " MiB",
            peak_of(samples, |case| case.verifies().is_some()),
        ),
        times(
            "events a second over EVENTS_PER_SECOND",
            Between(0.95, 1.05),
            Spread::of(
                samples
                    .iter()
                    .filter(|sample| sample.case == Case::Paced)
                    // What the last batch holds is charged after it has come.
                    .map(|sample| PACED * (1.0 - 1.0 / as_f64(sample.batches)) / sample.sending),
            ),
        ),
        number(
            "memory of an idle worker",
            AtMost(25.0),
            " MiB",
            idle.map(|idle| as_f64(idle.memory) / MIB),
        ),
        number(
            "CPU of an idle worker, per thousand",
            AtMost(1.0),
            " ‰",
            idle.map(|idle| 1000.0 * idle.cpu / idle.watched),
        ),
        number(
            "bytes sent over those of gzip level 6",
            AtMost(1.4),
            " ×",
            compressed.map(|size| as_f64(size.worker) / as_f64(size.gzip_6)),
        ),
    ]
}

/// The greatest peak of some cases, in MiB.
fn peak_of(samples: &[Sample], of: fn(&Case) -> bool) -> Option<f64> {
    let own = samples.iter().filter(|sample| of(&sample.case));
    let peak = own.filter_map(|sample| sample.peak_memory).max()?;
    Some(as_f64(peak) / MIB)
}

/// A target for a ratio.
pub(crate) fn times(what: &'static str, bound: Bound, found: Option<Spread>) -> Target {
    Target {
        what,
        wanted: bound.text(" ×"),
        found: found.map(|found| format!("{:.2} × ({:.2}–{:.2})", found.median, found.min, found.max)),
        held: found.map(|found| bound.holds(found.median)),
    }
}

/// A target for a number with its unit.
pub(crate) fn number(what: &'static str, bound: Bound, unit: &str, found: Option<f64>) -> Target {
    Target {
        what,
        wanted: bound.text(unit),
        found: found.map(|found| format!("{found:.2}{unit}")),
        held: found.map(|found| bound.holds(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::sample;

    fn held(samples: &[Sample]) -> Vec<(&'static str, bool)> {
        let targets = targets(samples, None, None);
        targets
            .iter()
            .filter_map(|target| Some((target.what, target.held?)))
            .collect()
    }

    #[test]
    fn what_was_not_measured_is_neither_held_nor_missed() {
        let targets = targets(&[], None, None);
        assert!(
            targets
                .iter()
                .all(|target| target.held.is_none() && target.found.is_none())
        );
    }

    #[test]
    fn bounds_are_inclusive_and_point_the_right_way() {
        let samples = |ours: f64, theirs: f64| {
            [
                sample(Case::Worker(0), 1, ours, 1.0),
                sample(Case::PosthogNode(0), 1, theirs, 12.0),
            ]
        };
        let time = "posthog-node's time over ours, answers at once";
        assert!(held(&samples(1.0, 10.0)).contains(&(time, true)));
        assert!(held(&samples(1.0, 9.9)).contains(&(time, false)));
        assert!(held(&samples(1.0, 9.9)).contains(&("posthog-node's CPU over the worker's", true)));
        let limit = |ours| {
            held(&[
                sample(Case::Worker(0), 1, ours, 1.0),
                sample(Case::Copy(3), 1, 1.0, 0.0),
            ])
        };
        let what = "our time over the database's own limit (COPY, 3 connections)";
        assert!(limit(1.1).contains(&(what, true)) && limit(1.11).contains(&(what, false)));
    }

    #[test]
    fn a_commit_may_cost_no_more_than_the_other() {
        let against = |ours: f64, theirs: f64| {
            held(&[
                sample(Case::Worker(0), 1, ours, ours),
                sample(Case::Other(0), 1, theirs, theirs),
            ])
        };
        for what in ["time", "CPU"].map(|what| format!("{what} over that of the other commit's worker")) {
            let found =
                |samples: Vec<(&str, bool)>| samples.iter().find(|(name, _)| *name == what).map(|found| found.1);
            assert_eq!(found(against(1.05, 1.0)), Some(true));
            assert_eq!(found(against(1.06, 1.0)), Some(false));
            assert_eq!(found(held(&[sample(Case::Worker(0), 1, 1.0, 1.0)])), None);
        }
    }

    #[test]
    fn several_jobs_are_compared_by_the_event() {
        let mut two = sample(Case::Workers, 1, 9.0, 1.0);
        two.events *= 2;
        let found = held(&[sample(Case::Worker(0), 1, 5.0, 1.0), two]);
        assert!(found.contains(&("time per event, two workers with a day each over one job", true)));
    }

    #[test]
    fn the_greatest_peak_counts_and_idle_is_per_thousand() {
        let mut high = sample(Case::Worker(200), 2, 1.0, 1.0);
        high.peak_memory = Some(65 << 20);
        let samples = [sample(Case::Worker(0), 1, 1.0, 1.0), high];
        let idle = IdleWorker {
            memory: 20 << 20,
            cpu: 0.02,
            watched: 10.0,
        };
        let all = targets(&samples, Some(idle), None);
        let find = |what: &str| all.iter().find(|target| target.what == what).unwrap();
        assert_eq!(find("peak memory of the worker").held, Some(false));
        assert_eq!(find("memory of an idle worker").held, Some(true));
        assert_eq!(
            find("CPU of an idle worker, per thousand").found.as_deref(),
            Some("2.00 ‰")
        );
    }
}
