//! Which rows of a day PostHog must hold, by the runs that were completed. PURE.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, Utc};
use shared::coverage::MARGIN;
use shared::job::{Day, Span, Stream};
use shared::ledger::CompletedRun;

/// The completed runs of a day that sent to one target, the one that began last first.
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
        let mut ours: Vec<CompletedRun> = runs.iter().filter(is_ours).cloned().collect();
        ours.sort_by_key(|run| std::cmp::Reverse(run.began));
        let is_whole = |run: &CompletedRun| run.is_full;
        if ours.iter().any(is_whole) {
            Ok(Self(ours))
        } else if runs.iter().any(is_whole) {
            Err(NotCovered::OtherTarget)
        } else {
            Err(NotCovered::NotExported)
        }
    }

    /// The streams that any of them has read to the end.
    pub(crate) fn streams(&self) -> Vec<Stream> {
        let read: BTreeSet<Stream> = self.0.iter().flat_map(|run| run.done.iter().copied()).collect();
        Stream::ALL.into_iter().filter(|stream| read.contains(stream)).collect()
    }

    /// When the last run that has certainly sent a row was completed. `None` where PostHog need not
    /// hold its event: no run has certainly read the row, or PostHog refused it, in one of the runs
    /// `refused_in`, and no later run sent it again.
    pub(crate) fn sent(
        &self,
        day: Day,
        stream: Stream,
        time: NaiveDateTime,
        created: NaiveDateTime,
        refused_in: &[String],
    ) -> Option<DateTime<Utc>> {
        let created = created.and_utc();
        let covers = |run: &&CompletedRun| {
            let Span { from, until } = run.span.unwrap_or(Span::of(day));
            let before = run.began.checked_sub_signed(MARGIN).unwrap_or(run.began);
            run.done.contains(&stream)
                && (from.naive_utc()..until.naive_utc()).contains(&time)
                && created < before
                && run.created_after.is_none_or(|since| created >= since)
        };
        let mut sent = None;
        for run in self.0.iter().filter(covers) {
            if refused_in.contains(&run.run) {
                return None;
            }
            sent = sent.max(Some(run.completed_at));
            // A run that leaves out what was sent before has left out what was refused before, too.
            if !refused_in.is_empty() && !run.changed {
                return sent;
            }
        }
        sent
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
            changed: false,
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
            let found = runs.sent(day, stream, time(when), time(created), &[]);
            assert_eq!(found.is_some(), sent, "{what}");
        }
        assert_eq!(runs.streams(), [Trace, Generation, Score]);
    }

    #[test]
    fn what_was_refused_need_not_be_there_until_it_was_sent_again() {
        let day: Day = "2024-06-01".parse().unwrap();
        let time = at("01T15:00:00").naive_utc();
        let runs = |runs: &[CompletedRun]| Runs::to("here", runs).unwrap();
        let sent = |of: &Runs, refused: &[&str]| {
            let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
            of.sent(day, Stream::Trace, time, time, &refused)
        };
        let daily = run("daily", "02T01:00:00", &[Stream::Trace]);
        let settled = CompletedRun {
            changed: true,
            ..run("settled", "03T01:00:00", &[Stream::Trace])
        };
        let replay = run("replay", "04T01:00:00", &[Stream::Trace]);
        let late = CompletedRun {
            is_full: false,
            created_after: Some(at("02T01:00:00")),
            ..run("late-1", "05T01:00:00", &[Stream::Trace])
        };
        let usual = runs(&[daily.clone(), settled.clone(), late.clone()]);
        assert_eq!(
            sent(&usual, &[]),
            Some(settled.completed_at),
            "a late run did not send it"
        );
        assert_eq!(sent(&usual, &["daily"]), None, "settled left it out");
        let again = runs(&[replay.clone(), daily, settled, late]);
        assert_eq!(sent(&again, &["daily"]), Some(replay.completed_at));
        assert_eq!(sent(&again, &["daily", "replay"]), None);
        assert_eq!(sent(&again, &["of another target"]), Some(replay.completed_at));
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
