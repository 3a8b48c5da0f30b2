//! The table of docs/ARCHITECTURE.md, "Claim". PURE.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::job::{RunKey, Scope, Span};
use crate::ledger::state::State;

/// A run is given up when so many workers died with it without moving a cursor.
const MAX_TAKEOVERS: i32 = 5;
/// How far the database's clock may be behind the producer's when a day counts as over.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// What the decision needs of a row of the same project and day.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Found {
    pub(super) run: String,
    pub(super) state: State,
    pub(super) attempt: i32,
    pub(super) takeovers: i32,
    pub(super) lease_expires_at: Option<DateTime<Utc>>,
    pub(super) worker: Option<String>,
    pub(super) retry_at: Option<DateTime<Utc>>,
    pub(super) target: Option<String>,
    pub(super) span_from: Option<DateTime<Utc>>,
    pub(super) span_until: Option<DateTime<Utc>>,
    pub(super) created_after: Option<DateTime<Utc>>,
}

impl Found {
    /// Whether it says that a run of this scope reads the same rows of each stream.
    pub(super) fn is_of(&self, scope: &Scope) -> bool {
        let span = scope.span.map(|span| (span.from, span.until));
        self.span_from.zip(self.span_until) == span && self.created_after == scope.created_after
    }
}

/// How a run begins or continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Failures so far, since a cursor last moved
    pub(super) attempt: i32,
    /// Take-overs since then, this one included
    pub(super) takeovers: i32,
    /// Whether its cursors begin again at the first row
    pub(super) anew: bool,
}

/// What to do with the row that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Run(Start),
    Done(State),
    NotYet(Duration),
    LeaseHeld(String),
    KillsWorkers(i32),
    /// A step of a day that is over.
    Superseded,
}

fn start(attempt: i32, takeovers: i32, anew: bool) -> Decision {
    Decision::Run(Start {
        attempt,
        takeovers,
        anew,
    })
}

/// What to do about the run of that name, given all rows of its project and day.
pub(super) fn decide(key: &RunKey, found: &[Found], target: Option<&str>, now: DateTime<Utc>) -> Decision {
    let lease_held = |row: &Found| row.state == State::Running && row.lease_expires_at.is_some_and(|end| end > now);
    if let Some(row) = found.iter().find(|row| lease_held(row)) {
        let worker = row.worker.as_deref().unwrap_or("a worker");
        return Decision::LeaseHeld(format!("{worker} (run {})", row.run));
    }
    let mine = found.iter().find(|row| row.run == key.run);
    let is_done = mine.is_some_and(|row| matches!(row.state, State::Completed | State::Discarded));
    if key.is_step() && Span::of(key.day).until <= now && !is_done {
        return Decision::Superseded;
    }
    let Some(mine) = mine else {
        return start(0, 0, true);
    };
    let retargeted = matches!((target, mine.target.as_deref()), (Some(new), Some(old)) if new != old);
    match mine.state {
        State::Discarded => Decision::Done(mine.state),
        // Host or key have changed, so what was sent before went elsewhere.
        _ if retargeted => start(0, 0, true),
        State::Completed => Decision::Done(mine.state),
        State::Queued | State::Skipped => start(mine.attempt, mine.takeovers, false),
        State::Dead => start(0, 0, false),
        State::Waiting => match mine.retry_at {
            Some(at) if at > now => Decision::NotYet((at - now).to_std().unwrap_or_default()),
            _ => start(mine.attempt, mine.takeovers, false),
        },
        State::Running if mine.takeovers + 1 >= MAX_TAKEOVERS => Decision::KillsWorkers(mine.takeovers + 1),
        State::Running => start(mine.attempt, mine.takeovers + 1, false),
    }
}

