//! One stream of a job, from its cursor to its end: page ▶ pack ▶ admit ▶ send ▶ save.

use std::future::ready;
use std::sync::Arc;

use futures::{Stream as Futures, StreamExt, TryStreamExt, stream};
use shared::coverage::Coverage;
use shared::job::Stream;
use shared::ledger::{Cursor, Progress, Reject, Unsaved};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use crate::app::App;
use crate::job::error::JobError;
use crate::job::gate::Gate;
use crate::job::lease::HeldLease;
use crate::langfuse::recent::RecentTraces;
use crate::langfuse::rows::Row;
use crate::langfuse::source::{Page, Window};
use crate::posthog::batch::{Batch, Preamble, pack, up_to};
use crate::posthog::capture::{Accepted, Admitted, Sender, Tally};
use crate::posthog::event::ProjectContext;
use crate::posthog::hosts::Place;
use crate::watch::metrics;

/// Pages of a stream that are packed at once: while one is packed, the next is read, or added up.
const PACKED_AT_ONCE: usize = 2;

/// A page of so few rows is packed where it was read: that takes less than waking a thread for it.
const FEW: usize = 50;

/// What the streams of a job share.
pub struct Streams {
    /// What every job of the process shares
    pub app: Arc<App>,
    /// The job's lease
    pub lease: HeldLease,
    /// Which rows are read
    pub window: Window,
    /// What completed runs have sent already; `None`: all rows are sent
    pub coverage: Option<Arc<Coverage>>,
    /// The job's place at its host
    pub place: Arc<Place>,
    /// What each event says of its project
    pub project: Arc<ProjectContext>,
    /// What each body begins with
    pub preamble: Preamble,
    /// The traces that the rows of other streams are joined with
    pub recent: Arc<RecentTraces>,
    /// What the run has met so far
    pub tally: Tally,
    /// Places for bodies that are on their way or wait for their next try
    pub bodies: Arc<Semaphore>,
    /// Lets the bodies leave, and halts the streams
    pub gate: Gate,
}

/// What the acceptance of a batch, and of all before it, means for its stream.
struct Checkpoint {
    cursor: Option<Cursor>,
    last: bool,
}

/// A batch that may be sent now.
struct Ready {
    /// `None`: there is nothing to send, the stream just ends.
    body: Option<Admitted>,
    checkpoint: Checkpoint,
}

/// How a stream ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything that was accepted is saved.
    Saved(Progress),
    /// It came to its end with its only batch, whose checkpoint is still to be saved.
    Unsaved(Unsaved),
}

/// Whether a batch may be sent.
enum Admission {
    Granted(Ready),
    /// The job halts. What was admitted before goes on to its end, and is saved.
    Halted,
}

impl Streams {
    /// Exports a stream from its cursor on. Pages are read ahead and packed on other cores, bodies
    /// are sent several at a time; the cursor follows the unbroken prefix of what PostHog accepted.
    pub async fn export(&self, stream: Stream, mut progress: Progress) -> Result<Ended, JobError> {
        if progress.done {
            return Ok(Ended::Saved(progress));
        }
        let sender = self.sender(stream);
        let in_flight = self.app.config.sends_in_flight;
        let mut is_first = true;
        let admissions = self
            .pages(stream, &progress)
            .map_ok(|page| self.pack(stream, page))
            .try_buffered(PACKED_AT_ONCE)
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(|batch| self.admit(&sender, batch, std::mem::take(&mut is_first)))
            .try_buffered(1);
        let accepted = until_halted(admissions)
            .map_ok(|ready| send(&sender, ready))
            .try_buffered(in_flight)
            .ready_chunks(in_flight);
        tokio::pin!(accepted);
        let mut is_only = true;
        while let Some(chunk) = accepted.next().await {
            is_only &= chunk.len() == 1;
            let advanced = advance(&mut progress, chunk);
            if is_only && progress.done {
                return Ok(Ended::Unsaved(Unsaved {
                    stream,
                    progress,
                    rejects: advanced.rejects,
                }));
            }
            is_only = false;
            // What was accepted counts as progress, and progress forgives earlier failures. A walk
            // over rows that were sent before is saved, and is none.
            let saved = if advanced.moved {
                self.save(stream, &progress, &advanced.rejects, advanced.accepted).await
            } else {
                Ok(())
            };
            if let Some(error) = advanced.failed {
                self.gate.halt();
                return Err(error);
            }
            saved?;
        }
        Ok(Ended::Saved(progress))
    }

