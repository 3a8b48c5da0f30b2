//! Publishes a dead letter's message again, waits for its confirm, records it, and only then removes
//! the dead letter. A crash in between leaves the message twice, which is harmless; none is lost.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use shared::error_code::ErrorCode;
use shared::headers::Headers;
use shared::job::RunKey;
use shared::ledger::Ledger;
use shared::message::Message;
use shared::topology::Lane;
use shared::trace::Traceparent;

use super::letter::DeadLetter;
use super::queue::HeldLetters;
use crate::error::CommandError;
use crate::output::progress;
use crate::plan::lane;
use crate::publish::{Outgoing, Pipeline, WINDOW};
use crate::report::Failure;
use crate::servers::Broker;

/// A message to publish. Several dead letters may hold the same one; it is published once.
#[derive(Debug)]
pub(crate) struct Requeue {
    pub(crate) id: String,
    /// Its row, if it is a job with a run
    key: Option<RunKey>,
    pub(crate) lane: Lane,
    body: Vec<u8>,
    traceparent: Option<Traceparent>,
    /// The dead letters to remove once it is confirmed
    tags: Vec<u64>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Published, and removed from the dead letters
    pub(crate) requeued: Vec<String>,
    /// Not confirmed, so these are still dead letters
    pub(crate) failed: Vec<Failure>,
    /// Projects that a failure had paused, and that are exported again
    pub(crate) resumed: Vec<String>,
    /// Why the rest was not tried. What was done before that is done
    pub(crate) broke_off: Option<CommandError>,
}

/// Projects of jobs that are paused.
#[derive(Debug, Default)]
pub(crate) struct Paused {
    /// By a failure: requeuing resumes them
    pub(crate) by_failure: Vec<String>,
    /// By a person: they stay so
    pub(crate) by_human: Vec<String>,
}

/// Whether a message is no job, or was refused as none: it would come back at once. PURE.
pub(crate) fn is_bad(letter: &DeadLetter) -> bool {
    letter.message.is_none() || letter.error_code.as_deref() == Some(ErrorCode::BadMessage.as_str())
}

/// The messages to publish. PURE.
pub(crate) fn once_each(letters: Vec<DeadLetter>, now: DateTime<Utc>) -> Vec<Requeue> {
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

/// Which of these projects are paused, and by whom.
pub(crate) async fn paused(ledger: &Ledger, projects: BTreeSet<String>) -> Result<Paused, CommandError> {
    let all = ledger.pauses().await?;
    let mut paused = Paused::default();
    for id in projects {
        match all.get(&id) {
            None => {}
            Some(pause) if pause.settings.is_none() => paused.by_human.push(id),
            Some(_) => paused.by_failure.push(id),
        }
    }
    Ok(paused)
}

/// The projects of these jobs.
pub(crate) fn projects(jobs: &[Requeue]) -> BTreeSet<String> {
    let keys = jobs.iter().filter_map(|job| job.key.as_ref());
    keys.map(|key| key.project_id.clone()).collect()
}

/// Requeues them. The projects that a failure has paused are resumed: requeuing says that the cause
/// is gone. Pauses by a person stay.
pub(crate) async fn requeue(
    ledger: &Ledger,
    broker: &Broker,
    held: &mut HeldLetters<'_>,
    jobs: &[Requeue],
) -> Result<Sent, CommandError> {
    let mut done = Sent::default();
    if jobs.is_empty() {
        return Ok(done);
    }
    // Before the first is published: a worker skips the jobs of a paused project.
    let projects: Vec<String> = projects(jobs).into_iter().collect();
    done.resumed = ledger.resume(&projects, false).await?;
    let publisher = match broker.publisher().await {
        Ok(publisher) => publisher,
        Err(error) => {
            done.broke_off = Some(error.into());
            return Ok(done);
        }
    };
    let mut pipeline = Pipeline::new(&publisher);
    let bar = progress("requeuing", jobs.len());
    for window in jobs.chunks(WINDOW) {
        if let Err(error) = publish(&mut pipeline, ledger, held, window, &mut done).await {
            done.broke_off = Some(error);
            break;
        }
        bar.inc(u64::try_from(window.len()).unwrap_or(0));
    }
    bar.finish_and_clear();
    Ok(done)
}

async fn publish(
    pipeline: &mut Pipeline<'_>,
    ledger: &Ledger,
    held: &mut HeldLetters<'_>,
    jobs: &[Requeue],
    done: &mut Sent,
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
            Err(error) => done.failed.push(Failure {
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
    // These are requeued, also where an old message cannot be removed: twice is harmless.
    done.requeued.extend(confirmed.iter().map(|job| job.id.clone()));
    for tag in confirmed.iter().flat_map(|job| &job.tags) {
        held.remove(*tag).await?;
    }
    Ok(())
}
