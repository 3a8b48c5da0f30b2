//! `dead-letters discard`: marks the run as discarded in the ledger, then removes the message.
//! After a crash in between, a second discard removes the message.

use serde::Serialize;
use shared::ledger::{Discard, Ledger, State};
use shared::message::Message;

use super::arguments::DiscardArguments;
use super::choose::confirmed;
use super::letter::{Body, DeadLetter};
use super::queue::HeldLetters;
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
    if !confirmed(which, "Discard", chosen.len())? {
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

async fn discard(ledger: &Ledger, held: &mut HeldLetters<'_>, letter: &DeadLetter) -> Result<(), CommandError> {
    if let Some(job) = letter.message.as_ref().and_then(Message::job) {
        ledger.discard(&job, discards(letter)).await?;
    }
    if let Some(tag) = letter.tag {
        held.remove(tag).await?;
    }
    Ok(())
}

/// Which states of a run a discard may change. PURE.
fn discards(letter: &DeadLetter) -> Discard {
    if letter.by_broker {
        // The broker gave the message up and did not tell the ledger, where the run is still as it
        // was in the queue.
        Discard::WhateverRests
    } else {
        // A worker gave it up, so the run is dead in the ledger. If it is not, the run was
        // requeued, and the message is a leftover.
        Discard::Dead
    }
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
        let goes_on = state.is_some_and(|state| state != State::Dead) && !letter.by_broker;
        line(format!(
            "{}  {}  ledger: {}{}",
            letter.id,
            cell(letter.error_code.as_ref()),
            cell(state),
            if goes_on { ", which stays so" } else { "" }
        ));
    }
}
