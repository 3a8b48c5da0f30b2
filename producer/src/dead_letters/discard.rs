//! Gives a dead letter up: marks the run as discarded in the ledger, then removes the message.
//! After a crash in between, a second discard removes the message.

use shared::ledger::{Discard, Ledger, State};
use shared::message::Message;

use super::letter::DeadLetter;
use super::queue::HeldLetters;
use crate::error::CommandError;

/// Does it.
pub(crate) async fn discard(
    ledger: &Ledger,
    held: &mut HeldLetters<'_>,
    letter: &DeadLetter,
) -> Result<(), CommandError> {
    if let Some(job) = letter.message.as_ref().and_then(Message::job) {
        ledger.discard(&job, discards(letter)).await?;
    }
    if let Some(tag) = letter.tag {
        held.remove(tag).await?;
    }
    Ok(())
}

/// Which states of a run a discard may change. PURE.
fn discards(letter: &DeadLetter) -> Discard {
    if letter.by_broker {
        // The broker gave the message up and did not tell the ledger, where the run is still as it
        // was in the queue.
        Discard::WhateverRests
    } else {
        // A worker gave it up, so the run is dead in the ledger. If it is not, the run was
        // requeued, and the message is a leftover.
        Discard::Dead
    }
}

/// The state of a run that has gone on since it died: a discard removes its message and leaves the
/// run. PURE.
pub(crate) fn goes_on(letter: &DeadLetter) -> Option<State> {
    let state = letter.ledger.as_ref().map(|row| row.state)?;
    (state != State::Dead && !letter.by_broker).then_some(state)
}
