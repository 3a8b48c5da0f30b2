//! What can be asked of the dead letters.

use std::time::Duration;

use clap::{Args, Subcommand};
use shared::error_code::ErrorCode;
use shared::settings::parse_duration;

/// What to do with the dead letters.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Show them: id, cause, attempts, first failure, and what the ledger knows
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArguments),
    /// Show one: body, headers, ledger row, how far each stream came, the last answer
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArguments),
    /// Publish them again, once their cause is gone
    #[command(after_help = REQUEUE_EXAMPLES)]
    Requeue(RequeueArguments),
    /// Give them up for good
    #[command(after_help = DISCARD_EXAMPLES)]
    Discard(DiscardArguments),
}

const LIST_EXAMPLES: &str = "\
Examples:
  producer dead-letters list
  producer dead-letters list --group
  producer dead-letters list --error-code unauthorized --older-than 2h
  producer dead-letters list --project clx1abc --json | jq '.dead_letters[].id'

JSON: {\"dead_letters\": [{id, project_id, day, run, error_code, error, attempt, first_failed_at, in_queue, state, body}]};
with --group {\"groups\": [{error_code, dead_letters, projects, oldest, newest, example, advice}]}.
`in_queue` is false for a run that is dead in the ledger and whose message is gone from the queue; requeue works for it too.
An id that begins with `raw/` is of a message that is no job, or has no run.";

const SHOW_EXAMPLES: &str = "\
Examples:
  producer dead-letters show clx1abc/2024-06-01/daily
  producer dead-letters show raw/0a1b2c3d4e5f --json

JSON: the fields of `list`, and {advice, headers, messages, run_row, streams: [{stream, done, cursor_time, cursor_id, sent,
rejected, batches, bytes, updated_at}], rejects: [{stream, row_id, reason}], rejects_in_all}. `error` is the last answer.";

const REQUEUE_EXAMPLES: &str = "\
Examples:
  producer dead-letters requeue clx1abc/2024-06-01/daily
  producer dead-letters requeue --project clx1abc --dry-run
  producer dead-letters requeue --error-code unauthorized --yes
  producer dead-letters requeue --all --older-than 2h --yes

Each is published, confirmed by the broker, and only then removed from the dead letters. Messages that are no job
(`bad_message`) stay where they are unless --force: they would come back at once. What is chosen by a filter is asked for
once more, unless --yes; without a terminal --yes is needed. A project that was paused because of such a failure is
resumed: requeuing says that the cause is gone. One that a human paused stays paused.

JSON: {dry_run, requeued: [id], failed: [{id, error}], left: [id], resumed: [project_id]}.

Exit code: 0 when all were confirmed, 1 when one was not or an id was not found.";

const DISCARD_EXAMPLES: &str = "\
Examples:
  producer dead-letters discard raw/0a1b2c3d4e5f
  producer dead-letters discard --error-code unknown_project --older-than 7d --dry-run
  producer dead-letters discard --project clx1abc --yes

The ledger says `discarded` before the message is removed. A discarded daily run gives its day up: `enqueue` leaves it out;
`producer replay` still exports it. A run that has gone on since (requeued, completed) is left alone, and only its old
message removed. Asks once more, unless --yes; without a terminal --yes is needed.

JSON: {dry_run, discarded: [{id, body}], failed: [{id, error}]}; the bodies are the last copies.

Exit code: 0 when all were discarded, 1 when one was not or an id was not found.";

/// Which dead letters, by what they are about.
#[derive(Args, Clone, Debug, Default)]
pub struct Filters {
    /// Only this project
    #[arg(long, value_name = "ID")]
    pub project: Option<String>,
    /// Only this cause
    #[arg(long, value_name = "CODE")]
    pub error_code: Option<ErrorCode>,
    /// Only what failed first longer ago than this: 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    pub older_than: Option<Duration>,
}

/// Which to change: by id, by filter, or all.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Args, Clone, Debug, Default)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["ids", "project", "error_code", "older_than", "all"])))]
pub struct Which {
    /// These, as `list` names them: project/day/run
    #[arg(value_name = "ID", conflicts_with_all = ["project", "error_code", "older_than", "all"])]
    pub ids: Vec<String>,
    /// By what they are about
    #[command(flatten)]
    pub filters: Filters,
    /// All
    #[arg(long, conflicts_with_all = ["project", "error_code"])]
    pub all: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `list`.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArguments {
    /// By what they are about
    #[command(flatten)]
    pub filters: Filters,
    /// One line for each cause
    #[arg(long)]
    pub group: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArguments {
    /// As `list` names it: project/day/run
    #[arg(value_name = "ID")]
    pub id: String,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `requeue`.
#[derive(Args, Clone, Debug, Default)]
pub struct RequeueArguments {
    /// Which
    #[command(flatten)]
    pub which: Which,
    /// Messages that are no job, too
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `discard`.
#[derive(Args, Clone, Debug, Default)]
pub struct DiscardArguments {
    /// Which
    #[command(flatten)]
    pub which: Which,
}
