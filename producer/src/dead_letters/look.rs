//! Looks at all dead letters: the messages of the queue joined with their runs, and the dead runs
//! that have no message.

use std::collections::{BTreeMap, HashSet};

use shared::job::RunKey;
use shared::ledger::{Filter, Ledger, RunRow, State};

use super::letter::DeadLetter;
use super::message::{Keep, Letter};
use super::queue::HeldLetters;
use crate::error::CommandError;
use crate::servers::Broker;

/// The lock for looking at dead letters. Whoever looks takes all of them out of the queue
/// meanwhile, so a second one would find none.
pub(crate) const LOCK: &str = "dead-letters";

/// So many runs are asked for at once.
const ROWS: usize = 5_000;

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
/// have no message. Where only some are named, of the others those are left out that the ledger has
/// as dead.
pub(crate) async fn read<'a>(
    ledger: &Ledger,
    broker: &'a Broker,
    keep: &Keep<'_>,
) -> Result<(HeldLetters<'a>, Vec<DeadLetter>), CommandError> {
    let (held, letters) = HeldLetters::take_all(broker, keep).await?;
    let mut letters = join(ledger, letters, keep).await?;
    // Only after a look at the whole queue is it known that a dead run has no message.
    if !held.is_part() {
        letters.extend(lost(ledger, &letters, keep).await?);
    }
    Ok((held, letters))
}

/// Joins messages with their runs.
async fn join(ledger: &Ledger, letters: Vec<Letter>, keep: &Keep<'_>) -> Result<Vec<DeadLetter>, CommandError> {
    let mut joined = Vec::new();
    let mut letters = letters.into_iter();
    loop {
        let some: Vec<Letter> = letters.by_ref().take(ROWS).collect();
        if some.is_empty() {
            return Ok(joined);
        }
        let keys = some.iter().filter_map(|letter| letter.message.as_ref()?.key());
        let rows = ledger.find(&keys.collect::<Vec<RunKey>>()).await?.into_iter();
        let rows: BTreeMap<String, RunRow> = rows.map(|row| (row.key().to_string(), row)).collect();
        let all = some.into_iter().map(|letter| DeadLetter::of_message(letter, &rows));
        joined.extend(all.filter(|letter| keep.is_whole(&letter.id) || !letter.is_dead_run()));
    }
}

/// The dead runs that are not among these dead letters.
async fn lost(ledger: &Ledger, known: &[DeadLetter], keep: &Keep<'_>) -> Result<Vec<DeadLetter>, CommandError> {
    let known: HashSet<&str> = known.iter().map(|letter| letter.id.as_str()).collect();
    let rows = match keep {
        Keep::All => {
            let filter = Filter {
                state: Some(State::Dead),
                ..Filter::default()
            };
            ledger.list(&filter).await?
        }
        Keep::Named(named) => {
            let keys: Vec<RunKey> = named.values().filter_map(|key| key.cloned()).collect();
            ledger.find(&keys).await?
        }
    };
    let dead = rows.iter().filter(|row| row.state == State::Dead);
    let lost = dead.filter(|row| !known.contains(row.key().to_string().as_str()));
    Ok(lost.map(DeadLetter::of_row).collect())
}
