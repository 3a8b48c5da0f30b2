//! One job, as one straight line: settings ▶ claim ▶ its streams ▶ complete. Nothing here settles
//! a delivery; `settle.rs` does, with what this returns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use shared::coverage::Coverage;
use shared::integration::{Integration, IntegrationFault, Loaded};
use shared::job::{Day, Job, Scope, Stream};
use shared::ledger::{Asking, Claim, Lease, LedgerError, Progress, State};
use shared::topology::Lane;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::app::App;
use crate::job::error::JobError;
use crate::job::gate::Gate;
use crate::job::lease::HeldLease;
use crate::job::pause;
use crate::job::stop::Stop;
use crate::job::stream::Streams;
use crate::langfuse::recent::{Kept, RecentTraces};
use crate::langfuse::source::Window;
use crate::posthog::batch::Preamble;
use crate::posthog::capture::Tally;
use crate::posthog::event::ProjectContext;
use crate::posthog::hosts::Place;
use crate::posthog::retry::SendError;
use crate::watch::metrics;

/// Batches of days at least this old may be marked as historical: PostHog treats younger ones as
/// new anyway.
const HISTORICAL_AGE: chrono::TimeDelta = chrono::TimeDelta::hours(48);

/// A job that needs no further work.
#[derive(Debug)]
pub enum Exported {
    /// This delivery completed it. How far each stream has come, over all slices.
    Completed(BTreeMap<Stream, Progress>),
    /// An earlier delivery ended it.
    Before(State),
    /// It is a step of a day that is over.
    Superseded,
}

