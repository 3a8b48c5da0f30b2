//! One job, as one straight line: integration ▶ claim ▶ (page ▶ events ▶ batch ▶ send ▶ checkpoint) … ▶ complete.
//! Nothing here settles a delivery; `settle.rs` does, with what this returns.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use chrono::Utc;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use secrecy::ExposeSecret;
use shared::integration::{Integration, Loaded};
use shared::job::{Job, Stream};
use shared::ledger::{Claim, Cursor, Lease, LedgerError, Progress, State};
use shared::posthog::KeyCheck;
use tokio::sync::{Semaphore, SetOnce};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::app::App;
use crate::job::error::JobError;
use crate::job::lease::Held;
use crate::job::pause;
use crate::langfuse::recent::{Kept, RecentTraces};
use crate::langfuse::source::{Page, Window};
use crate::posthog::batch::{Batch, Preamble, pack};
use crate::posthog::capture::{Accepted, Admitted, Tally};
use crate::posthog::event::ProjectContext;
use crate::posthog::hosts::Place;
use crate::posthog::retry::SendError;
use crate::watch::metrics;

/// Batches of days at least this old may be marked as historical: PostHog treats younger ones as new anyway.
const HISTORICAL_AGE: chrono::TimeDelta = chrono::TimeDelta::hours(48);

/// What asks a job to stop at the next batch border.
#[derive(Clone, Debug)]
pub struct Stop {
    /// SIGTERM
    pub shutdown: CancellationToken,
    /// The delivery's connection is gone
    pub connection_lost: CancellationToken,
}

impl Stop {
    /// Why, if at all.
    pub fn reason(&self) -> Option<JobError> {
        if self.connection_lost.is_cancelled() {
            Some(JobError::ConnectionLost)
        } else if self.shutdown.is_cancelled() {
            Some(JobError::ShuttingDown)
        } else {
            None
        }
    }

    async fn asked(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.connection_lost.cancelled() => {}
        }
    }
}

/// A job that needs no further work.
#[derive(Debug)]
pub enum Exported {
    /// By this delivery
    Completed {
        /// events accepted, over all slices
        sent: i64,
        /// rows refused, over all slices
        rejected: i64,
    },
    /// By an earlier one
    Before(State),
}

/// A job that goes on elsewhere. The lease, when it is still ours.
#[derive(Debug)]
pub struct Failure {
    /// for the settlement
    pub lease: Option<Lease>,
    /// what to do
    pub error: JobError,
}

impl<E: Into<JobError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            lease: None,
            error: error.into(),
        }
    }
}

/// Exports a job.
pub async fn export(app: &Arc<App>, job: &Job, stop: &Stop) -> Result<Exported, Failure> {
    let Loaded {
        settings,
        integration: loaded,
    } = app
        .source
        .integration(&app.config.encryption_key, &job.key.project_id)
        .await?;
    // A host in trouble has its one job already: do not even claim.
    let loaded = match loaded {
        Ok(integration) => {
            let place = app.hosts.enter(&integration.host).ok_or(JobError::HostBusy)?;
            Ok((integration, Arc::new(place)))
        }
        Err(fault) => Err(fault),
    };
    let place = loaded.as_ref().ok().map(|(_, place)| Arc::clone(place));
    let target = loaded.as_ref().ok().map(|(integration, _)| integration.target());
    let asked = Instant::now();
    let wanted = Lease::wanted(job.key.clone());
    let claim = app.ledger.begin_claim().await?;
    let claim = claim.claim(&job.scope, &wanted, &app.worker, app.config.lease, target.as_deref());
    let claim = claim.await.map_err(|error| Failure {
        // The answer may have been lost, not the claim; run out by itself, the lease would count as our death.
        lease: matches!(error, LedgerError::Unreachable(_)).then_some(wanted),
        error: error.into(),
    })?;
    let claimed = match claim {
        Claim::Run(claimed) => claimed,
        Claim::Done(state) => return Ok(Exported::Before(state)),
        Claim::NotYet { wait } => return Err(JobError::NotYet { wait }.into()),
        Claim::Held { by } => return Err(JobError::LeaseHeld { by }.into()),
        Claim::KillsWorkers { takeovers } => return Err(JobError::KillsWorkers { takeovers }.into()),
        Claim::DayNotOver { now } => return Err(JobError::DayNotOver(now.to_rfc3339()).into()),
    };
    if claimed.taken_over {
        tracing::warn!(
            takeovers = claimed.takeovers,
            "taken over: the lease of the worker before ran out"
        );
        metrics::taken_over();
    }
    let held = Held::new(claimed.lease, app.config.lease, asked);
    let worked = match (pause::check(app, &job.key, settings.as_deref()).await, loaded) {
        (Err(paused), _) => Err(paused),
        (Ok(()), Ok(receiver)) => work(app, job, &held, claimed.streams, receiver, stop).await,
        (Ok(()), Err(fault)) => Err(fault.into()),
    };
    if let Err(error) = &worked {
        pause::after(app, &job.key, settings.as_deref(), error).await;
    }
    // The next body that is accepted takes it back.
    if let (Some(place), Err(JobError::Send(SendError::Unavailable(_)))) = (&place, &worked) {
        place.report(true);
    }
    worked.map_err(|error| {
        let lost = matches!(error, JobError::Ledger(LedgerError::LeaseLost));
        Failure {
            lease: (!lost).then(|| held.lease().clone()),
            error,
        }
    })
}

