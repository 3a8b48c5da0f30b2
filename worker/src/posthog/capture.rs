//! `POST /batch/`: sends a body until PostHog has every event of it that it can ever take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use chrono::Utc;
use reqwest::Url;
use reqwest::header::{CONTENT_ENCODING, HeaderValue};
use shared::ingestion::endpoint;
use shared::job::Stream;
use shared::ledger::Reject;
use shared::posthog::{Answer, CallError, Posthog, json_headers};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::posthog::batch::Body;
use crate::posthog::hosts::{Place, Speed};
use crate::posthog::retry::{SendError, Step, Tries};
use crate::watch::metrics;
use crate::watch::outcome::SplitCause;

/// A run with so many refusals and not one accepted event has a fault in its mapping.
const REFUSED_LIMIT: i64 = 50;

/// A body that is not taken for so long is told in the log: most trouble is over sooner. A host that
/// does not answer at all is told of after `SEND_TIMEOUT`.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// An answer that takes this part of its time limit is late.
const LATE: u32 = 4;

/// What all sends of the process share.
#[derive(Clone)]
pub struct Capture {
    /// The guarded client
    pub posthog: Posthog,
    /// Bodies in flight at once, over all jobs
    pub in_flight: Arc<Semaphore>,
    /// The time limit of one request
    pub send_timeout: Duration,
    /// The time limit of all tries of one body
    pub retry_budget: Duration,
}

impl Capture {
    /// Whether a request that took so long makes its host count as slow.
    pub fn speed(&self, took: Duration) -> Speed {
        if took > self.send_timeout / LATE {
            Speed::Late
        } else {
            Speed::InTime
        }
    }
}

/// What a run has met so far, over its streams and earlier slices.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events accepted
    pub accepted: AtomicI64,
    /// Rows refused
    pub refused: AtomicI64,
    /// Whether the log says by now that a body waits: once a slice is enough
    pub told: AtomicBool,
}

/// What became of a body.
#[derive(Debug, Default)]
pub struct Accepted {
    /// Events that PostHog took
    pub events: i64,
    /// Compressed bytes of these
    pub bytes: i64,
    /// Rows that PostHog never will take
    pub rejects: Vec<Reject>,
}

/// A place in flight, of the host's share and of the process's.
struct InFlight(
    #[expect(dead_code, reason = "given back when dropped")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "given back when dropped")] OwnedSemaphorePermit,
);

/// A body that holds one of its job's places until its end, and a place in flight for its first
/// try.
pub struct Admitted {
    body: Body,
    in_flight: InFlight,
    of_job: OwnedSemaphorePermit,
    is_first: bool,
}

/// What PostHog says of a body as it is.
enum Verdict {
    Accepted,
    Refused { cause: SplitCause, said: String },
}

/// Sends the bodies of one stream of a job, several at a time.
pub struct Sender<'a> {
    /// What all sends of the process share
    pub capture: &'a Capture,
    /// The job's place at its host
    pub place: &'a Place,
    /// Whose bodies they are
    pub stream: Stream,
    /// How many bodies the job may hold at once, over its streams
    pub bodies: &'a Arc<Semaphore>,
    /// What the run has met so far
    pub tally: &'a Tally,
    /// Until when nobody else can have the run. No request begins later: a worker that was paused
    /// would wake up with old rows, and PostHog keeps the copy that comes last.
    pub lease_until: watch::Receiver<Instant>,
    /// Ends the waiting between tries, and the splitting of bodies; never a request that is on its
    /// way
    pub stop: &'a CancellationToken,
}

