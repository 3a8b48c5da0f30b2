//! Claim: may this delivery's run be worked on, by us, now? Reads under a lock, decides PURELY, writes.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sqlx::Transaction;
use sqlx::postgres::{PgConnection, Postgres};
use uuid::Uuid;

use super::{Cursor, Lease, Ledger, LedgerError, Progress, State, answered, event_words, interval};
use crate::error_code::ErrorCode;
use crate::job::{Day, RunKey, Scope, Stream};

/// A run that dies this often with its workers, without a moved cursor, is given up.
const MAX_TAKEOVERS: i32 = 5;
/// A day counts as over although the database's clock is this much behind the producer's.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// The claim's answer.
#[derive(Debug)]
pub enum Claim {
    /// Work on it.
    Run(Claimed),
    /// Done already (or discarded by a human): ack.
    Done(State),
    /// `waiting`, and its time has not come: back to a rung, nothing counted.
    NotYet {
        /// Until `retry_at`
        wait: Duration,
    },
    /// Another worker has it, or another run of the same day is at work: 30 s rung, nothing counted.
    Held {
        /// Who, for the log
        by: String,
    },
    /// Taken over too often without progress; the row is `dead` now.
    KillsWorkers {
        /// How often a worker died with it
        takeovers: i32,
    },
    /// The day has not ended by the database's clock; nothing was written.
    DayNotOver {
        /// The database's clock
        now: DateTime<Utc>,
    },
}

/// A run that is ours now.
#[derive(Debug)]
pub struct Claimed {
    /// Carried by every write
    pub lease: Lease,
    /// Where each stream of the job stands
    pub streams: BTreeMap<Stream, Progress>,
    /// Failures so far, since a cursor last moved
    pub attempt: i32,
    /// Take-overs since a cursor last moved, this one included
    pub takeovers: i32,
    /// Whether a worker had it whose lease ran out
    pub taken_over: bool,
}

/// A row of the same project and day, as the decision needs it.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Found {
    run: String,
    state: String,
    attempt: i32,
    takeovers: i32,
    lease_expires_at: Option<DateTime<Utc>>,
    worker: Option<String>,
    retry_at: Option<DateTime<Utc>>,
    target: Option<String>,
}

/// What to do with the row that was found.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Run { attempt: i32, takeovers: i32, anew: bool },
    Done(State),
    NotYet(Duration),
    Held(String),
    KillsWorkers(i32),
}

/// The table of docs/ARCHITECTURE.md, "Claim". PURE.
fn decide(run: &str, found: &[Found], target: Option<&str>, now: DateTime<Utc>) -> Decision {
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

impl Ledger {
    /// Makes ready to claim. When this fails, nothing was asked for.
    pub async fn begin_claim(&self) -> Result<ClaimBegun, LedgerError> {
        answered(async { Ok(ClaimBegun(self.pool.begin().await?)) }).await
    }
}

/// A claim that is about to be made.
#[derive(Debug)]
pub struct ClaimBegun(Transaction<'static, Postgres>);

impl ClaimBegun {
    /// Asks for the run of the `wanted` lease, which exports `scope`. `target` is where it would be sent, when that is known. When the answer
    /// is lost ([`LedgerError::Unreachable`]), the lease may be held all the same: it is to be given back.
    pub async fn claim(
        self,
        scope: &Scope,
        wanted: &Lease,
        worker: &str,
        length: Duration,
        target: Option<&str>,
    ) -> Result<Claim, LedgerError> {
        answered(self.claim_in_time(scope, wanted, worker, length, target)).await
    }

    async fn claim_in_time(
        self,
        scope: &Scope,
        wanted: &Lease,
        worker: &str,
        length: Duration,
        target: Option<&str>,
    ) -> Result<Claim, LedgerError> {
        let Self(mut tx) = self;
        let Lease { key, token } = wanted;
        let run = key.run.as_str();
        // One claim at a time for a project's day: two runs of it must see each other's lease. The lock's number is a hash;
        // two days that share one wait for each other a moment, no more.
        sqlx::query("-- ledger_claim_lock\nselect pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(format!("posthog_export.claim/{}/{}", key.project_id, key.day))
            .execute(&mut *tx)
            .await?;
        let found = lock_rows(&mut tx, key).await?;
        let now: DateTime<Utc> = sqlx::query_scalar("-- ledger_claim_now\nselect clock_timestamp()")
            .fetch_one(&mut *tx)
            .await?;
        if !is_over(key.day, now) {
            return Ok(Claim::DayNotOver { now });
        }
        let claim = match decide(run, &found, target, now) {
            Decision::Done(state) => Claim::Done(state),
            Decision::NotYet(wait) => Claim::NotYet { wait },
            Decision::Held(by) => Claim::Held { by },
            Decision::KillsWorkers(takeovers) => {
                give_up(&mut tx, key, takeovers).await?;
                Claim::KillsWorkers { takeovers }
            }
            Decision::Run {
                attempt,
                takeovers,
                anew,
            } => {
                if !found.iter().any(|row| row.run == run) {
                    insert(&mut tx, key, scope).await?;
                }
                if anew {
                    forget_progress(&mut tx, key).await?;
                }
                take(&mut tx, key, *token, worker, length, target, attempt, takeovers, anew).await?;
                let streams = open_streams(&mut tx, key, scope).await?;
                Claim::Run(Claimed {
                    lease: wanted.clone(),
                    streams,
                    attempt,
                    takeovers,
                    taken_over: found.iter().any(|row| row.run == run && row.state == "running"),
                })
            }
        };
        tx.commit().await?;
        Ok(claim)
    }
}

/// Whether the day has ended, with a tolerance for clocks that differ.
fn is_over(day: Day, now: DateTime<Utc>) -> bool {
    day.end().and_utc() <= now + CLOCK_TOLERANCE
}

async fn lock_rows(tx: &mut PgConnection, key: &RunKey) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as(
        "-- ledger_claim_rows
         select run, state, attempt, takeovers, lease_expires_at, worker, retry_at, target
         from posthog_export.runs where project_id = $1 and day = $2 order by run for update",
    )
    .bind(&key.project_id)
    .bind(key.day.0)
    .fetch_all(tx)
    .await
}

/// The row of a run that had none. The producer may have made it in the meantime.
async fn insert(tx: &mut PgConnection, key: &RunKey, scope: &Scope) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- ledger_claim_insert
         insert into posthog_export.runs (project_id, day, run, events, created_after) values ($1, $2, $3, $4, $5)
         on conflict (project_id, day, run) do nothing",
    )
    .bind(&key.project_id)
    .bind(key.day.0)
    .bind(&key.run)
    .bind(event_words(scope))
    .bind(scope.created_after)
    .execute(tx)
    .await?;
    Ok(())
}

