//! `dead-letters`: shows the jobs that need a person, with their cause. Puts them back into the
//! queue once the cause is gone, or gives them up.

mod arguments;
mod discard;
mod list;
mod requeue;
mod show;
mod view;

use chrono::{DateTime, Utc};
use shared::settings::Settings;

use crate::config::{self, Server};
use crate::dead_letters::{DeadLetter, HeldLetters, Keep, LOCK, choose, dead_run, read};
use crate::error::CommandError;
use crate::lock;
use crate::output::Exit;
use crate::servers::{self, Broker};

pub use arguments::{Command, DiscardArguments, Filters, ListArguments, RequeueArguments, ShowArguments, Which};
use show::Looked;

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
    let (mut held, letters) = read(&ledger, &broker, &Keep::All).await?;
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
            let exit = match chosen(&arguments.which, letters, &held, now) {
                Ok(chosen) => requeue::execute(arguments, &ledger, &broker, &mut held, chosen).await,
                Err(error) => Err(error),
            };
            finish(held, exit).await?
        }
        Command::Discard(arguments) => {
            let exit = match chosen(&arguments.which, letters, &held, now) {
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

/// The dead letters that the arguments mean.
fn chosen(
    which: &Which,
    letters: Vec<DeadLetter>,
    held: &HeldLetters<'_>,
    now: DateTime<Utc>,
) -> Result<Vec<DeadLetter>, CommandError> {
    choose(&which.ids, &which.filters.filter(), letters, held.is_part(), now)
}

/// Gives back what was not removed, also after an error. The command's own error comes first.
async fn finish(held: HeldLetters<'_>, exit: Result<Exit, CommandError>) -> Result<Exit, CommandError> {
    let given_back = held.give_back().await;
    let exit = exit?;
    given_back?;
    Ok(exit)
}
