//! Looks at all dead letters: the messages of the queue joined with their runs, and the dead runs
//! that have no message.

use std::collections::{BTreeMap, HashSet};

use shared::job::RunKey;
use shared::ledger::{Filter, Ledger, RunRow, State};
use shared::message::Message;

use super::letter::DeadLetter;
use super::queue::{HeldLetters, Letter};
use crate::error::CommandError;
use crate::servers::Broker;

/// The lock for looking at dead letters. Whoever looks takes all of them out of the queue
/// meanwhile, so a second one would find none.
pub(crate) const LOCK: &str = "dead-letters";

/// The run of that id, if the ledger has it as dead. Then the queue, in which the message may lie
/// behind thousands, need not be touched.
pub(crate) async fn dead_run(ledger: &Ledger, id: &str) -> Result<Option<RunRow>, CommandError> {
    let Ok(key) = id.parse::<RunKey>() else {
        return Ok(None);
    };
    let mut found = ledger.find(&[key]).await?;
    Ok(found.pop().filter(|row| row.state == State::Dead))
}

/// Reads the dead letters: first the messages in the order of the queue, then the dead runs that
/// have no message.
pub(crate) async fn read<'a>(
    ledger: &Ledger,
    broker: &'a Broker,
) -> Result<(HeldLetters<'a>, Vec<DeadLetter>), CommandError> {
    let (held, letters) = HeldLetters::take_all(broker).await?;
    let mut letters = join(ledger, letters).await?;
    // Only after a look at the whole queue is it known that a dead run has no message.
    if !held.is_part() {
        letters.extend(lost(ledger, &letters).await?);
    }
    Ok((held, letters))
}

/// Joins messages with their runs.
async fn join(ledger: &Ledger, letters: Vec<Letter>) -> Result<Vec<DeadLetter>, CommandError> {
    let messages = letters.iter().filter_map(|letter| Message::decode(&letter.body).ok());
    let keys: Vec<RunKey> = messages.filter_map(|message| message.key()).collect();
    let rows = if keys.is_empty() {
        Vec::new()
    } else {
        ledger.find(&keys).await?
    };
    let rows: BTreeMap<String, RunRow> = rows.into_iter().map(|row| (row.key().to_string(), row)).collect();
    let letters = letters.into_iter();
    Ok(letters.map(|letter| DeadLetter::of_message(letter, &rows)).collect())
}

/// The dead runs that are not among these dead letters.
async fn lost(ledger: &Ledger, known: &[DeadLetter]) -> Result<Vec<DeadLetter>, CommandError> {
    let known: HashSet<&str> = known.iter().map(|letter| letter.id.as_str()).collect();
    let filter = Filter {
        state: Some(State::Dead),
        ..Filter::default()
    };
    let dead = ledger.list(&filter).await?.into_iter();
    let lost = dead.filter(|row| !known.contains(row.key().to_string().as_str()));
    Ok(lost.map(|row| DeadLetter::of_row(&row)).collect())
}
