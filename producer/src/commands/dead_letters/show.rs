//! `dead-letters show`: everything that is known about one dead letter.

use serde::Serialize;
use serde_json::{Map, Value};
use shared::job::RunKey;
use shared::ledger::{Ledger, RejectRow, RunRow, StreamRow};
use shared::message::Message;

use super::arguments::ShowArguments;
use super::view::View;
use crate::advice::advice;
use crate::dead_letters::DeadLetter;
use crate::error::CommandError;
use crate::output::{self, cell, count, line, moment, plain, shorten};

/// Characters of a field for people. `--json` writes all of it.
const LONGEST_FIELD: usize = 2_000;
/// How many rejected rows are shown. All of them are in the ledger.
const REJECTS: i64 = 20;

/// Where a dead letter was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Only in the ledger, which has the run as dead
    AtTheLedger,
    /// In the queue
    InTheQueue,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    view: View<'a>,
    advice: &'static str,
    /// All headers of the message, the broker's own included
    headers: Option<&'a Map<String, Value>>,
    /// How many times this message was met in the queue
    messages: Option<usize>,
    run_row: Option<&'a RunRow>,
    streams: Vec<StreamRow>,
    rejects: Vec<RejectRow>,
    rejects_in_all: i64,
}

pub(super) async fn execute(
    arguments: &ShowArguments,
    ledger: &Ledger,
    letters: &[DeadLetter],
    looked: Looked,
) -> Result<(), CommandError> {
    let same: Vec<&DeadLetter> = letters.iter().filter(|letter| letter.id == arguments.id).collect();
    let Some(letter) = same.first() else {
        return Err(CommandError::refused(format!(
            "no dead letter has the id {} (see `producer dead-letters list`)",
            arguments.id
        )));
    };
    let key: Option<RunKey> = letter.message.as_ref().and_then(Message::key);
    let (streams, rejects, rejects_in_all) = match key.as_ref().filter(|_| letter.ledger.is_some()) {
        None => (Vec::new(), Vec::new(), 0),
        Some(key) => {
            let (rejects, all) = ledger.rejects(key, REJECTS).await?;
            (ledger.streams(key).await?, rejects, all)
        }
    };
    let in_queue = looked == Looked::InTheQueue;
    let mut view = View::of(letter);
    view.in_queue = in_queue.then_some(letter.tag.is_some());
    let shown = Shown {
        view,
        advice: advice(letter.error_code.as_deref().unwrap_or("unknown")),
        headers: in_queue.then_some(&letter.raw_headers),
        messages: in_queue.then(|| same.iter().filter(|letter| letter.tag.is_some()).count()),
        run_row: letter.ledger.as_ref(),
        streams,
        rejects,
        rejects_in_all,
    };
    if arguments.json {
        output::json(&shown);
    } else {
        say(letter, &shown);
    }
    Ok(())
}

fn say(letter: &DeadLetter, shown: &Shown<'_>) {
    let field = |name: &str, value: String| line(format!("{name:<14}{}", shorten(&plain(&value), LONGEST_FIELD)));
    field("id", letter.id.clone());
    field("cause", cell(letter.error_code.as_ref()));
    field("what to do", shown.advice.to_owned());
    field("last answer", letter.error().unwrap_or("-").to_owned());
    field("failed first", cell(letter.first_failed_at().map(moment)));
    field("attempts", cell(letter.attempt()));
    let not_looked = || "not looked for; --message does".to_owned();
    let messages = shown.messages.map(|number| count(number, "message"));
    field("in the queue", messages.unwrap_or_else(not_looked));
    field("body", String::from_utf8_lossy(&letter.body).into_owned());
    for (name, value) in shown.headers.into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        field("header", format!("{name}: {value}"));
    }
    let Some(row) = shown.run_row else {
        field("ledger", "has no row of this run".to_owned());
        return;
    };
    field("ledger", row.state.to_string());
    field("  worker", cell(row.worker.as_ref()));
    field("  queued", moment(row.queued_at));
    field("  began", cell(row.started_at.map(moment)));
    field("  take-overs", row.takeovers.to_string());
    if !shown.streams.is_empty() {
        line("");
        let row = |stream: &StreamRow| {
            [
                stream.stream.to_string(),
                if stream.done { "yes" } else { "no" }.to_owned(),
                stream.sent.to_string(),
                stream.rejected.to_string(),
                stream.batches.to_string(),
                cell(stream.cursor_time.map(|time| time.format("%Y-%m-%d %H:%M:%S%.3f"))),
                cell(stream.cursor_id.as_ref()),
            ]
        };
        let header = ["STREAM", "DONE", "SENT", "REJECTED", "BATCHES", "UP TO", "ROW"];
        output::table(header, shown.streams.iter().map(row));
    }
    if !shown.rejects.is_empty() {
        line("");
        let row = |reject: &RejectRow| [reject.stream.to_string(), reject.row_id.clone(), reject.reason.clone()];
        output::table(["STREAM", "REJECTED ROW", "WHY"], shown.rejects.iter().map(row));
        let named = i64::try_from(shown.rejects.len()).unwrap_or(i64::MAX);
        if shown.rejects_in_all > named {
            line(format!("and {} more", shown.rejects_in_all - named));
        }
    }
}