/// The claimed job under its lease: whatever the pages do, the lease is renewed; when it is lost, the work ends at once.
async fn work(
    app: &Arc<App>,
    job: &Job,
    held: &Held,
    streams: BTreeMap<Stream, Progress>,
    receiver: (Integration, Arc<Place>),
    stop: &Stop,
) -> Result<Exported, JobError> {
    // On a task of its own, so that a panic is this job's failure and not the process's.
    let run = run(
        Arc::clone(app),
        job.clone(),
        held.clone(),
        streams,
        receiver,
        stop.clone(),
    );
    tokio::select! {
        worked = AbortOnDropHandle::new(tokio::spawn(run.in_current_span())) => {
            worked.unwrap_or_else(|panic| Err(panic.into()))
        }
        error = held.keep(&app.ledger) => Err(error.into()),
        error = overdue(app, stop) => Err(error),
    }
}

/// Ends a job that was asked to stop and does not: a request that hangs must not outlast the grace period.
async fn overdue(app: &App, stop: &Stop) -> JobError {
    stop.asked().await;
    tokio::time::sleep(app.config.grace / 2).await;
    stop.reason().unwrap_or(JobError::ShuttingDown)
}

/// What the acceptance of a batch, and of all before it, means for the stream.
struct Checkpoint {
    cursor: Option<Cursor>,
    last: bool,
}

/// What the three streams of a job share.
struct Export {
    app: Arc<App>,
    held: Held,
    window: Window,
    place: Arc<Place>,
    project: Arc<ProjectContext>,
    preamble: Preamble,
    recent: Arc<RecentTraces>,
    tally: Tally,
    /// For bodies that are on their way or wait for their next try
    bodies: Arc<Semaphore>,
    /// Set when bodies may leave: PostHog takes those with an unknown key, and drops them. The first pages are read meanwhile.
    key_checked: SetOnce<()>,
    /// Asks the streams to stop at the next batch border: the slice is over, somebody wants it, its host is slow
    /// and has another job, or another stream failed.
    halt: CancellationToken,
}