impl Sender<'_> {
    /// Waits until a body may be sent. Meanwhile its stream makes no other, because bodies that
    /// wait take memory. `is_first`: whether it is the first body of its stream in this slice.
    pub async fn admit(&self, body: Body, is_first: bool) -> Result<Admitted, SendError> {
        // The job's permit first. The others are released after each request, so waiting for them
        // cannot deadlock.
        let of_job = enter(self.bodies).await?;
        // Before a place in flight: what waits for the pace must not keep it from others.
        let charged = self.place.pace(body.events()).await;
        let in_flight = self.enter_flight().await?;
        if let Some(charged) = charged {
            charged.used(body.events());
        }
        Ok(Admitted {
            body,
            in_flight,
            of_job,
            is_first,
        })
    }

    async fn enter_flight(&self) -> Result<InFlight, SendError> {
        // The host's own permit first: a body that waits for a slow host must not hold a permit of
        // the process.
        let of_host = enter(self.place.in_flight()).await?;
        let of_process = enter(&self.capture.in_flight).await?;
        Ok(InFlight(of_host, of_process))
    }

    /// Sends a body, and splits it when PostHog refuses it as it is. The first body of a stream is
    /// split to the end even after a stop. Accepted parts of a body do not move the cursor, so a
    /// body whose splitting takes longer than a slice would otherwise begin anew in every slice,
    /// for ever.
    pub async fn send(&self, admitted: Admitted) -> Result<Accepted, SendError> {
        let Admitted {
            body,
            in_flight,
            of_job: _kept_to_the_end,
            is_first,
        } = admitted;
        let mut accepted = Accepted::default();
        let mut open = vec![body];
        let mut in_flight = Some(in_flight);
        while let Some(body) = open.pop() {
            if in_flight.is_none() && !is_first && self.stop.is_cancelled() {
                return Err(SendError::Interrupted);
            }
            match self.send_whole(&body, in_flight.take()).await? {
                Verdict::Accepted => {
                    let events = i64::try_from(body.events()).unwrap_or(i64::MAX);
                    accepted.events += events;
                    accepted.bytes += i64::try_from(body.bytes().len()).unwrap_or(i64::MAX);
                    self.tally.accepted.fetch_add(events, Ordering::Relaxed);
                }
                Verdict::Refused { cause, .. } if body.events() > 1 => {
                    metrics::split(self.stream, cause);
                    let (first, second) = body
                        .halves()
                        .map_err(|e| SendError::MappingRefused(format!("a body cannot be read back: {e}")))?;
                    open.extend([second, first]);
                }
                Verdict::Refused { said, .. } => accepted.rejects.push(self.reject(&body, said)?),
            }
        }
        Ok(accepted)
    }

    /// The row of a body that holds one event. Where PostHog refuses everything, the fault is not
    /// the row's.
    fn reject(&self, body: &Body, said: String) -> Result<Reject, SendError> {
        let refused = self.tally.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused >= REFUSED_LIMIT && self.tally.accepted.load(Ordering::Relaxed) == 0 {
            return Err(SendError::MappingRefused(said));
        }
        let (stream, row_id) = (self.stream, body.row_id());
        tracing::warn!(%stream, row_id, reason = %said, "PostHog refuses this row; the rest goes on");
        metrics::rejected(stream);
        Ok(Reject {
            row_id: row_id.to_owned(),
            reason: said,
        })
    }

    /// Sends the same bytes until PostHog has judged them. The first try uses the place that was
    /// `granted`.
    async fn send_whole(&self, body: &Body, mut granted: Option<InFlight>) -> Result<Verdict, SendError> {
        let mut tries = Tries::new(self.capture.retry_budget);
        let began = Instant::now();
        loop {
            let in_flight = if let Some(in_flight) = granted.take() {
                in_flight
            } else {
                self.place.sends_again(body.events());
                self.enter_flight().await?
            };
            if Instant::now() >= *self.lease_until.borrow() {
                return Err(SendError::LeaseUncertain);
            }
            let outcome = self.request(body, in_flight).await;
            match tries.decide(outcome, began.elapsed(), Utc::now()) {
                Step::Accepted => {
                    self.place.accepted();
                    return Ok(Verdict::Accepted);
                }
                Step::Split(cause, said) => return Ok(Verdict::Refused { cause, said }),
                Step::Stop(SendError::EndpointRefused(said)) => {
                    let url = self.batch_url();
                    return Err(SendError::EndpointRefused(format!("POST {url}: {said}")));
                }
                Step::Stop(error) => return Err(error),
                Step::Resend(delay, why) => {
                    metrics::retried(self.stream);
                    tracing::debug!(stream = %self.stream, ?delay, "will send again");
                    self.tell(began.elapsed() + delay, &why);
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = self.stop.cancelled() => return Err(SendError::Interrupted),
                    }
                }
            }
        }
    }

    /// Says once for each slice that a body waits, long before the retry budget is over.
    fn tell(&self, waited: Duration, why: &str) {
        if waited >= TOLD_AFTER && !self.tally.told.swap(true, Ordering::Relaxed) {
            let (stream, retry_budget) = (self.stream, self.capture.retry_budget);
            tracing::warn!(%stream, reason = why, ?retry_budget, "PostHog has not taken a batch of events yet; the worker tries again");
        }
    }

    /// Where bodies go. There is no key in it.
    fn batch_url(&self) -> Url {
        endpoint(self.place.url(), "batch/")
    }

    /// One request. Its place in flight ends with it: a body that waits for its next try holds
    /// none.
    async fn request(&self, body: &Body, _in_flight: InFlight) -> Result<Answer, CallError> {
        let _on_its_way = metrics::Counted::send();
        let Capture {
            posthog, send_timeout, ..
        } = self.capture;
        let mut headers = json_headers();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let (url, asked) = (self.batch_url(), Instant::now());
        let outcome = posthog.post(url, headers, body.bytes().into(), *send_timeout).await;
        let took = asked.elapsed();
        self.place.answered(self.capture.speed(took));
        metrics::sent(self.stream, took, outcome.as_ref().ok().map(|answer| answer.status));
        outcome
    }
}

async fn enter(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, SendError> {
    let permit = Arc::clone(places).acquire_owned().await;
    permit.map_err(|_| SendError::Interrupted)
}

#[cfg(test)]
mod tests;