/// Whether the day, or the part of it, has ended. The producer that asks for a day may have another
/// clock; for parts there is no need to be generous, because they are asked for well after their end.
pub(super) fn is_over(key: &RunKey, scope: &Scope, now: DateTime<Utc>) -> bool {
    match scope.span {
        Some(span) => span.until <= now,
        None => Span::of(key.day).until <= now + CLOCK_TOLERANCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2024-06-02T12:00:00Z".parse().unwrap()
    }

    fn row(run: &str, state: State) -> Found {
        Found {
            run: run.into(),
            state,
            attempt: 2,
            takeovers: 1,
            lease_expires_at: None,
            worker: Some("w1".into()),
            retry_at: None,
            target: Some("t".into()),
            span_from: None,
            span_until: None,
            created_after: None,
        }
    }

    fn leased(run: &str, seconds: i64) -> Found {
        Found {
            lease_expires_at: Some(now() + TimeDelta::seconds(seconds)),
            ..row(run, State::Running)
        }
    }

    fn key(run: &str) -> RunKey {
        RunKey::new("p", "2024-06-01".parse().unwrap(), run)
    }

    fn answer(found: &[Found]) -> Decision {
        decide(&key("daily"), found, Some("t"), now())
    }

    #[test]
    fn a_message_without_a_row_runs() {
        assert_eq!(answer(&[]), start(0, 0, true));
    }

    #[test]
    fn what_is_free_runs_and_keeps_its_counts() {
        for state in [State::Queued, State::Skipped, State::Waiting] {
            assert_eq!(answer(&[row("daily", state)]), start(2, 1, false), "{state}");
        }
    }

    #[test]
    fn waiting_waits_until_its_time() {
        let mut found = row("daily", State::Waiting);
        found.retry_at = Some(now() + TimeDelta::seconds(90));
        assert_eq!(answer(&[found.clone()]), Decision::NotYet(Duration::from_secs(90)));
        found.retry_at = Some(now());
        assert!(matches!(answer(&[found]), Decision::Run(_)));
    }

    #[test]
    fn a_held_lease_keeps_everybody_out() {
        assert!(matches!(answer(&[leased("daily", 1)]), Decision::LeaseHeld(_)));
        assert!(matches!(
            answer(&[leased("replay-1", 1), row("daily", State::Queued)]),
            Decision::LeaseHeld(_)
        ));
        assert!(matches!(
            answer(&[leased("replay-1", 0), row("daily", State::Queued)]),
            Decision::Run(_)
        ));
    }

    #[test]
    fn an_expired_lease_is_taken_over_and_counted() {
        assert_eq!(answer(&[leased("daily", -1)]), start(2, 2, false));
        let mut killer = leased("daily", -1);
        killer.takeovers = 4;
        assert_eq!(answer(&[killer]), Decision::KillsWorkers(5));
    }

    #[test]
    fn the_dead_run_again_from_their_checkpoint() {
        assert_eq!(answer(&[row("daily", State::Dead)]), start(0, 0, false));
    }

    #[test]
    fn what_is_done_stays_done_unless_the_target_changed() {
        assert_eq!(
            answer(&[row("daily", State::Completed)]),
            Decision::Done(State::Completed)
        );
        assert_eq!(
            answer(&[row("daily", State::Discarded)]),
            Decision::Done(State::Discarded)
        );
        let other = decide(&key("daily"), &[row("daily", State::Completed)], Some("other"), now());
        assert_eq!(other, start(0, 0, true));
        let unknown = decide(&key("daily"), &[row("daily", State::Completed)], None, now());
        assert_eq!(unknown, Decision::Done(State::Completed));
    }

    #[test]
    fn a_day_is_over_within_the_tolerance_and_a_part_of_it_exactly() {
        let is_over = |scope: &Scope, now: &str| {
            let now = format!("2024-06-01T{now}Z").parse().unwrap();
            super::is_over(&key("daily"), scope, now)
        };
        let day = Scope::default();
        assert!(is_over(&day, "23:55:00") && !is_over(&day, "23:54:59"));
        let at = |hour: u32| Span::of(key("daily").day).from + TimeDelta::hours(hour.into());
        let part = Scope {
            span: Some(Span {
                from: at(9),
                until: at(10),
            }),
            ..Scope::default()
        };
        assert!(is_over(&part, "10:00:00") && !is_over(&part, "09:59:59"));
    }

    #[test]
    fn a_step_is_superseded_when_its_day_is_over_unless_it_is_at_work_or_done() {
        let step = |found: &[Found], now: &str| decide(&key("step-0900"), found, Some("t"), now.parse().unwrap());
        let (before, after) = ("2024-06-01T23:59:59Z", "2024-06-02T00:00:00Z");
        assert_eq!(step(&[], before), start(0, 0, true));
        for state in [
            State::Queued,
            State::Waiting,
            State::Dead,
            State::Skipped,
            State::Running,
        ] {
            assert_eq!(step(&[row("step-0900", state)], after), Decision::Superseded, "{state}");
        }
        assert_eq!(step(&[], after), Decision::Superseded);
        for state in [State::Completed, State::Discarded] {
            assert_eq!(step(&[row("step-0900", state)], after), Decision::Done(state));
        }
        let held = Found {
            lease_expires_at: Some("2024-06-02T00:01:00Z".parse().unwrap()),
            ..row("step-0900", State::Running)
        };
        assert!(matches!(step(&[held], after), Decision::LeaseHeld(_)));
        assert_eq!(decide(&key("replay-1"), &[], Some("t"), now()), start(0, 0, true));
    }
}
