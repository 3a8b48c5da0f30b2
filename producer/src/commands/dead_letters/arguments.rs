//! Arguments and help texts of `dead-letters`.

use std::time::Duration;

use clap::{Args, Subcommand};
use shared::error_code::ErrorCode;
use shared::settings::parse_duration;

use crate::dead_letters::Filter;
use crate::error::CommandError;
use crate::output::{self, count};

/// What to do with the dead letters.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show each dead letter's id, cause, attempts, first failure and state in the ledger
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArguments),
    /// Show everything about one dead letter
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArguments),
    /// Publish dead letters again, once their cause is gone
    #[command(after_help = REQUEUE_EXAMPLES)]
    Requeue(RequeueArguments),
    /// Give dead letters up for good
    #[command(after_help = DISCARD_EXAMPLES)]
    Discard(DiscardArguments),
}

const LIST_EXAMPLES: &str = "\
Examples:
  producer dead-letters list
  producer dead-letters list --group
  producer dead-letters list --error-code unauthorized --older-than 2h
  producer dead-letters list --limit 20
  producer dead-letters list --project clx1abc --json | jq '.dead_letters[].id'

A run that is dead in the ledger is listed also when its message is gone from the queue: `in_queue`
is then false. `requeue` works for it, too. An id that begins with `raw/` belongs to a message that
is no job, or that names no run.

JSON: {\"dead_letters\": [{id, project_id, day, run, error_code, error, attempt, first_failed_at,
in_queue, state, body}]}; with --group {\"groups\": [{error_code, dead_letters, projects, oldest,
newest, example, advice}]}. A body that is not UTF-8 also comes whole, as `body_base64`.";

const SHOW_EXAMPLES: &str = "\
Examples:
  producer dead-letters show clx1abc/2024-06-01/daily
  producer dead-letters show raw/0a1b2c3d4e5f --json

It shows the message's body, the run's row in the ledger, how far each stream came, and the rows
that PostHog refused. `error` is the text of the last failure. A run that is dead in the ledger is
shown without a look into the queue, where its message may lie behind thousands: the body is then
made from the ledger, and `in_queue`, `headers` and `messages` are null. --message looks there, too.

Exit code: 1 when no dead letter has this id.

JSON: the fields of `list`, and {advice, headers, messages, run_row, streams: [{stream, done,
cursor_time, cursor_id, sent, rejected, batches, bytes, updated_at}],
rejects: [{stream, row_id, reason}], rejects_in_all}.";

const REQUEUE_EXAMPLES: &str = "\
Examples:
  producer dead-letters requeue clx1abc/2024-06-01/daily
  producer dead-letters requeue --project clx1abc --dry-run
  producer dead-letters requeue --error-code unauthorized --yes
  producer dead-letters requeue --all --older-than 2h --yes

Each message is published, confirmed by the broker, and only then removed from the dead letters.
Messages that are no job (`bad_message`) would come back at once, so they stay where they are unless
--force is given.

The command asks before it requeues what a filter has chosen. --yes answers for you; without a
terminal it is needed.

Requeuing says that the cause is gone. So it also resumes the projects that such a failure has
paused; those that a person has paused stay paused.

Exit code: 0 when all were confirmed; 1 when one was not, or when an id was not found.

JSON: {dry_run, requeued: [id], failed: [{id, error}], left: [id], resumed: [project_id]}.";

const DISCARD_EXAMPLES: &str = "\
Examples:
  producer dead-letters discard raw/0a1b2c3d4e5f
  producer dead-letters discard --error-code unknown_project --older-than 7d --dry-run
  producer dead-letters discard --project clx1abc --yes

The run becomes `discarded` in the ledger, and then the message is removed. When the daily run of a
day is discarded, `enqueue` no longer publishes that day; `producer replay` still exports it. A run
that has gone on since, for example because it was requeued, stays as it is: only its old message is
removed.

The command asks before it discards. --yes answers for you; without a terminal it is needed.

Exit code: 0 when all were discarded; 1 when one was not, or when an id was not found.

JSON: {dry_run, discarded: [{id, body}], failed: [{id, error}]}. After this, a body is nowhere else;
one that is not UTF-8 also comes whole, as `body_base64`.";

/// Which dead letters, by project, cause and age.
#[derive(Args, Clone, Debug, Default)]
pub struct Filters {
    /// Only this project
    #[arg(long, value_name = "ID")]
    pub project: Option<String>,
    /// Only this cause (error code)
    #[arg(long, value_name = "CODE")]
    pub error_code: Option<ErrorCode>,
    /// Only those that failed first longer ago than this: 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub older_than: Option<Duration>,
}

impl Filters {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            project: self.project.clone(),
            error_code: self.error_code,
            older_than: self.older_than,
        }
    }
}

/// Which dead letters to change: by id, by filter, or all.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Args, Clone, Debug, Default)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "project", "error_code", "older_than", "all"])))]
pub struct Which {
    /// These dead letters; `list` shows the ids: project/day/run
    #[arg(value_name = "ID", conflicts_with_all = ["project", "error_code", "older_than", "all"])]
    pub ids: Vec<String>,
    /// By project, cause and age
    #[command(flatten)]
    pub filters: Filters,
    /// All dead letters
    #[arg(long, conflicts_with_all = ["project", "error_code"])]
    pub all: bool,
    /// Do not ask before anything is changed
    #[arg(long)]
    pub yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl Which {
    /// Asks the person at the terminal, unless told not to. `false`: do nothing.
    pub(super) fn confirmed(&self, verb: &str, number: usize) -> Result<bool, CommandError> {
        if self.yes || self.dry_run || number == 0 {
            return Ok(true);
        }
        output::confirm(&format!("{verb} {}?", count(number, "dead letter")))
    }
}

/// Arguments of `list`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArguments {
    /// By project, cause and age
    #[command(flatten)]
    pub filters: Filters,
    /// One line for each cause
    #[arg(long)]
    pub group: bool,
    /// List at most this many
    #[arg(long, value_name = "NUMBER", conflicts_with = "group")]
    pub limit: Option<usize>,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArguments {
    /// Which dead letter; `list` shows the ids: project/day/run
    #[arg(value_name = "ID")]
    pub id: String,
    /// Also look for its message in the queue, to show its headers and its body as it came
    #[arg(long)]
    pub message: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `requeue`.
#[derive(Args, Clone, Debug, Default)]
pub struct RequeueArguments {
    /// Which dead letters
    #[command(flatten)]
    pub which: Which,
    /// Also messages that are no job (`bad_message`)
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `discard`.
#[derive(Args, Clone, Debug, Default)]
pub struct DiscardArguments {
    /// Which dead letters
    #[command(flatten)]
    pub which: Which,
}
