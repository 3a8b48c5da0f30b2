//! Which rows of a day PostHog must hold, by the runs that were completed. PURE.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, Utc};
use shared::coverage::MARGIN;
use shared::job::{Day, Span, Stream};
use shared::ledger::CompletedRun;

/// The completed runs of a day that sent to one target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<CompletedRun>);

/// Why a day cannot be verified, as far as the ledger tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCovered {
    /// No whole run was completed
    #[error("no run of the whole day is completed")]
    NotExported,
    /// It went elsewhere
    #[error(
        "the day was exported to another host or with another key than the project has now; `producer replay` sends it to the present one"
    )]
    OtherTarget,
}

impl Runs {
    /// Those that sent to this target. A run that was completed long ago counts like a new one.
    pub(crate) fn to(target: &str, runs: &[CompletedRun]) -> Result<Self, NotCovered> {
        let is_ours = |run: &&CompletedRun| run.target.as_deref() == Some(target);
        let ours: Vec<CompletedRun> = runs.iter().filter(is_ours).cloned().collect();
        let is_whole = |run: &CompletedRun| run.is_full;
        if ours.iter().any(is_whole) {
            Ok(Self(ours))
        } else if runs.iter().any(is_whole) {
            Err(NotCovered::OtherTarget)
        } else {
            Err(NotCovered::NotExported)
        }
    }

    /// When the last of them was completed, and its name.
    pub(crate) fn last(&self) -> Option<(DateTime<Utc>, &str)> {
        let last = self.0.iter().max_by_key(|run| run.completed_at)?;
        Some((last.completed_at, last.run.as_str()))
    }

    /// The streams that any of them has read to the end.
    pub(crate) fn streams(&self) -> Vec<Stream> {
        let read: BTreeSet<Stream> = self.0.iter().flat_map(|run| run.done.iter().copied()).collect();
        Stream::ALL.into_iter().filter(|stream| read.contains(stream)).collect()
    }

    /// Whether some run has certainly sent a row that was created then.
    pub(crate) fn have_sent(&self, day: Day, stream: Stream, time: NaiveDateTime, created: NaiveDateTime) -> bool {
        let created = created.and_utc();
        self.0.iter().any(|run| {
            let Span { from, until } = run.span.unwrap_or(Span::of(day));
            let before = run.began.checked_sub_signed(MARGIN).unwrap_or(run.began);
            run.done.contains(&stream)
                && (from.naive_utc()..until.naive_utc()).contains(&time)
                && created < before
                && run.created_after.is_none_or(|since| created >= since)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2024-06-{text}Z").parse().unwrap()
    }

    fn run(name: &str, began: &str, done: &[Stream]) -> CompletedRun {
        CompletedRun {
            run: name.to_owned(),
            target: Some("here".to_owned()),
            is_full: true,
            began: at(began),
            completed_at: at(began) + chrono::TimeDelta::minutes(9),
            created_after: None,
            span: None,
            done: done.to_vec(),
        }
    }

    #[test]
    fn a_row_must_be_there_if_a_run_has_certainly_read_it() {
        use Stream::{Generation, Observation, Score, Trace};
        let day: Day = "2024-06-01".parse().unwrap();
        let late = CompletedRun {
            is_full: false,
            created_after: Some(at("02T01:00:00")),
            ..run("late-1", "03T01:00:00", &[Trace, Generation, Score])
        };
        let morning = CompletedRun {
            is_full: false,
            span: Some(Span {
                from: at("01T00:00:00"),
                until: at("01T12:00:00"),
            }),
            ..run("again", "04T00:00:00", &[Trace])
        };
        let daily = run("daily", "02T01:00:00", &[Trace, Generation, Score]);
        let runs = Runs::to("here", &[daily, late, morning]).unwrap();
        let time = |text: &str| at(text).naive_utc();
        for (what, stream, when, created, sent) in [
            ("as usual", Trace, "01T15:00:00", "01T15:00:01", true),
            ("within the margin", Score, "01T15:00:00", "02T00:55:00", false),
            ("by the late run", Score, "01T15:00:00", "02T01:00:00", true),
            ("after the late run", Score, "01T15:00:00", "03T02:00:00", false),
            ("by the part of the day", Trace, "01T11:59:59", "03T02:00:00", true),
            ("not in that part", Trace, "01T12:00:00", "03T02:00:00", false),
            (
                "no run read the stream",
                Observation,
                "01T15:00:00",
                "01T15:00:01",
                false,
            ),
        ] {
            let must = runs.have_sent(day, stream, time(when), time(created));
            assert_eq!(must, sent, "{what}");
        }
        assert_eq!(runs.streams(), [Trace, Generation, Score]);
        assert_eq!(runs.last().map(|(_, name)| name), Some("again"));
    }

    #[test]
    fn a_day_that_went_elsewhere_is_not_judged() {
        let mut elsewhere = run("daily", "02T01:00:00", &Stream::USUAL);
        elsewhere.target = Some("there".to_owned());
        let mut part = run("part", "02T01:00:00", &Stream::USUAL);
        part.is_full = false;
        let judged = |runs: &[CompletedRun]| Runs::to("here", runs).map(|_| ()).unwrap_err();
        assert_eq!(judged(&[elsewhere, part.clone()]), NotCovered::OtherTarget);
        assert_eq!(judged(&[part]), NotCovered::NotExported);
    }
}
