//! `dead-letters discard`: says what it will give up, asks, and does it.

use serde::Serialize;
use shared::ledger::Ledger;

use super::arguments::DiscardArguments;
use super::view::Body;
use crate::dead_letters::{DeadLetter, HeldLetters, discard, goes_on};
use crate::error::CommandError;
use crate::output::{self, Exit, cell, count, line, progress};
use crate::report::{Failure, say_failed};

#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    discarded: Vec<Discarded>,
    /// These are still dead letters
    failed: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct Discarded {
    id: String,
    /// The last copy of the message
    #[serde(flatten)]
    body: Body,
}

pub(super) async fn execute(
    arguments: &DiscardArguments,
    ledger: &Ledger,
    held: &mut HeldLetters<'_>,
    chosen: Vec<DeadLetter>,
) -> Result<Exit, CommandError> {
    let which = &arguments.which;
    let mut report = Report {
        dry_run: which.dry_run,
        ..Report::default()
    };
    if !which.json {
        announce(&chosen, which.dry_run);
    }
    if !which.confirmed("Discard", chosen.len())? {
        line("Nothing was discarded.");
        return Ok(Exit::Done);
    }
    let bar = progress("discarding", chosen.len());
    for letter in chosen {
        let done = if which.dry_run {
            Ok(())
        } else {
            discard(ledger, held, &letter).await
        };
        match done {
            Ok(()) => report.discarded.push(Discarded {
                body: Body::of(&letter.body),
                id: letter.id,
            }),
            Err(error) => report.failed.push(Failure {
                id: letter.id,
                error: error.to_string(),
            }),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if which.json {
        output::json(&report);
    } else if !which.dry_run && !report.discarded.is_empty() {
        line(format!("{} discarded.", count(report.discarded.len(), "dead letter")));
    }
    say_failed(&report.failed, "not discarded; it is still a dead letter");
    Ok(Exit::of(report.failed.is_empty()))
}

fn announce(letters: &[DeadLetter], dry_run: bool) {
    if letters.is_empty() {
        line("Nothing to discard.");
        return;
    }
    let would = if dry_run { "Would discard" } else { "To be discarded" };
    line(format!("{would}, {}:", count(letters.len(), "dead letter")));
    for letter in letters {
        let state = letter.ledger.as_ref().map(|row| row.state);
        line(format!(
            "{}  {}  ledger: {}{}",
            letter.id,
            cell(letter.error_code.as_ref()),
            cell(state),
            if goes_on(letter).is_some() {
                ", which stays so"
            } else {
                ""
            }
        ));
    }
}
