//! What the completed runs of a day have sent already, so that a run with `changed` sends the rest.
//! PURE.
//!
//! A row was *touched* at the latest of the times at which it, its trace or (for a trace) one of
//! its observations was created or updated. A run has certainly read the present form of a row that
//! was touched before the run *began*, less [`MARGIN`]. Where that is in doubt, the row is sent
//! again: PostHog folds copies of the same uuid, but nothing brings back a row that was left out.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

use crate::job::Stream;

/// Clocks differ, transactions commit late, replicas lag.
pub const MARGIN: TimeDelta = TimeDelta::minutes(5);

/// A completed run of the same project, day and target, which had no `created_after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covering {
    /// When its cursors were last at the beginning: by the database's clock, and on a replica no
    /// later than the last change that it had replayed
    pub began: DateTime<Utc>,
    /// The first moment of its window
    pub from: NaiveDateTime,
    /// The first moment behind its window
    pub until: NaiveDateTime,
    /// The streams that it has read to their end
    pub done: BTreeSet<Stream>,
}

/// The completed runs of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(Vec<Covering>);

impl Coverage {
    /// Of these runs.
    pub fn of(mut runs: Vec<Covering>) -> Self {
        // The first that holds a row's time is then the last that began.
        runs.sort_by_key(|run| std::cmp::Reverse(run.began));
        Self(runs)
    }

    /// When the last run began that has read the rows of this stream at this time; `None` when no
    /// run has.
    pub fn began(&self, stream: Stream, time: NaiveDateTime) -> Option<DateTime<Utc>> {
        let holds = |run: &&Covering| run.from <= time && time < run.until && run.done.contains(&stream);
        self.0.iter().find(holds).map(|run| run.began)
    }

    /// Whether a row must be sent.
    pub fn must_send(&self, stream: Stream, time: NaiveDateTime, touched: NaiveDateTime) -> bool {
        let certain = self
            .began(stream, time)
            .and_then(|began| began.checked_sub_signed(MARGIN));
        certain.is_none_or(|certain| touched.and_utc() >= certain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(minutes: i64) -> DateTime<Utc> {
        "2024-06-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minutes)
    }

    fn at(minutes: i64) -> NaiveDateTime {
        moment(minutes).naive_utc()
    }

    fn run(began: i64, from: i64, until: i64, done: &[Stream]) -> Covering {
        Covering {
            began: moment(began),
            from: at(from),
            until: at(until),
            done: done.iter().copied().collect(),
        }
    }

    #[test]
    fn what_was_covered_and_not_touched_since_is_left_out() {
        use Stream::{Generation, Score, Trace};
        let coverage = Coverage::of(vec![
            run(70, 0, 60, &Stream::ALL),
            run(130, 60, 120, &[Trace, Score]),
            run(300, 0, 60, &[Score]),
        ]);
        for (what, stream, time, touched, sent) in [
            ("no run covers it", Trace, 120, 120, true),
            ("the run did not read this stream", Generation, 60, 60, true),
            ("covered, and not touched since", Trace, 59, 64, false),
            ("touched within the margin", Trace, 59, 65, true),
            ("touched after the run began", Trace, 0, 200, true),
            ("covered by a later run, too", Score, 0, 200, false),
        ] {
            let must = coverage.must_send(stream, at(time), at(touched));
            assert_eq!(must, sent, "{what}");
        }
    }

    #[test]
    fn without_runs_everything_is_sent() {
        assert!(Coverage::default().must_send(Stream::Trace, at(0), at(0)));
    }

    /// A run as it happens: its pages read the rows at some moment between its beginning and its
    /// end.
    #[derive(Clone, Debug)]
    struct Happened {
        began: i64,
        reads: i64,
        from: i64,
        until: i64,
        streams: BTreeSet<Stream>,
        /// Dead, skipped, discarded or to another target: then it covers nothing
        counts: bool,
    }

    fn happened() -> impl Strategy<Value = Happened> {
        let streams = proptest::sample::subsequence(Stream::ALL.to_vec(), 0..=Stream::ALL.len());
        (
            0..2_000_i64,
            0..60_i64,
            0..1_440_i64,
            1..1_440_i64,
            streams,
            prop::bool::weighted(0.8),
        )
            .prop_map(|(began, reading, from, length, streams, counts)| Happened {
                began,
                reads: began + reading,
                from,
                until: from + length,
                streams: streams.into_iter().collect(),
                counts,
            })
    }

    proptest! {
        /// For any history and any row: either a run that counts has read its present form, or it
        /// is sent. `late` is how long a change takes to become visible, up to the margin.
        #[test]
        fn nothing_is_left_out_that_was_not_sent(
            runs in proptest::collection::vec(happened(), 0..8), time in 0..1_440_i64,
            touches in proptest::collection::vec(0..2_000_i64, 1..4), late in 0..5_i64,
        ) {
            let stream = Stream::Trace;
            let touched = touches.iter().copied().max().unwrap_or_default();
            let counting = runs.iter().filter(|run| run.counts);
            let covering = counting.clone().map(|run| Covering {
                began: moment(run.began), from: at(run.from), until: at(run.until), done: run.streams.clone(),
            });
            let left_out = !Coverage::of(covering.collect()).must_send(stream, at(time), at(touched));
            let has_read = |run: &Happened| {
                run.streams.contains(&stream) && (run.from..run.until).contains(&time) && run.reads >= touched + late
            };
            if left_out {
                prop_assert!(counting.clone().any(has_read));
            }
        }

        /// And nothing is sent twice for nothing: what a run covered, and nobody touched for the
        /// margin before it began, is left out.
        #[test]
        fn what_lay_still_is_left_out(runs in proptest::collection::vec(happened(), 1..8), time in 0..1_440_i64) {
            let covering = |run: &Happened| Covering {
                began: moment(run.began), from: at(run.from), until: at(run.until), done: run.streams.clone(),
            };
            let coverage = Coverage::of(runs.iter().map(covering).collect());
            let stream = Stream::Score;
            for run in runs.iter().filter(|run| run.streams.contains(&stream) && (run.from..run.until).contains(&time)) {
                prop_assert!(!coverage.must_send(stream, at(time), at(run.began - 6)));
            }
        }
    }
}
