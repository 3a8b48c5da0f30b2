//! `dead-letters requeue`: says what it will publish again, asks, and does it.

use serde::Serialize;
use shared::ledger::Ledger;

use super::arguments::RequeueArguments;
use crate::dead_letters::{DeadLetter, HeldLetters, Requeue, is_bad, once_each, paused, projects, requeue};
use crate::error::CommandError;
use crate::output::{self, Exit, count, line, share};
use crate::report::{Failure, say_failed};
use crate::servers::Broker;

#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    /// Published, and removed from the dead letters
    requeued: Vec<String>,
    /// Not confirmed, so these are still dead letters
    failed: Vec<Failure>,
    /// Messages that are no job, which are still dead letters
    left: Vec<String>,
    /// Projects that a failure had paused, and that are exported again
    resumed: Vec<String>,
}

pub(super) async fn execute(
    arguments: &RequeueArguments,
    ledger: &Ledger,
    broker: &Broker,
    held: &mut HeldLetters<'_>,
    chosen: Vec<DeadLetter>,
) -> Result<Exit, CommandError> {
    let which = &arguments.which;
    let mut report = Report {
        dry_run: which.dry_run,
        ..Report::default()
    };
    let chosen = leave_bad(arguments, chosen, &mut report)?;
    let now = ledger.now().await?;
    let jobs = once_each(chosen, now);
    if !which.json {
        announce(&jobs, &report);
    }
    // No question about dead letters that were named one by one.
    if which.ids.is_empty() && !which.confirmed("Requeue", jobs.len())? {
        line("Nothing was requeued.");
        return Ok(Exit::Done);
    }
    let mut broke_off = None;
    if which.dry_run {
        report.requeued = jobs.iter().map(|job| job.id.clone()).collect();
    } else if !jobs.is_empty() {
        for project in paused(ledger, projects(&jobs)).await?.by_human {
            tracing::warn!(
                project,
                "a person paused the project: its jobs are skipped until `producer projects resume`"
            );
        }
        let done = requeue(ledger, broker, held, &jobs).await?;
        broke_off = done.broke_off;
        (report.requeued, report.failed, report.resumed) = (done.requeued, done.failed, done.resumed);
    }
    if which.json {
        output::json(&report);
    } else if !which.dry_run && !jobs.is_empty() {
        line(format!(
            "{} requeued.",
            share(report.requeued.len(), jobs.len(), "dead letter")
        ));
        if !report.resumed.is_empty() {
            line(format!(
                "Resumed, since they were paused: {}.",
                report.resumed.join(", ")
            ));
        }
    }
    say_failed(&report.failed, "not confirmed by the broker; it is still a dead letter");
    // After what was done: that stays so.
    broke_off.map_or(Ok(()), Err)?;
    Ok(Exit::of(report.failed.is_empty()))
}

/// Leaves out the messages that would come back at once, or refuses them when they were named.
fn leave_bad(
    arguments: &RequeueArguments,
    chosen: Vec<DeadLetter>,
    report: &mut Report,
) -> Result<Vec<DeadLetter>, CommandError> {
    let (chosen, bad): (Vec<DeadLetter>, Vec<DeadLetter>) = chosen
        .into_iter()
        .partition(|letter| arguments.force || !is_bad(letter));
    report.left = bad.into_iter().map(|letter| letter.id).collect();
    if !report.left.is_empty() {
        let reason = format!(
            "{} no job and would come back at once; publish a corrected message instead, or use --force: {}",
            if report.left.len() == 1 {
                "this message is"
            } else {
                "these messages are"
            },
            report.left.join(", ")
        );
        if !arguments.which.ids.is_empty() {
            return Err(CommandError::refused(format!("{reason}; nothing was requeued")));
        }
        tracing::warn!("left in place: {reason}");
    }
    Ok(chosen)
}

fn announce(jobs: &[Requeue], report: &Report) {
    if jobs.is_empty() {
        line("Nothing to requeue.");
        return;
    }
    let would = if report.dry_run { "Would requeue" } else { "Requeuing" };
    line(format!("{would} {}:", count(jobs.len(), "dead letter")));
    for job in jobs {
        line(format!("{}  to {}", job.id, job.lane.queue()));
    }
}