/// A job that goes on elsewhere.
#[derive(Debug)]
pub struct Failure {
    /// The lease, when it is still ours
    pub lease: Option<Lease>,
    /// Why the job did not complete
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

/// Where a job's events go: the project's settings, and the job's place at that host.
type Receiver = (Integration, Arc<Place>);

/// Exports a job: settings ▶ claim ▶ work under the lease.
pub async fn export(
    app: &Arc<App>,
    lane: Lane,
    job: &Job,
    trace_id: Option<&str>,
    stop: &Stop,
) -> Result<Exported, Failure> {
    let Loaded {
        settings,
        project_name,
        visible_until,
        integration,
    } = app
        .source
        .integration(&app.config.encryption_key, &job.key.project_id)
        .await?;
    // A host in trouble has its one job already: this job is not even claimed.
    let receiver = match integration {
        Ok(integration) => match app.hosts.enter(&integration.host, lane) {
            Some(place) => Ok((integration, Arc::new(place))),
            // Else the steps of days that are over would go round for as long as the host is away.
            None if app.ledger.supersede(&job.key).await? => return Ok(Exported::Superseded),
            None => return Err(JobError::HostBusy.into()),
        },
        Err(fault) => Err(fault),
    };
    let target = receiver.as_ref().ok().map(|(integration, _)| integration.target());
    let asking = Asking {
        worker: &app.worker,
        length: app.config.lease,
        target: target.as_deref(),
        visible_until,
        trace_id,
    };
    let asked = Instant::now();
    let wanted = Lease::wanted(job.key.clone());
    let claimed = match claim(app, &job.scope, &wanted, asking).await? {
        Claim::Run(claimed) => claimed,
        Claim::Done(state) => return Ok(Exported::Before(state)),
        Claim::Superseded => return Ok(Exported::Superseded),
        Claim::NotYet { wait } => return Err(JobError::NotYet { wait }.into()),
        Claim::LeaseHeld { by } => return Err(JobError::LeaseHeld { by }.into()),
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
    let lease = HeldLease::new(wanted, app.config.lease, asked);
    let claimed = ClaimedJob {
        app: Arc::clone(app),
        job: job.clone(),
        settings,
        project_name,
        receiver,
        lease: lease.clone(),
        streams: claimed.streams,
        coverage: claimed.coverage.map(Arc::new),
        stop: stop.clone(),
    };
    let worked = under_lease(claimed).await;
    worked.map_err(|error| {
        let lost = matches!(error, JobError::Ledger(LedgerError::LeaseLost));
        Failure {
            lease: (!lost).then(|| lease.lease().clone()),
            error,
        }
    })
}

/// Asks the ledger for the `wanted` lease.
async fn claim(app: &App, scope: &Scope, wanted: &Lease, asking: Asking<'_>) -> Result<Claim, Failure> {
    let claim = app.ledger.begin_claim().await?;
    let claimed = claim.claim(scope, wanted, asking).await;
    claimed.map_err(|error| Failure {
        // The answer may have been lost, and not the claim. Left to run out by itself, the lease
        // would count as our death.
        lease: matches!(error, LedgerError::Unreachable(_)).then(|| wanted.clone()),
        error: error.into(),
    })
}

/// A job that is ours for as long as its lease is.
struct ClaimedJob {
    app: Arc<App>,
    job: Job,
    /// Fingerprint of the project's settings; `None` when it has none
    settings: Option<String>,
    project_name: Option<String>,
    receiver: Result<Receiver, IntegrationFault>,
    lease: HeldLease,
    streams: BTreeMap<Stream, Progress>,
    coverage: Option<Arc<Coverage>>,
    stop: Stop,
}

/// Works on a job while its lease is renewed, whatever the work does. When the lease is lost, the
/// work ends at once.
async fn under_lease(claimed: ClaimedJob) -> Result<Exported, JobError> {
    let (app, lease, stop) = (Arc::clone(&claimed.app), claimed.lease.clone(), claimed.stop.clone());
    // On a task of its own, so that a panic is this job's failure and not the process's.
    let worked = tokio::spawn(claimed.work().in_current_span());
    tokio::select! {
        worked = AbortOnDropHandle::new(worked) => worked.unwrap_or_else(|panic| Err(panic.into())),
        error = lease.keep(&app.ledger) => Err(error.into()),
        error = stop.overdue(app.config.grace) => Err(error),
    }
}

impl ClaimedJob {
    /// Pause ▶ its streams ▶ complete.
    async fn work(self) -> Result<Exported, JobError> {
        let (app, project_id, settings) = (
            Arc::clone(&self.app),
            self.job.key.project_id.clone(),
            self.settings.clone(),
        );
        let worked = async {
            pause::check(&app, &project_id, settings.as_deref()).await?;
            self.export_streams().await
        };
        let worked = worked.await;
        if let Err(error) = &worked {
            pause::after(&app, &project_id, settings.as_deref(), error).await;
        }
        worked
    }

    async fn export_streams(self) -> Result<Exported, JobError> {
        let (integration, place) = self.receiver?;
        self.app.source.check_columns().await?;
        let streams = Streams {
            window: Window::of(&self.job),
            coverage: self.coverage,
            project: Arc::new(
                ProjectContext::new(
                    &self.job.key.project_id,
                    self.project_name.as_deref(),
                    self.app.config.langfuse_url.as_deref(),
                )
                .omitting(self.app.config.omitted),
            ),
            preamble: Preamble::new(
                integration.api_key.expose_secret(),
                self.app.config.historical && is_historical(self.job.key.day, Utc::now()),
            ),
            recent: Arc::new(RecentTraces::new(unfinished(&self.streams), Kept::default())),
            tally: tally(&self.streams),
            bodies: Arc::new(Semaphore::new(self.app.config.sends_in_flight)),
            gate: Gate::default(),
            lease: self.lease,
            place,
            app: self.app,
        };
        let (app, gate, place) = (&streams.app, &streams.gate, &streams.place);
        let exports = streams.export_all(self.streams);
        let ended = tokio::select! {
            // In this order: a late answer about the key halts the streams of a job too many before
            // it opens the gate.
            biased;
            refused = gate.check_key(&app.keys, &app.capture, place, &integration) => return Err(refused),
            never = gate.watch(&self.stop, app.config.slice, place) => never,
            ended = exports => ended,
        };
        match ended {
            Ok(Some(progress)) => Ok(Exported::Completed(progress)),
            Ok(None) => Err(why_halted(&self.stop, place)),
            Err(error) => {
                if matches!(error, JobError::Send(SendError::Unavailable(_))) {
                    place.gave_up();
                }
                Err(error)
            }
        }
    }
}

fn is_historical(day: Day, now: DateTime<Utc>) -> bool {
    day.end().and_utc() + HISTORICAL_AGE < now
}

/// The streams that have rows left.
fn unfinished(streams: &BTreeMap<Stream, Progress>) -> impl Iterator<Item = Stream> {
    let open = streams.iter().filter(|(_, progress)| !progress.done);
    open.map(|(stream, _)| *stream)
}

/// What the run has met in earlier slices.
fn tally(streams: &BTreeMap<Stream, Progress>) -> Tally {
    let total = |count: fn(&Progress) -> i64| streams.values().map(count).sum::<i64>();
    Tally {
        accepted: AtomicI64::new(total(|progress| progress.sent)),
        refused: AtomicI64::new(total(|progress| progress.rejected)),
        ..Tally::default()
    }
}

/// Why streams that met no failure have not come to their end.
fn why_halted(stop: &Stop, place: &Place) -> JobError {
    match stop.reason() {
        Some(reason) => reason,
        None if place.is_crowded() => JobError::HostBusy,
        None => JobError::SliceOver,
    }
}