async fn give_up(tx: &mut PgConnection, key: &RunKey, takeovers: i32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- ledger_claim_give_up
         update posthog_export.runs
         set state = 'dead', takeovers = $4, error_code = $5, error = $6, retry_at = null, lease_token = null,
             lease_expires_at = null, first_failed_at = coalesce(first_failed_at, clock_timestamp()),
             updated_at = clock_timestamp()
         where project_id = $1 and day = $2 and run = $3",
    )
    .bind(&key.project_id)
    .bind(key.day.0)
    .bind(&key.run)
    .bind(takeovers)
    .bind(ErrorCode::KillsWorkers.as_str())
    .bind(format!("{takeovers} workers ended with this run before a cursor moved"))
    .execute(tx)
    .await?;
    Ok(())
}

async fn forget_progress(tx: &mut PgConnection, key: &RunKey) -> Result<(), sqlx::Error> {
    for statement in [
        "-- ledger_forget_streams\ndelete from posthog_export.streams where project_id = $1 and day = $2 and run = $3",
        "-- ledger_forget_rejects\ndelete from posthog_export.rejects where project_id = $1 and day = $2 and run = $3",
    ] {
        sqlx::query(statement)
            .bind(&key.project_id)
            .bind(key.day.0)
            .bind(&key.run)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the columns of one statement")]
async fn take(
    tx: &mut PgConnection,
    key: &RunKey,
    token: Uuid,
    worker: &str,
    lease: Duration,
    target: Option<&str>,
    attempt: i32,
    takeovers: i32,
    anew: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "-- ledger_claim_take
         update posthog_export.runs
         set state = 'running', lease_token = $4, lease_expires_at = clock_timestamp() + $5, worker = $6,
             target = coalesce($7, target), attempt = $8, takeovers = $9, retry_at = null, completed_at = null,
             asked_at = case when state in ('dead', 'skipped') then clock_timestamp() else asked_at end,
             started_at = case when $10 or started_at is null then clock_timestamp() else started_at end,
             updated_at = clock_timestamp()
         where project_id = $1 and day = $2 and run = $3",
    )
    .bind(&key.project_id)
    .bind(key.day.0)
    .bind(&key.run)
    .bind(token)
    .bind(interval(lease))
    .bind(worker)
    .bind(target)
    .bind(attempt)
    .bind(takeovers)
    .bind(anew)
    .execute(tx)
    .await?;
    Ok(())
}

async fn open_streams(
    tx: &mut PgConnection,
    key: &RunKey,
    scope: &Scope,
) -> Result<BTreeMap<Stream, Progress>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        stream: String,
        cursor_time: Option<NaiveDateTime>,
        cursor_id: Option<String>,
        done: bool,
        sent: i64,
        rejected: i64,
        batches: i64,
        bytes: i64,
    }
    let wanted: Vec<&str> = scope.streams().map(Stream::as_str).collect();
    sqlx::query(
        "-- ledger_open_streams
         insert into posthog_export.streams (project_id, day, run, stream)
         select $1, $2, $3, unnest($4::text[]) on conflict do nothing",
    )
    .bind(&key.project_id)
    .bind(key.day.0)
    .bind(&key.run)
    .bind(&wanted)
    .execute(&mut *tx)
    .await?;
    let rows: Vec<Row> = sqlx::query_as(
        "-- ledger_streams
         select stream, cursor_time, cursor_id, done, sent, rejected, batches, bytes from posthog_export.streams
         where project_id = $1 and day = $2 and run = $3",
    )
    .bind(&key.project_id)
    .bind(key.day.0)
    .bind(&key.run)
    .fetch_all(&mut *tx)
    .await?;
    let progress = |row: Row| {
        let stream = row.stream.parse().ok()?;
        let cursor = row.cursor_time.zip(row.cursor_id).map(|(time, id)| Cursor { time, id });
        let (done, sent, rejected, batches, bytes) = (row.done, row.sent, row.rejected, row.batches, row.bytes);
        Some((
            stream,
            Progress {
                cursor,
                done,
                sent,
                rejected,
                batches,
                bytes,
            },
        ))
    };
    Ok(rows.into_iter().filter_map(progress).collect())
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
