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
    let broker = Broker::connect(&config.broker).await?;
    let lock = lock::take(&ledger, LOCK).await?;
    let (mut held, letters) = HeldLetters::take_all(&broker).await?;
    let letters = join(&ledger, letters).await?;
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
            show::execute(arguments, &ledger, &letters).await?;
            Exit::Done
        }
        Command::Requeue(arguments) => {
            let exit = match choose(&arguments.which, letters, now) {
                Ok(chosen) => requeue::execute(arguments, &ledger, &broker, &mut held, chosen).await,
                Err(error) => Err(error),
            };
            finish(held, exit).await?
        }
        Command::Discard(arguments) => {
            let exit = match choose(&arguments.which, letters, now) {
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

/// Gives back what was not removed, also after an error. The command's own error comes first.
async fn finish(held: HeldLetters, exit: Result<Exit, CommandError>) -> Result<Exit, CommandError> {
    let given_back = held.give_back().await;
    let exit = exit?;
    given_back?;
    Ok(exit)
}

/// Joins the messages with their runs. First the messages in the order of the queue, then the dead
/// runs that have no message.
async fn join(ledger: &Ledger, letters: Vec<Letter>) -> Result<Vec<DeadLetter>, CommandError> {
    let messages = letters.iter().filter_map(|letter| Message::decode(&letter.body).ok());
    let mut projects: Vec<String> = messages.map(|message| message.project_id).collect();
    projects.sort_unstable();
    projects.dedup();
    let mut rows: BTreeMap<String, RunRow> = BTreeMap::new();
    let mut keep = |found: Vec<RunRow>| rows.extend(found.into_iter().map(|row| (row.key().to_string(), row)));
    if !projects.is_empty() {
        let filter = Filter {
            projects,
            ..Filter::default()
        };
        keep(ledger.list(&filter).await?);
    }
    let filter = Filter {
        state: Some(State::Dead),
        ..Filter::default()
    };
    keep(ledger.list(&filter).await?);
    let mut dead: Vec<DeadLetter> = letters
        .into_iter()
        .map(|letter| DeadLetter::of_message(letter, &rows))
        .collect();
    let known: HashSet<String> = dead.iter().map(|letter| letter.id.clone()).collect();
    let lost = rows
        .iter()
        .filter(|(id, row)| row.state == State::Dead && !known.contains(*id));
    dead.extend(lost.map(|(_, row)| DeadLetter::of_row(row)));
    Ok(dead)
}