async fn run(
    app: Arc<App>,
    job: Job,
    held: Held,
    streams: BTreeMap<Stream, Progress>,
    (integration, place): (Integration, Arc<Place>),
    stop: Stop,
) -> Result<Exported, JobError> {
    app.source.check_columns().await?;
    let total = |count: fn(&Progress) -> i64| streams.values().map(count).sum::<i64>();
    let historical = app.config.historical && job.key.day.end().and_utc() + HISTORICAL_AGE < Utc::now();
    let open = streams
        .iter()
        .filter(|(_, progress)| !progress.done)
        .map(|(stream, _)| *stream);
    let export = Export {
        window: Window::of(&job),
        project: Arc::new(ProjectContext::new(
            &job.key.project_id,
            app.config.langfuse_url.as_deref(),
        )),
        preamble: Preamble::new(integration.api_key.expose_secret(), historical),
        recent: Arc::new(RecentTraces::new(open, Kept::default())),
        tally: Tally {
            accepted: AtomicI64::new(total(|p| p.sent)),
            refused: AtomicI64::new(total(|p| p.rejected)),
        },
        bodies: Arc::new(Semaphore::new(app.config.sends_in_flight)),
        key_checked: SetOnce::new(),
        halt: CancellationToken::new(),
        held,
        place,
        app,
    };
    let streams = streams
        .into_iter()
        .map(|(stream, progress)| export.stream(stream, progress));
    let ended = tokio::select! {
        // A late answer about the key halts the streams of a job too many before it lets their bodies leave.
        biased;
        refused = export.check_key(&integration) => return Err(refused),
        never = export.watch(&stop) => never,
        ended = join_all(streams) => ended,
    };
    let (mut sent, mut rejected, mut done) = (0, 0, true);
    let mut first_error = None;
    for end in ended {
        match end {
            Ok(progress) => {
                sent += progress.sent;
                rejected += progress.rejected;
                done &= progress.done;
            }
            // An interrupted send is only how a stream notices that another one failed.
            Err(JobError::Send(SendError::Interrupted)) => done = false,
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    if let Some(error) = first_error {
        return Err(error);
    }
    if !done {
        return Err(match stop.reason() {
            Some(reason) => reason,
            None if export.place.is_crowded() => JobError::HostBusy,
            None => JobError::SliceOver,
        });
    }
    export.app.ledger.complete(export.held.lease()).await?;
    Ok(Exported::Completed { sent, rejected })
}

impl Export {
    /// Halts the streams when it is time; never ends by itself.
    async fn watch<T>(&self, stop: &Stop) -> T {
        // From when bodies may leave: a host that answers for the key later than a slice lasts would never be sent anything.
        let slice_over = async {
            self.key_checked.wait().await;
            tokio::time::sleep(self.app.config.slice).await;
        };
        tokio::select! {
            () = stop.asked() => {}
            () = slice_over => {}
            () = self.place.crowded() => {}
        }
        self.halt.cancel();
        std::future::pending().await
    }

    /// Lets bodies leave once the host knows the key; ends only when it does not.
    async fn check_key(&self, integration: &Integration) -> JobError {
        let (capture, asked) = (&self.app.capture, Instant::now());
        let known = capture.posthog.knows_key(integration).await;
        // Only a late answer says something: that of `/flags/` may be quick while those to bodies are not.
        if capture.is_late(asked.elapsed()) {
            self.place.answered(true);
        }
        match known {
            Ok(KeyCheck::Known) => {}
            Ok(KeyCheck::Unknown) => return JobError::KeyRefused,
            Ok(KeyCheck::CannotTell(why)) => tracing::debug!(%why, "the host cannot be asked whether it knows the key"),
            Err(refused) => return SendError::HostNotAllowed(refused.to_string()).into(),
        }
        let _ = self.key_checked.set(());
        std::future::pending().await
    }

    /// One stream from its cursor on: pages are read ahead, packed on other cores, sent several at a time; the cursor follows the
    /// unbroken prefix of what was accepted.
    async fn stream(&self, stream: Stream, mut progress: Progress) -> Result<Progress, JobError> {
        if progress.done {
            return Ok(progress);
        }
        let in_flight = self.app.config.sends_in_flight;
        let mut is_first = true;
        let accepted = self
            .pages(stream, &progress)
            .map_ok(|page| self.pack(page))
            // Two at once: while one page is packed, the next is read, or added up.
            .try_buffered(2)
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok::<_, JobError>)))
            .try_flatten()
            .map_ok(move |batch| self.admit(batch, std::mem::take(&mut is_first)))
            .try_buffered(1)
            // Halted, the stream ends here: what was admitted before goes on to its end, and is saved.
            .map(Result::transpose)
            .scan((), |(), admitted| ready(admitted))
            .map_ok(|(admitted, checkpoint)| self.send(stream, admitted, checkpoint))
            .try_buffered(in_flight)
            .ready_chunks(in_flight);
        tokio::pin!(accepted);
        while let Some(chunk) = accepted.next().await {
            let mut rejects = Vec::new();
            let mut failed = None;
            let mut moved = false;
            for sent in chunk {
                match sent {
                    Ok((accepted, Checkpoint { cursor, last })) => {
                        progress.sent += accepted.events;
                        progress.bytes += accepted.bytes;
                        progress.batches += i64::from(accepted.events > 0);
                        progress.rejected += i64::try_from(accepted.rejects.len()).unwrap_or(i64::MAX);
                        progress.cursor = cursor.or(progress.cursor);
                        progress.done = last;
                        rejects.extend(accepted.rejects);
                        moved = true;
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            // Only what moved is saved: a save counts as progress, and progress forgives earlier failures.
            let saved = if moved {
                self.app
                    .ledger
                    .save(self.held.lease(), stream, &progress, &rejects)
                    .await
            } else {
                Ok(())
            };
            if let Some(error) = failed.or(saved.err().map(JobError::from)) {
                self.halt.cancel();
                return Err(error);
            }
        }
        Ok(progress)
    }

    /// Pages from the cursor on, one read ahead, until the stream ends or the job halts.
    fn pages(
        &self,
        stream: Stream,
        progress: &Progress,
    ) -> impl futures::Stream<Item = Result<Page, JobError>> + use<'_> {
        let read = move |cursor| {
            let (app, recent, window) = (Arc::clone(&self.app), Arc::clone(&self.recent), self.window.clone());
            let page = async move { recent.page(&app.source, stream, &window, Option::as_ref(&cursor)).await };
            AbortOnDropHandle::new(tokio::spawn(page))
        };
        stream::try_unfold(Some(read(progress.cursor.clone())), move |pending| async move {
            let Some(pending) = pending.filter(|_| !self.halt.is_cancelled()) else {
                return Ok(None);
            };
            let page = tokio::select! {
                page = pending => page.map_err(JobError::from)??,
                () = self.halt.cancelled() => return Ok(None),
            };
            let next = page
                .rows
                .last()
                .filter(|_| !page.last)
                .map(|row| read(Some(row.cursor())));
            Ok(Some((page, next)))
        })
    }

    /// The totals of traces, then JSON and gzip, off the runtime's own threads.
    async fn pack(&self, mut page: Page) -> Result<Vec<Batch>, JobError> {
        let (project, preamble, limits) = (Arc::clone(&self.project), self.preamble.clone(), self.app.config.limits);
        let (app, project_id) = (Arc::clone(&self.app), self.window.project_id.clone());
        // On a task of its own: a stream that waits for its host is not polled, and would keep the place from all the others.
        let packed = AbortOnDropHandle::new(tokio::spawn(async move {
            app.source.add_totals(&project_id, &mut page.rows).await?;
            let _place = app.packing.acquire().await;
            let packed = move || pack(&page.rows, page.last, &project, &preamble, limits);
            Ok(tokio::task::spawn_blocking(packed).await?)
        }));
        packed.await?
    }

    /// Waits for the answer about the key, then for the batch's place in flight. `None`: the job halts before it has one.
    async fn admit(&self, batch: Batch, is_first: bool) -> Result<Option<(Option<Admitted>, Checkpoint)>, JobError> {
        tokio::select! {
            biased;
            () = self.halt.cancelled() => return Ok(None),
            () = self.key_checked.wait() => {}
        }
        let Batch { body, cursor, last } = batch;
        let admitted = match body {
            Some(body) => tokio::select! {
                biased;
                () = self.halt.cancelled() => return Ok(None),
                admitted = self.app.capture.admit(&self.bodies, &self.place, body, is_first) => Some(admitted?),
            },
            None => None,
        };
        Ok(Some((admitted, Checkpoint { cursor, last })))
    }

    /// What was accepted of a batch, and the checkpoint that this allows.
    async fn send(
        &self,
        stream: Stream,
        admitted: Option<Admitted>,
        checkpoint: Checkpoint,
    ) -> Result<(Accepted, Checkpoint), JobError> {
        let Some(admitted) = admitted else {
            return Ok((Accepted::default(), checkpoint));
        };
        let (place, capture) = (&self.place, &self.app.capture);
        let accepted = capture
            .send(place, stream, admitted, &self.tally, &self.held, &self.halt)
            .await?;
        metrics::accepted(stream, accepted.events, accepted.bytes);
        Ok((accepted, checkpoint))
    }
}
