//! `dead-letters`: what needs a human, with its cause; and back into the queue once the cause is gone.

mod letter;
mod queue;
mod requeue;

use std::collections::{BTreeMap, HashSet};

use clap::{Args, Subcommand};
use shared::error_code::ErrorCode;
use shared::job::ExportJob;
use shared::ledger::{Filter, Ledger, RunRow, State};
use shared::settings::Settings;

use crate::config::{self, Server};
use crate::enqueue::lock;
use crate::error::CommandError;
use crate::output::{self, Outcome, cell, line, moment, shorten};
use crate::servers::{self, Broker};

use letter::{DeadLetter, View};
use queue::{Held, Letter};

/// The lock under which dead letters are looked at: whoever looks holds all of them meanwhile.
const LOCK: &str = "dead-letters";

/// What to do with the dead letters.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show them: id, cause, attempts, first failure, and what the ledger knows
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArguments),
    /// Publish them again, once their cause is gone
    #[command(after_help = REQUEUE_EXAMPLES)]
    Requeue(RequeueArguments),
}

const LIST_EXAMPLES: &str = "\
Examples:
  producer dead-letters list
  producer dead-letters list --error-code unauthorized
  producer dead-letters list --project clx1abc --json | jq '.dead_letters[].id'

JSON: {\"dead_letters\": [{id, project_id, day, run, error_code, error, attempt, first_failed_at, in_queue, state, body}]}.
`in_queue` is false for a run that is dead in the ledger and whose message is gone from the queue; requeue works for it too.
An id that begins with `raw/` is of a message that is no job, or has no run.";

const REQUEUE_EXAMPLES: &str = "\
Examples:
  producer dead-letters requeue clx1abc/2024-06-01/daily
  producer dead-letters requeue --project clx1abc --dry-run
  producer dead-letters requeue --error-code unauthorized
  producer dead-letters requeue --all

Each is published, confirmed by the broker, and only then removed from the dead letters. Messages that are no job
(`bad_message`) stay where they are unless --force: they would come back at once.

Exit code: 0 when all were confirmed, 1 when one was not or an id was not found.";

/// Arguments of `list`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArguments {
    /// Only this project
    #[arg(long, value_name = "ID")]
    pub project: Option<String>,
    /// Only this cause
    #[arg(long, value_name = "CODE")]
    pub error_code: Option<ErrorCode>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `requeue`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Args, Clone, Debug, Default)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(["ids", "project", "error_code", "all"])))]
pub struct RequeueArguments {
    /// These, as `list` names them: project/day/run
    #[arg(value_name = "ID", conflicts_with_all = ["project", "error_code", "all"])]
    pub ids: Vec<String>,
    /// Those of this project
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub project: Option<String>,
    /// Those with this cause
    #[arg(long, value_name = "CODE", conflicts_with = "all")]
    pub error_code: Option<ErrorCode>,
    /// All
    #[arg(long)]
    pub all: bool,
    /// Messages that are no job, too
    #[arg(long)]
    pub force: bool,
    /// Say what would be published, and publish nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

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

/// Runs the command.
pub async fn run(command: &Command, config: Config) -> Result<Outcome, CommandError> {
    let ledger = servers::ledger(&config.ledger).await?;
    let broker = Broker::connect(&config.broker).await?;
    let lock = lock(&ledger, LOCK).await?;
    let (mut held, letters) = Held::take_all(&broker).await?;
    let letters = join(&ledger, letters).await?;
    let outcome = match command {
        Command::List(arguments) => {
            // Before the first line: whoever pipes us into a pager must not keep them.
            held.give_back().await?;
            list(arguments, &letters);
            Outcome::Done
        }
        Command::Requeue(arguments) => {
            let outcome = requeue::run(arguments, &ledger, &broker, &mut held, letters).await;
            let given_back = held.give_back().await;
            let outcome = outcome?;
            given_back?;
            outcome
        }
    };
    lock.release().await?;
    broker.close().await;
    Ok(outcome)
}

/// The messages in the order of the queue, then the dead runs that have none.
async fn join(ledger: &Ledger, letters: Vec<Letter>) -> Result<Vec<DeadLetter>, CommandError> {
    let jobs = letters.iter().filter_map(|letter| ExportJob::decode(&letter.body).ok());
    let mut projects: Vec<String> = jobs.map(|job| job.project_id).collect();
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

fn list(arguments: &ListArguments, letters: &[DeadLetter]) {
    let wanted = |letter: &&DeadLetter| letter.is(arguments.project.as_ref(), arguments.error_code);
    let shown: Vec<&DeadLetter> = letters.iter().filter(wanted).collect();
    if arguments.json {
        let views: Vec<View<'_>> = shown.iter().map(|letter| letter.view()).collect();
        output::json(&serde_json::json!({ "dead_letters": views }));
        return;
    }
    if shown.is_empty() {
        line("No dead letters.");
        return;
    }
    let row = |letter: &&DeadLetter| {
        let state = letter.ledger.as_ref().map(|row| row.state);
        [
            letter.id.clone(),
            cell(letter.error_code.as_ref()),
            cell(letter.attempt()),
            cell(letter.first_failed_at().map(moment)),
            if letter.tag.is_some() {
                cell(state)
            } else {
                format!("{}, no message", cell(state))
            },
            shorten(letter.error().unwrap_or("-"), 100),
        ]
    };
    line(output::table(
        ["ID", "CAUSE", "ATTEMPTS", "FAILED FIRST", "LEDGER", "ERROR"],
        shown.iter().map(row),
    ));
    let mut causes: BTreeMap<&str, usize> = BTreeMap::new();
    for letter in &shown {
        *causes
            .entry(letter.error_code.as_deref().unwrap_or("unknown"))
            .or_default() += 1;
    }
    line("");
    for (cause, number) in causes {
        let advice = cause
            .parse::<ErrorCode>()
            .map_or("Look at the workers' log.", ErrorCode::advice);
        line(format!("{number} × {cause}: {advice}"));
    }
}
