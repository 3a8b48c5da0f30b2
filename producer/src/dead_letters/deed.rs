//! What people do to dead letters that they were shown before: it is done to those that are dead
//! letters still. One process at a time looks at the queue.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::job::RunKey;
use shared::ledger::{Ledger, Lock, State};

use super::discard::discard;
use super::letter::DeadLetter;
use super::look::{LOCK, read};
use super::named::{Fate, Named, Sorted, keep, sort};
use super::queue::HeldLetters;
use super::requeue::{once_each, requeue};
use super::shown::{Shown, as_shown};
use crate::config::Server;
use crate::error::CommandError;
use crate::lock;
use crate::report::Failure;
use crate::servers::Broker;

/// How long somebody else may look at the queue before this gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found in the queue and among the dead runs. The queue has its messages again.
#[derive(Debug)]
pub(crate) struct Looked {
    /// Those that were named, and those that the ledger does not have as dead
    pub(crate) letters: Vec<DeadLetter>,
    /// How many messages were looked at
    pub(crate) messages: usize,
    /// When
    pub(crate) now: DateTime<Utc>,
    /// More dead letters wait than were looked at
    pub(crate) is_part: bool,
}

/// What became of dead letters.
#[derive(Debug, Default)]
pub(crate) struct Dealt {
    /// The deed was done to these
    pub(crate) done: Vec<String>,
    /// It was tried and failed; these are dead letters still
    pub(crate) failed: Vec<Failure>,
    /// It was not tried, and why
    pub(crate) left: Vec<Failure>,
    /// Projects that a failure had paused, and that are exported again
    pub(crate) resumed: Vec<String>,
    /// Why the rest was not tried
    pub(crate) broke_off: Option<CommandError>,
}

impl Looked {
    /// How many messages were looked at, where more wait.
    pub(crate) fn part(&self) -> Option<usize> {
        self.is_part.then_some(self.messages)
    }
}

/// Looks at all dead letters, and gives the messages back before it answers. The bodies and all headers
/// are kept of those that are named.
pub(crate) async fn look(named: &[Named], ledger: &Ledger, server: &Server) -> Result<Looked, CommandError> {
    let broker = Broker::connect(server).await?;
    let lock = take_lock(ledger).await?;
    let (held, letters) = read(ledger, &broker, &keep(named)).await?;
    let (messages, is_part) = (held.messages(), held.is_part());
    held.give_back().await?;
    let now = ledger.now().await?;
    lock.release().await?;
    broker.close().await;
    Ok(Looked {
        letters,
        messages,
        now,
        is_part,
    })
}

/// Does it to those of the named that are dead letters still, of the failure that was shown.
pub(crate) async fn carry_out(
    fate: Fate,
    named: &[Named],
    shown: &Shown,
    ledger: &Ledger,
    server: &Server,
) -> Result<Dealt, CommandError> {
    let broker = Broker::connect(server).await?;
    let lock = take_lock(ledger).await?;
    let (mut held, letters) = read(ledger, &broker, &keep(named)).await?;
    let done = async {
        let part = held.is_part().then_some(held.messages());
        let sorted = sort(fate, named, letters, &states(ledger, named).await?, part);
        do_to(fate, as_shown(sorted, shown), ledger, &broker, &mut held).await
    };
    let done = done.await;
    // What was done is done: the broker puts the rest back by itself, should this fail.
    if let Err(error) = held.give_back().await {
        tracing::warn!(%error, "dead letters were not given back; the broker does it when the connection ends");
    }
    if let Err(error) = lock.release().await {
        tracing::warn!(%error, "the lock of dead letters was not given back; the ledger does it when the session ends");
    }
    broker.close().await;
    done
}

async fn do_to(
    fate: Fate,
    Sorted { taken, left }: Sorted,
    ledger: &Ledger,
    broker: &Broker,
    held: &mut HeldLetters<'_>,
) -> Result<Dealt, CommandError> {
    let mut done = Dealt {
        left,
        ..Dealt::default()
    };
    match fate {
        Fate::Requeue => {
            let jobs = once_each(taken, ledger.now().await?);
            let sent = requeue(ledger, broker, held, &jobs).await?;
            (done.done, done.failed, done.resumed) = (sent.requeued, sent.failed, sent.resumed);
            done.broke_off = sent.broke_off;
        }
        Fate::Discard => {
            for letter in taken {
                match discard(ledger, held, &letter).await {
                    Ok(()) => done.done.push(letter.id),
                    Err(error) => done.failed.push(Failure {
                        id: letter.id,
                        error: error.to_string(),
                    }),
                }
            }
        }
    }
    Ok(done)
}

/// The states of those that have a run.
pub(crate) async fn states(ledger: &Ledger, named: &[Named]) -> Result<BTreeMap<String, State>, CommandError> {
    let keys: Vec<RunKey> = named.iter().filter_map(|one| one.key.clone()).collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = ledger.find(&keys).await?.into_iter();
    Ok(rows.map(|row| (row.key().to_string(), row.state)).collect())
}

async fn take_lock(ledger: &Ledger) -> Result<Lock, CommandError> {
    let taken = tokio::time::timeout(PATIENCE, lock::take(ledger, LOCK)).await;
    taken.unwrap_or_else(|_| {
        Err(CommandError::refused(
            "somebody else is looking at the dead letters in the queue; try again when they are done",
        ))
    })
}
