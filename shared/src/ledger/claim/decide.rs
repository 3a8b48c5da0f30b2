//! The table of docs/ARCHITECTURE.md, "Claim". PURE.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::job::Day;
use crate::ledger::state::State;

/// A run that dies this often with its workers, without a moved cursor, is given up.
const MAX_TAKEOVERS: i32 = 5;
/// A day counts as over although the database's clock is this much behind the producer's.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// A row of the same project and day, as the decision needs it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Found {
    pub(super) run: String,
    pub(super) state: String,
    pub(super) attempt: i32,
    pub(super) takeovers: i32,
    pub(super) lease_expires_at: Option<DateTime<Utc>>,
    pub(super) worker: Option<String>,
    pub(super) retry_at: Option<DateTime<Utc>>,
    pub(super) target: Option<String>,
}

/// What to do with the row that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Run { attempt: i32, takeovers: i32, anew: bool },
    Done(State),
    NotYet(Duration),
    Held(String),
    KillsWorkers(i32),
}

/// The table of docs/ARCHITECTURE.md, "Claim". PURE.
pub(super) fn decide(run: &str, found: &[Found], target: Option<&str>, now: DateTime<Utc>) -> Decision {
    let lease_held = |row: &Found| row.state == "running" && row.lease_expires_at.is_some_and(|end| end > now);
    if let Some(row) = found.iter().find(|row| lease_held(row)) {
        let worker = row.worker.as_deref().unwrap_or("a worker");
        return Decision::Held(format!("{worker} (run {})", row.run));
    }
    let Some(mine) = found.iter().find(|row| row.run == run) else {
        return Decision::Run {
            attempt: 0,
            takeovers: 0,
            anew: true,
        };
    };
    let retargeted = matches!((target, mine.target.as_deref()), (Some(new), Some(old)) if new != old);
    let state: State = mine.state.parse().unwrap_or(State::Queued);
    match state {
        State::Discarded => Decision::Done(state),
        // Host or key were changed: what was sent before went elsewhere.
        _ if retargeted => Decision::Run {
            attempt: 0,
            takeovers: 0,
            anew: true,
        },
        State::Completed => Decision::Done(state),
        State::Queued | State::Skipped => Decision::Run {
            attempt: mine.attempt,
            takeovers: mine.takeovers,
            anew: false,
        },
        State::Dead => Decision::Run {
            attempt: 0,
            takeovers: 0,
            anew: false,
        },
        State::Waiting => match mine.retry_at {
            Some(at) if at > now => Decision::NotYet((at - now).to_std().unwrap_or_default()),
            _ => Decision::Run {
                attempt: mine.attempt,
                takeovers: mine.takeovers,
                anew: false,
            },
        },
        State::Running if mine.takeovers + 1 >= MAX_TAKEOVERS => Decision::KillsWorkers(mine.takeovers + 1),
        State::Running => Decision::Run {
            attempt: mine.attempt,
            takeovers: mine.takeovers + 1,
            anew: false,
        },
    }
}

/// Whether the day has ended, with a tolerance for clocks that differ.
pub(super) fn is_over(day: Day, now: DateTime<Utc>) -> bool {
    day.end().and_utc() <= now + CLOCK_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2024-06-02T12:00:00Z".parse().unwrap()
    }

    fn row(run: &str, state: &str) -> Found {
        Found {
            run: run.into(),
            state: state.into(),
            attempt: 2,
            takeovers: 1,
            lease_expires_at: None,
            worker: Some("w1".into()),
            retry_at: None,
            target: Some("t".into()),
        }
    }

    fn leased(run: &str, seconds: i64) -> Found {
        Found {
            lease_expires_at: Some(now() + TimeDelta::seconds(seconds)),
            ..row(run, "running")
        }
    }

    fn answer(found: &[Found]) -> Decision {
        decide("daily", found, Some("t"), now())
    }

    #[test]
    fn a_message_without_a_row_runs() {
        assert_eq!(
            answer(&[]),
            Decision::Run {
                attempt: 0,
                takeovers: 0,
                anew: true
            }
        );
    }

    #[test]
    fn what_is_free_runs_and_keeps_its_counts() {
        for state in ["queued", "skipped", "waiting"] {
            assert_eq!(
                answer(&[row("daily", state)]),
                Decision::Run {
                    attempt: 2,
                    takeovers: 1,
                    anew: false
                },
                "{state}"
            );
        }
    }

    #[test]
    fn waiting_waits_until_its_time() {
        let mut found = row("daily", "waiting");
        found.retry_at = Some(now() + TimeDelta::seconds(90));
        assert_eq!(answer(&[found.clone()]), Decision::NotYet(Duration::from_secs(90)));
        found.retry_at = Some(now());
        assert!(matches!(answer(&[found]), Decision::Run { .. }));
    }

    #[test]
    fn a_held_lease_keeps_everybody_out() {
        assert!(matches!(answer(&[leased("daily", 1)]), Decision::Held(_)));
        assert!(matches!(
            answer(&[leased("replay-1", 1), row("daily", "queued")]),
            Decision::Held(_)
        ));
        assert!(matches!(
            answer(&[leased("replay-1", 0), row("daily", "queued")]),
            Decision::Run { .. }
        ));
    }

    #[test]
    fn an_expired_lease_is_taken_over_and_counted() {
        assert_eq!(
            answer(&[leased("daily", -1)]),
            Decision::Run {
                attempt: 2,
                takeovers: 2,
                anew: false
            }
        );
        let mut killer = leased("daily", -1);
        killer.takeovers = 4;
        assert_eq!(answer(&[killer]), Decision::KillsWorkers(5));
    }

    #[test]
    fn the_dead_run_again_from_their_checkpoint() {
        assert_eq!(
            answer(&[row("daily", "dead")]),
            Decision::Run {
                attempt: 0,
                takeovers: 0,
                anew: false
            }
        );
    }

    #[test]
    fn what_is_done_stays_done_unless_the_target_changed() {
        assert_eq!(answer(&[row("daily", "completed")]), Decision::Done(State::Completed));
        assert_eq!(answer(&[row("daily", "discarded")]), Decision::Done(State::Discarded));
        let other = decide("daily", &[row("daily", "completed")], Some("other"), now());
        assert_eq!(
            other,
            Decision::Run {
                attempt: 0,
                takeovers: 0,
                anew: true
            }
        );
        let unknown = decide("daily", &[row("daily", "completed")], None, now());
        assert_eq!(unknown, Decision::Done(State::Completed));
    }

    #[test]
    fn a_day_is_over_within_the_tolerance() {
        let day: Day = "2024-06-01".parse().unwrap();
        assert!(is_over(day, "2024-06-01T23:55:00Z".parse().unwrap()));
        assert!(!is_over(day, "2024-06-01T23:54:59Z".parse().unwrap()));
    }
}