    fn sender(&self, stream: Stream) -> Sender<'_> {
        Sender {
            capture: &self.app.capture,
            place: &self.place,
            stream,
            bodies: &self.bodies,
            tally: &self.tally,
            lease_until: self.lease.certain_until(),
            stop: self.gate.halted(),
        }
    }

    /// Pages from the cursor on, one read ahead, until the stream ends or the job halts.
    fn pages(&self, stream: Stream, progress: &Progress) -> impl Futures<Item = Result<Page, JobError>> + use<'_> {
        let read = move |cursor| {
            let (app, recent, window) = (Arc::clone(&self.app), Arc::clone(&self.recent), self.window.clone());
            let page = async move { recent.page(&app.source, stream, &window, Option::as_ref(&cursor)).await };
            AbortOnDropHandle::new(tokio::spawn(page))
        };
        stream::try_unfold(Some(read(progress.cursor.clone())), move |pending| async move {
            let halted = self.gate.halted();
            let Some(pending) = pending.filter(|_| !halted.is_cancelled()) else {
                return Ok(None);
            };
            let page = tokio::select! {
                page = pending => page.map_err(JobError::from)??,
                () = halted.cancelled() => return Ok(None),
            };
            let next = page
                .rows
                .last()
                .filter(|_| !page.last)
                .map(|row| read(Some(row.cursor())));
            Ok(Some((page, next)))
        })
    }

    /// Leaves out what was sent before, adds the totals of traces, then makes JSON and gzip of a page
    /// on a thread of its own.
    async fn pack(&self, stream: Stream, mut page: Page) -> Result<Vec<Batch>, JobError> {
        let (project, preamble, limits) = (Arc::clone(&self.project), self.preamble.clone(), self.app.config.limits);
        let (app, project_id) = (Arc::clone(&self.app), self.window.project_id.clone());
        let coverage = self.coverage.clone();
        // On a task of its own: nobody polls a stream that waits for its host, and it would keep
        // its packing permit from all the others.
        let packed = AbortOnDropHandle::new(tokio::spawn(async move {
            let end = page.rows.last().map(Row::cursor);
            if let Some(coverage) = coverage {
                let left = app.source.leave_out(&project_id, stream, &coverage, &mut page.rows);
                left.await?;
            }
            app.source.add_totals(&project_id, &mut page.rows).await?;
            let is_small = page.rows.len() <= FEW;
            let packed = move || up_to(pack(&page.rows, page.last, &project, &preamble, limits), end);
            let _permit = app.packing.acquire().await;
            if is_small {
                return Ok(packed());
            }
            Ok(tokio::task::spawn_blocking(packed).await?)
        }));
        packed.await?
    }

    /// Waits until bodies may leave, then for the batch's place in flight.
    async fn admit(&self, sender: &Sender<'_>, batch: Batch, is_first: bool) -> Result<Admission, JobError> {
        let admitted = async {
            self.gate.opened().await;
            match batch.body {
                Some(body) => sender.admit(body, is_first).await.map(Some),
                None => Ok(None),
            }
        };
        let body = tokio::select! {
            biased;
            () = self.gate.halted().cancelled() => return Ok(Admission::Halted),
            admitted = admitted => admitted?,
        };
        let checkpoint = Checkpoint {
            cursor: batch.cursor,
            last: batch.last,
        };
        Ok(Admission::Granted(Ready { body, checkpoint }))
    }

    /// Saves a checkpoint. When that fails, the other streams have nothing to go on for.
    pub(super) async fn save(
        &self,
        stream: Stream,
        progress: &Progress,
        rejects: &[Reject],
        accepted: bool,
    ) -> Result<(), JobError> {
        let (ledger, lease) = (&self.app.ledger, self.lease.lease());
        let saved = ledger.save(lease, stream, progress, rejects, accepted).await;
        saved.inspect_err(|_| self.gate.halt())?;
        Ok(())
    }
}

/// How far some batches brought their stream.
struct Advanced {
    /// Whether the cursor moved
    moved: bool,
    /// Whether PostHog accepted something, or refused a row for good
    accepted: bool,
    rejects: Vec<Reject>,
    /// What ended the stream
    failed: Option<JobError>,
}

/// Counts what was accepted up to the first failure. PURE.
fn advance(progress: &mut Progress, chunk: Vec<Result<(Accepted, Checkpoint), JobError>>) -> Advanced {
    let mut advanced = Advanced {
        moved: false,
        accepted: false,
        rejects: Vec::new(),
        failed: None,
    };
    for sent in chunk {
        match sent {
            Ok((accepted, Checkpoint { cursor, last })) => {
                progress.sent += accepted.events;
                progress.bytes += accepted.bytes;
                progress.batches += i64::from(accepted.events > 0);
                progress.rejected += i64::try_from(accepted.rejects.len()).unwrap_or(i64::MAX);
                progress.cursor = cursor.or(progress.cursor.take());
                progress.done = last;
                advanced.accepted |= accepted.events > 0 || !accepted.rejects.is_empty();
                advanced.rejects.extend(accepted.rejects);
                advanced.moved = true;
            }
            Err(error) => {
                advanced.failed = Some(error);
                break;
            }
        }
    }
    advanced
}

/// Ends the stream of batches at the first one that is not admitted because the job halts.
fn until_halted(
    admissions: impl Futures<Item = Result<Admission, JobError>>,
) -> impl Futures<Item = Result<Ready, JobError>> {
    admissions.scan((), |(), admission| {
        ready(match admission {
            Ok(Admission::Granted(batch)) => Some(Ok(batch)),
            Ok(Admission::Halted) => None,
            Err(error) => Some(Err(error)),
        })
    })
}

/// What PostHog accepted of a batch, and the checkpoint that this allows.
async fn send(sender: &Sender<'_>, batch: Ready) -> Result<(Accepted, Checkpoint), JobError> {
    let Some(body) = batch.body else {
        return Ok((Accepted::default(), batch.checkpoint));
    };
    let accepted = sender.send(body).await?;
    metrics::accepted(sender.stream, accepted.events, accepted.bytes);
    Ok((accepted, batch.checkpoint))
}
