//! `dead-letters`: shows the jobs that need a human, with their cause. Puts them back into the
//! queue once the cause is gone, or gives them up.

mod arguments;
mod choose;
mod discard;
mod letter;
mod list;
mod queue;
mod requeue;
mod show;

use std::collections::{BTreeMap, HashSet};

use shared::job::RunKey;
use shared::ledger::{Filter, Ledger, RunRow, State};
use shared::message::Message;
use shared::settings::Settings;

use crate::config::{self, Server};
use crate::error::CommandError;
use crate::lock;
use crate::output::Exit;
use crate::servers::{self, Broker};

pub use arguments::{Command, DiscardArguments, Filters, ListArguments, RequeueArguments, ShowArguments, Which};
use choose::choose;
use letter::DeadLetter;
use queue::{HeldLetters, Letter};
use show::Looked;

/// The lock for looking at dead letters. Whoever looks takes all of them out of the queue
/// meanwhile, so a second one would find none.
const LOCK: &str = "dead-letters";

/// What the commands read from the environment.
#[derive(Debug)]
pub struct Config {
    ledger: Server,
    broker: Server,
}

impl Config {
    /// Reads it.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            ledger: config::ledger(settings),
            broker: config::broker(settings),
        }
    }
}

/// Executes the command.
pub async fn execute(command: &Command, config: Config) -> Result<Exit, CommandError> {
    let ledger = servers::ledger(&config.ledger).await?;
    if let Command::Show(arguments) = command
        && !arguments.message
        && let Some(row) = dead_run(&ledger, &arguments.id).await?
    {
        show::execute(arguments, &ledger, &[DeadLetter::of_row(&row)], Looked::AtTheLedger).await?;
        return Ok(Exit::Done);
    }
    let broker = Broker::connect(&config.broker).await?;
    let lock = lock::take(&ledger, LOCK).await?;
    let (mut held, letters) = read(&ledger, &broker).await?;
    let now = ledger.now().await?;
    let exit = match command {
        Command::List(arguments) => {
            // Before anything is written: a pager may keep this process waiting for hours.
            held.give_back().await?;
            list::execute(arguments, &letters, now);
            Exit::Done
        }
        Command::Show(arguments) => {
            held.give_back().await?;
            show::execute(arguments, &ledger, &letters, Looked::InTheQueue).await?;
            Exit::Done
        }
        Command::Requeue(arguments) => {
            let exit = match choose(&arguments.which, letters, held.is_part(), now) {
                Ok(chosen) => requeue::execute(arguments, &ledger, &broker, &mut held, chosen).await,
                Err(error) => Err(error),
            };
            finish(held, exit).await?
        }
        Command::Discard(arguments) => {
            let exit = match choose(&arguments.which, letters, held.is_part(), now) {
                Ok(chosen) => discard::execute(arguments, &ledger, &mut held, chosen).await,
                Err(error) => Err(error),
            };
            finish(held, exit).await?
        }
    };
    lock.release().await?;
    broker.close().await;
    Ok(exit)
}

/// The run of that id, if the ledger has it as dead. Then the queue, in which the message may lie
/// behind thousands, need not be touched.
async fn dead_run(ledger: &Ledger, id: &str) -> Result<Option<RunRow>, CommandError> {
    let Ok(key) = id.parse::<RunKey>() else {
        return Ok(None);
    };
    let mut found = ledger.find(&[key]).await?;
    Ok(found.pop().filter(|row| row.state == State::Dead))
}

/// Gives back what was not removed, also after an error. The command's own error comes first.
async fn finish(held: HeldLetters<'_>, exit: Result<Exit, CommandError>) -> Result<Exit, CommandError> {
    let given_back = held.give_back().await;
    let exit = exit?;
    given_back?;
    Ok(exit)
}

/// Reads the dead letters: first the messages in the order of the queue, then the dead runs that
/// have no message.
async fn read<'a>(ledger: &Ledger, broker: &'a Broker) -> Result<(HeldLetters<'a>, Vec<DeadLetter>), CommandError> {
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
