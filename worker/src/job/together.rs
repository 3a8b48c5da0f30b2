//! The streams of a job together, from their cursors to the job's end. Of a small day each stream is
//! one batch; then one statement saves their checkpoints and completes the run.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use shared::job::Stream;
use shared::ledger::{Progress, Unsaved};
use tokio::time::{Instant, sleep_until};

use crate::job::error::JobError;
use crate::job::stream::{Ended, Streams};
use crate::posthog::retry::SendError;

/// How long a checkpoint may wait for those of the other streams. It is what a worker that dies
/// meanwhile sends once more.
const TOGETHER: Duration = Duration::from_millis(100);

/// What a stream, or the saving of its last checkpoint, came to.
type Step<'a> = BoxFuture<'a, (Stream, Result<Ended, JobError>)>;

/// PURE: what the streams have come to so far.
#[derive(Debug, Default)]
struct Outcomes {
    progress: BTreeMap<Stream, Progress>,
    /// Ended, and to be saved with the others
    unsaved: Vec<Unsaved>,
    halted: bool,
    first_error: Option<JobError>,
}

impl Outcomes {
    fn add(&mut self, stream: Stream, ended: Result<Ended, JobError>) {
        match ended {
            Ok(Ended::Saved(progress)) => {
                self.halted |= !progress.done;
                self.progress.insert(stream, progress);
            }
            Ok(Ended::Unsaved(unsaved)) => {
                self.progress.insert(stream, unsaved.progress.clone());
                self.unsaved.push(unsaved);
            }
            // An interrupted send is only how a stream notices that the job halts.
            Err(JobError::Send(SendError::Interrupted)) => self.halted = true,
            Err(error) => {
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn is_done(&self) -> bool {
        !self.halted && self.first_error.is_none()
    }
}

impl Streams {
    /// Exports all streams, and completes the run when all have come to their end. Answers how far
    /// they came, or `None` when the job halts before.
    pub async fn export_all(
        &self,
        streams: BTreeMap<Stream, Progress>,
    ) -> Result<Option<BTreeMap<Stream, Progress>>, JobError> {
        let mut running: FuturesUnordered<Step<'_>> = streams
            .into_iter()
            .map(|(stream, progress)| async move { (stream, self.export(stream, progress).await) }.boxed())
            .collect();
        let mut outcomes = Outcomes::default();
        let mut until = None;
        loop {
            let waited = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                ended = running.next() => {
                    let Some((stream, ended)) = ended else { break };
                    outcomes.add(stream, ended);
                    if !outcomes.unsaved.is_empty() {
                        until.get_or_insert_with(|| Instant::now() + TOGETHER);
                    }
                }
                // The others take longer. What was accepted is not kept waiting for them.
                () = waited => {
                    until = None;
                    running.extend(outcomes.unsaved.drain(..).map(|unsaved| self.late(unsaved).boxed()));
                }
            }
        }
        if outcomes.is_done() {
            let (ledger, lease) = (&self.app.ledger, self.lease.lease());
            ledger.finish(lease, &outcomes.unsaved).await?;
            return Ok(Some(outcomes.progress));
        }
        // A ledger that failed would keep them waiting, or refuse them: these batches are sent again.
        if !matches!(outcomes.first_error, Some(JobError::Ledger(_))) {
            let unsaved = std::mem::take(&mut outcomes.unsaved);
            for (stream, saved) in join_all(unsaved.into_iter().map(|unsaved| self.late(unsaved))).await {
                outcomes.add(stream, saved);
            }
        }
        outcomes.first_error.map_or(Ok(None), Err)
    }

    /// Saves the last checkpoint of a stream apart from the others.
    async fn late(&self, unsaved: Unsaved) -> (Stream, Result<Ended, JobError>) {
        let Unsaved {
            stream,
            progress,
            rejects,
        } = unsaved;
        let accepted = progress.sent > 0 || progress.rejected > 0;
        let saved = self.save(stream, &progress, &rejects, accepted).await;
        (stream, saved.map(|()| Ended::Saved(progress)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: bool) -> Progress {
        Progress {
            done,
            sent: 7,
            ..Progress::default()
        }
    }

    #[test]
    fn a_run_is_done_when_no_stream_failed_or_halted() {
        let mut outcomes = Outcomes::default();
        outcomes.add(Stream::Trace, Ok(Ended::Saved(progress(true))));
        let unsaved = Unsaved {
            stream: Stream::Score,
            progress: progress(true),
            rejects: Vec::new(),
        };
        outcomes.add(Stream::Score, Ok(Ended::Unsaved(unsaved)));
        assert!(outcomes.is_done());
        assert_eq!((outcomes.progress.len(), outcomes.unsaved.len()), (2, 1));
        outcomes.add(Stream::Generation, Ok(Ended::Saved(progress(false))));
        assert!(!outcomes.is_done());
    }

    #[test]
    fn the_first_failure_counts_and_an_interruption_is_none() {
        let mut outcomes = Outcomes::default();
        outcomes.add(Stream::Trace, Err(SendError::Interrupted.into()));
        assert!(!outcomes.is_done() && outcomes.first_error.is_none());
        outcomes.add(Stream::Generation, Err(JobError::KeyRefused));
        outcomes.add(Stream::Score, Err(JobError::HostBusy));
        assert!(matches!(outcomes.first_error, Some(JobError::KeyRefused)));
    }
}
