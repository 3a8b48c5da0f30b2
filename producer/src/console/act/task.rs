//! The task of a deed: it writes the row, does the deed and writes how that ended, whoever waits for it.

use std::sync::Arc;
use std::time::Duration;

use shared::ledger::{Deed, DeedState, LedgerError, Lock, Noted};
use tokio::sync::oneshot;

use super::ALONE;
use super::outcome::{LOOK, Outcome};
use crate::console::deeds::{AGAIN, TRIES};
use crate::console::operator::Operator;
use crate::error::CommandError;

/// What the row says of a deed that was not begun, since it was not known whether the row is there.
const UNCONFIRMED: &str = "Nothing was done: the ledger did not confirm in time that this was written down.";

/// How a deed begins.
#[derive(Debug)]
pub(super) enum Start {
    /// Its row is written
    Begun(i64),
    /// This confirmation was sent before, and has this row
    Before(i64),
    /// Another one calls a user's host
    Busy,
    /// Its row could not be written
    NotBegun(LedgerError),
}

/// Why a deed does not begin.
#[derive(Debug)]
struct Unbegun {
    start: Start,
    /// The number of a row that may be there all the same
    row: Option<i64>,
}

impl From<Start> for Unbegun {
    fn from(start: Start) -> Self {
        Self { start, row: None }
    }
}

impl From<LedgerError> for Unbegun {
    fn from(error: LedgerError) -> Self {
        Start::NotBegun(error).into()
    }
}

/// A deed whose task has begun. It goes on also when nobody waits.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) begun: oneshot::Receiver<Start>,
    /// Closed when its end is written
    pub(super) ended: oneshot::Receiver<()>,
}

/// Begins the task. A browser that goes away drops the handler, but not the task: no row is left
/// without its deed.
pub(super) fn start<F>(operator: &Arc<Operator>, row: Deed, limit: Duration, deed: F) -> Started
where
    F: Future<Output = Result<Outcome, CommandError>> + Send + 'static,
{
    let ((say, begun), (end, ended)) = (oneshot::channel(), oneshot::channel());
    let own = Arc::clone(operator);
    operator.deeds.spawn(async move {
        match begin(&own, &row).await {
            Ok((id, lock)) => {
                let _ = say.send(Start::Begun(id));
                carry_out(&own, id, &row, lock, within(limit, deed)).await;
            }
            Err(Unbegun { start, row: doubtful }) => {
                let _ = say.send(start);
                if let Some(id) = doubtful {
                    never_begun(&own, id, &row).await;
                }
            }
        }
        drop(end);
    });
    Started { begun, ended }
}

/// Takes the lock, where the deed runs alone, and writes its row.
async fn begin(operator: &Operator, row: &Deed) -> Result<(i64, Option<Lock>), Unbegun> {
    let ledger = &operator.ledger;
    // Somebody who clicks twice sees what came of the first click.
    if let Some(id) = ledger.audit_before(row.once).await? {
        return Err(Start::Before(id).into());
    }
    let lock = if ALONE.contains(&row.action) {
        Some(ledger.try_lock("console_calls").await?.ok_or(Start::Busy)?)
    } else {
        None
    };
    match ledger.audit_begin(row).await? {
        Noted::Before(id) => Err(Start::Before(id).into()),
        Noted::New(noting) => {
            let id = noting.id();
            noting.commit().await.map_err(|error| Unbegun {
                start: Start::NotBegun(error),
                row: Some(id),
            })?;
            tracing::info!(
                audit = id,
                address = row.address,
                action = row.action,
                project = row.project_id,
                subjects = row.subjects.len(),
                "an action of the console was asked for"
            );
            Ok((id, lock))
        }
    }
}

async fn carry_out(
    operator: &Operator,
    id: i64,
    row: &Deed,
    lock: Option<Lock>,
    deed: impl Future<Output = Outcome> + Send + 'static,
) {
    let place = operator.deeds.place(lock.is_some()).await;
    let outcome = match &place {
        Ok(_) => unless(operator.deeds.are_cut(), deed).await,
        Err(why) => Outcome::failed(*why),
    };
    end(operator, id, row, &outcome).await;
    // Kept until the end is written.
    drop((place, lock));
}

/// Does it in a task of its own, so that a fault of ours has an end, too; and gives it up when the
/// console cannot wait any longer.
async fn unless(cut: impl Future<Output = ()>, deed: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    let mut task = tokio::spawn(deed);
    tokio::select! {
        ended = &mut task => ended.unwrap_or_else(|error| {
            tracing::error!(%error, "an action of the console broke off by a fault of ours");
            Outcome::unsure(format!("It broke off by a fault of the console, whose log says more. {LOOK}"))
        }),
        () = cut => {
            task.abort();
            Outcome::unsure(format!("The console ended in the middle of it. {LOOK}"))
        }
    }
}

async fn within(limit: Duration, deed: impl Future<Output = Result<Outcome, CommandError>>) -> Outcome {
    match tokio::time::timeout(limit, deed).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::of(&error),
        Err(_) => Outcome::unsure(format!(
            "It took longer than {} s and was given up. {LOOK}",
            limit.as_secs()
        )),
    }
}

/// Writes the end into the ledger and the log.
async fn end(operator: &Operator, id: i64, row: &Deed, outcome: &Outcome) {
    let state = if outcome.worked {
        DeedState::Done
    } else {
        DeedState::Failed
    };
    tracing::info!(
        audit = id,
        address = row.address,
        action = row.action,
        project = row.project_id,
        subjects = row.subjects.len(),
        state = state.as_str(),
        unsure = outcome.result.unsure,
        says = outcome.result.says,
        counts = ?outcome.result.counts,
        "an action of the console ended"
    );
    for attempt in 1..=TRIES {
        match operator.ledger.audit_end(id, state, &outcome.result).await {
            Ok(()) => return,
            Err(error) if attempt == TRIES => {
                tracing::error!(audit = id, %error, "how an action of the console ended could not be written");
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Ends a row that is there although the ledger did not say so. Nobody does its deed.
async fn never_begun(operator: &Operator, id: i64, row: &Deed) {
    let Outcome { result, .. } = Outcome::failed(UNCONFIRMED);
    for attempt in 1..=TRIES {
        match operator.ledger.audit_never_begun(id, row, &result).await {
            Ok(()) => return,
            Err(error) if attempt == TRIES => tracing::error!(
                audit = id,
                action = row.action,
                %error,
                "an action of the console was not begun, and its row may say that it was"
            ),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn a_deed_that_takes_too_long_is_given_up_and_an_error_is_its_end() {
        let slow = within(Duration::from_millis(1), pending()).await;
        assert!(slow.result.unsure && slow.result.says.contains("given up"), "{slow:?}");
        let refused = async { Err(CommandError::refused("the queue is away")) };
        let refused = within(Duration::from_secs(60), refused).await;
        assert!(
            !refused.worked && !refused.result.unsure && refused.result.says == "the queue is away",
            "{refused:?}"
        );
        assert_eq!(crate::console::deeds::CALLING, Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_fault_of_ours_and_the_end_of_the_console_are_ends_of_a_deed() {
        let broken = unless(pending(), async { panic!("an index out of bounds") }).await;
        assert!(
            broken.result.unsure && broken.result.says.contains("broke off"),
            "{broken:?}"
        );
        let cut = unless(std::future::ready(()), pending()).await;
        assert!(
            cut.result.unsure && cut.result.says.contains("The console ended"),
            "{cut:?}"
        );
        let done = unless(pending(), std::future::ready(Outcome::done("x"))).await;
        assert!(done.worked);
    }
}
