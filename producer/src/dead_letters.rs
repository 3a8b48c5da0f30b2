//! `dead-letters`: what needs a human, with its cause; and back into the queue once the cause is gone.

mod queue;
mod requeue;

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::error_code::ErrorCode;
use shared::job::{ExportJob, Headers};
use shared::ledger::{Filter, Ledger, RunKey, RunRow, State};
use shared::settings::Settings;

use crate::config::{self, Server};
use crate::enqueue::lock;
use crate::error::CommandError;
use crate::output::{self, Outcome, cell, line, moment, shorten};
use crate::plan::job_of;
use crate::servers::{self, Broker};

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

/// A dead letter: a message of the queue, or a dead run of the ledger whose message is gone.
#[derive(Debug)]
struct DeadLetter {
    id: String,
    /// `None` for a body that is no job
    job: Option<ExportJob>,
    body: Vec<u8>,
    headers: Headers,
    error_code: Option<String>,
    ledger: Option<RunRow>,
    /// How the broker knows it on our channel; `None` when it is not in the queue
    tag: Option<u64>,
}

impl DeadLetter {
    fn of_message(letter: Letter, rows: &BTreeMap<String, RunRow>) -> Self {
        let job = ExportJob::decode(&letter.body).ok();
        let key = job.as_ref().and_then(key_of);
        let row = key.as_ref().and_then(|key| rows.get(&key.to_string())).cloned();
        let by_ledger = || row.as_ref().filter(|row| row.state == State::Dead)?.error_code.clone();
        Self {
            id: key.map_or_else(|| raw_id(&letter.body), |key| key.to_string()),
            error_code: letter
                .headers
                .error_code
                .clone()
                .or(letter.broker_reason)
                .or_else(by_ledger),
            job,
            body: letter.body,
            headers: letter.headers,
            ledger: row,
            tag: Some(letter.tag),
        }
    }

    /// The message is gone, but the row knows the job.
    fn of_row(row: &RunRow) -> Self {
        let job = job_of(row);
        Self {
            id: row.key().to_string(),
            body: job.encode(),
            job: Some(job),
            headers: Headers::default(),
            error_code: row.error_code.clone(),
            ledger: Some(row.clone()),
            tag: None,
        }
    }

    fn error(&self) -> Option<&str> {
        let by_ledger = || self.ledger.as_ref()?.error.as_deref();
        self.headers.error.as_deref().or_else(by_ledger)
    }

    fn attempt(&self) -> Option<i32> {
        self.headers.attempt.or_else(|| Some(self.ledger.as_ref()?.attempt))
    }

    fn first_failed_at(&self) -> Option<DateTime<Utc>> {
        let by_ledger = || self.ledger.as_ref()?.first_failed_at;
        self.headers.first_failed_at.or_else(by_ledger)
    }

    fn is(&self, project: Option<&String>, code: Option<ErrorCode>) -> bool {
        let of_project = project.is_none_or(|id| self.job.as_ref().is_some_and(|job| job.project_id == *id));
        of_project && code.is_none_or(|code| self.error_code.as_deref() == Some(code.as_str()))
    }

    fn view(&self) -> View<'_> {
        View {
            id: &self.id,
            project_id: self.job.as_ref().map(|job| job.project_id.as_str()),
            day: self.job.as_ref().map(|job| job.day.to_string()),
            run: self.job.as_ref().and_then(|job| job.run.as_deref()),
            error_code: self.error_code.as_deref(),
            error: self.error(),
            attempt: self.attempt(),
            first_failed_at: self.first_failed_at(),
            in_queue: self.tag.is_some(),
            state: self.ledger.as_ref().map(|row| row.state),
            body: String::from_utf8_lossy(&self.body).into_owned(),
        }
    }
}

/// What `--json` writes of a dead letter.
#[derive(Serialize)]
struct View<'a> {
    id: &'a str,
    project_id: Option<&'a str>,
    day: Option<String>,
    run: Option<&'a str>,
    error_code: Option<&'a str>,
    error: Option<&'a str>,
    attempt: Option<i32>,
    first_failed_at: Option<DateTime<Utc>>,
    in_queue: bool,
    state: Option<State>,
    body: String,
}

fn key_of(job: &ExportJob) -> Option<RunKey> {
    Some(RunKey {
        project_id: job.project_id.clone(),
        day: job.day,
        run: job.run.clone()?,
    })
}

/// The same body has the same id, today and tomorrow.
fn raw_id(body: &[u8]) -> String {
    format!("raw/{}", hex::encode(&Sha256::digest(body)[..6]))
}

/// Runs the command.
pub async fn run(command: &Command, config: Config) -> Result<Outcome, CommandError> {
    let ledger = servers::ledger(&config.ledger).await?;
    let broker = Broker::connect(&config.broker).await?;
    let lock = lock(&ledger, LOCK).await?;
    let (held, letters) = Held::take_all(&broker).await?;
    let letters = join(&ledger, letters).await?;
    let outcome = match command {
        Command::List(arguments) => {
            // Before the first line: whoever pipes us into a pager must not keep them.
            held.give_back().await?;
            list(arguments, &letters);
            Outcome::Done
        }
        Command::Requeue(arguments) => {
            let outcome = requeue::run(arguments, &ledger, &broker, &held, letters).await;
            held.give_back().await?;
            outcome?
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
