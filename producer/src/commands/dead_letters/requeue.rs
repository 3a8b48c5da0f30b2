//! `dead-letters requeue`: publishes a message, waits for its confirm, records it, and only then
//! removes the dead letter. A crash in between leaves the message twice, which is harmless; none is
//! lost.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use shared::error_code::ErrorCode;
use shared::headers::Headers;
use shared::job::RunKey;
use shared::ledger::Ledger;
use shared::message::Message;
use shared::topology::Lane;
use shared::trace::Traceparent;

use super::arguments::RequeueArguments;
use super::choose::confirmed;
use super::letter::DeadLetter;
use super::queue::HeldLetters;
use crate::error::CommandError;
use crate::output::{self, Exit, count, line, progress};
use crate::plan::lane;
use crate::publish::{Outgoing, Pipeline, WINDOW};
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

/// A message to publish. Several dead letters may hold the same one; it is published once.
struct Requeue {
    id: String,
    /// Its row, if it is a job with a run
    key: Option<RunKey>,
    lane: Lane,
    body: Vec<u8>,
    traceparent: Option<Traceparent>,
    /// The dead letters to remove once it is confirmed
    tags: Vec<u64>,
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
    if which.ids.is_empty() && !confirmed(which, "Requeue", jobs.len())? {
        line("Nothing was requeued.");
        return Ok(Exit::Done);
    }
    if which.dry_run {
        report.requeued = jobs.iter().map(|job| job.id.clone()).collect();
    } else if !jobs.is_empty() {
        // Before the first is published: a worker skips the jobs of a paused project.
        report.resumed = resume(ledger, &jobs).await?;
        let publisher = broker.publisher().await?;
        let mut pipeline = Pipeline::new(&publisher);
        let bar = progress("requeuing", jobs.len());
        for window in jobs.chunks(WINDOW) {
            publish(&mut pipeline, ledger, held, window, &mut report).await?;
            bar.inc(u64::try_from(window.len()).unwrap_or(0));
        }
        bar.finish_and_clear();
    }
    if which.json {
        output::json(&report);
    } else if !which.dry_run && !jobs.is_empty() {
        line(format!(
            "{} of {} requeued.",
            report.requeued.len(),
            count(jobs.len(), "dead letter")
        ));
        if !report.resumed.is_empty() {
            line(format!(
                "Resumed, since they were paused: {}.",
                report.resumed.join(", ")
            ));
        }
    }
    say_failed(&report.failed, "not confirmed by the broker; it is still a dead letter");
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

/// Ends the pauses of these projects that came from a failure: requeuing says that the cause is
/// gone. Pauses by a human stay.
async fn resume(ledger: &Ledger, jobs: &[Requeue]) -> Result<Vec<String>, CommandError> {
    let projects: BTreeSet<String> = jobs
        .iter()
        .filter_map(|job| job.key.as_ref())
        .map(|key| key.project_id.clone())
        .collect();
    let pauses = ledger.pauses().await?;
    for id in &projects {
        if pauses.get(id).is_some_and(|pause| pause.settings.is_none()) {
            tracing::warn!(
                project = id,
                "a human paused the project: its jobs are skipped until `producer projects resume`"
            );
        }
    }
    let projects: Vec<String> = projects.into_iter().collect();
    Ok(ledger.resume(&projects, false).await?)
}

fn is_bad(letter: &DeadLetter) -> bool {
    letter.message.is_none() || letter.error_code.as_deref() == Some(ErrorCode::BadMessage.as_str())
}

fn once_each(letters: Vec<DeadLetter>, now: DateTime<Utc>) -> Vec<Requeue> {
    let mut jobs: Vec<Requeue> = Vec::new();
    let mut places: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for letter in letters {
        let place = *places.entry(letter.body.clone()).or_insert(jobs.len());
        if let Some(job) = jobs.get_mut(place) {
            job.tags.extend(letter.tag);
            continue;
        }
        jobs.push(Requeue {
            key: letter.message.as_ref().and_then(Message::key),
            lane: letter
                .message
                .as_ref()
                .map_or(Lane::Jobs, |message| lane(message.day, now)),
            id: letter.id,
            body: letter.body,
            traceparent: letter.headers.traceparent,
            tags: letter.tag.into_iter().collect(),
        });
    }
    jobs
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

async fn publish(
    pipeline: &mut Pipeline<'_>,
    ledger: &Ledger,
    held: &mut HeldLetters<'_>,
    jobs: &[Requeue],
    report: &mut Report,
) -> Result<(), CommandError> {
    // A run that dies after this moment has a new dead letter, and must stay dead in the ledger.
    let before = ledger.now().await?;
    // The headers of the failure and of the broker are left out. Only the trace goes on.
    let message = |job: &Requeue| Outgoing {
        lane: job.lane,
        body: job.body.clone(),
        headers: Headers {
            traceparent: job.traceparent.clone(),
            ..Headers::default()
        },
    };
    let messages: Vec<Outgoing> = jobs.iter().map(message).collect();
    let mut confirmed: Vec<&Requeue> = Vec::with_capacity(jobs.len());
    for (job, answer) in jobs.iter().zip(pipeline.send(&messages).await) {
        match answer {
            Ok(()) => confirmed.push(job),
            Err(error) => report.failed.push(Failure {
                id: job.id.clone(),
                error,
            }),
        }
    }
    let keys: Vec<_> = confirmed.iter().filter_map(|job| job.key.clone()).collect();
    ledger
        .record_requeued(&keys, before)
        .await
        .map_err(|cause| CommandError::NotRecorded {
            count: confirmed.len(),
            cause,
        })?;
    for job in confirmed {
        for tag in &job.tags {
            held.remove(*tag).await?;
        }
        report.requeued.push(job.id.clone());
    }
    Ok(())
}
