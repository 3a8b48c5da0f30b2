//! `POST /batch/`: sends a body until PostHog has every event of it that it can ever take.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::header::{CONTENT_ENCODING, HeaderValue};
use shared::job::Stream;
use shared::ledger::Reject;
use shared::posthog::{Posthog, endpoint, json_headers};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::job::lease::Held;
use crate::posthog::batch::Body;
use crate::posthog::hosts::Place;
use crate::posthog::retry::{SendError, Step, Tries};
use crate::watch::metrics;

/// So many refusals and not one accepted event: a fault of the mapping.
const REFUSED_LIMIT: i64 = 50;

/// An answer that takes this part of its time limit is late.
const LATE: u32 = 4;

/// What all sends of the process share.
#[derive(Clone)]
pub struct Capture {
    /// The guarded client
    pub posthog: Posthog,
    /// Bodies in flight at once, over all jobs
    pub in_flight: Arc<Semaphore>,
    /// For one answer
    pub send_timeout: Duration,
    /// For one body
    pub retry_budget: Duration,
}

/// What a run has met so far, over its streams and earlier slices.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events accepted
    pub accepted: AtomicI64,
    /// Rows refused
    pub refused: AtomicI64,
}

/// A body's end.
#[derive(Debug, Default)]
pub struct Accepted {
    /// Events that PostHog took
    pub events: i64,
    /// Compressed bytes that were taken
    pub bytes: i64,
    /// Rows that it never will
    pub rejects: Vec<Reject>,
}

/// A place in flight, of the host's share and of the process's.
struct InFlight(
    #[expect(dead_code, reason = "given back when dropped")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "given back when dropped")] OwnedSemaphorePermit,
);

/// A body that has its place in flight for the first try, and for all its tries one of its job's places.
pub struct Admitted {
    body: Body,
    in_flight: InFlight,
    of_job: OwnedSemaphorePermit,
    is_first: bool,
}

impl Capture {
    /// Waits until a body may be on its way to the `place`'s host. Until then its stream makes no other: bodies that wait take memory, too.
    /// One of the `job`'s places is kept from here to the body's end, also between its tries. It comes first: whoever has one needs only
    /// places that are given back after a request, so none waits for another's end.
    /// `is_first`: of its stream in this slice.
    pub async fn admit(
        &self,
        job: &Arc<Semaphore>,
        place: &Place,
        body: Body,
        is_first: bool,
    ) -> Result<Admitted, SendError> {
        let of_job = enter(job).await?;
        let in_flight = self.enter_flight(place).await?;
        Ok(Admitted {
            body,
            in_flight,
            of_job,
            is_first,
        })
    }

    /// Whether an answer took so long that its host counts as slow.
    pub fn is_late(&self, took: Duration) -> bool {
        took > self.send_timeout / LATE
    }

    async fn enter_flight(&self, place: &Place) -> Result<InFlight, SendError> {
        // The host's own first: what waits for a slow host's answers must not keep a place of the process meanwhile.
        let of_host = enter(place.in_flight()).await?;
        let of_process = enter(&self.in_flight).await?;
        Ok(InFlight(of_host, of_process))
    }

    /// Sends a body while the lease is `held`; takes it apart when PostHog refuses it as it is. `stop` ends the waiting between tries and the
    /// taking apart, never a request that is on its way. A stream's first body is taken apart to the end: what was accepted of a body does not
    /// move the cursor, so one that takes longer than a slice would be begun anew for ever.
    pub async fn send(
        &self,
        place: &Place,
        stream: Stream,
        admitted: Admitted,
        tally: &Tally,
        held: &Held,
        stop: &CancellationToken,
    ) -> Result<Accepted, SendError> {
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
            if in_flight.is_none() && !is_first && stop.is_cancelled() {
                return Err(SendError::Interrupted);
            }
            let sent = self.send_whole(place, stream, &body, &mut in_flight, held, stop);
            let Some((too_large, said)) = sent.await? else {
                let events = i64::try_from(body.events()).unwrap_or(i64::MAX);
                accepted.events += events;
                accepted.bytes += i64::try_from(body.bytes().len()).unwrap_or(i64::MAX);
                tally.accepted.fetch_add(events, Ordering::Relaxed);
                continue;
            };
            if body.events() > 1 {
                metrics::split(stream, too_large);
                let (first, second) = body
                    .halves()
                    .map_err(|e| SendError::MappingRefused(format!("a body cannot be read back: {e}")))?;
                open.extend([second, first]);
                continue;
            }
            let refused = tally.refused.fetch_add(1, Ordering::Relaxed) + 1;
            if refused >= REFUSED_LIMIT && tally.accepted.load(Ordering::Relaxed) == 0 {
                return Err(SendError::MappingRefused(said));
            }
            tracing::warn!(%stream, row_id = body.row_id(), reason = %said, "PostHog refuses this row; the rest goes on");
            metrics::rejected(stream);
            accepted.rejects.push(Reject {
                row_id: body.row_id().to_owned(),
                reason: said,
            });
        }
        Ok(accepted)
    }

    /// The same bytes until there is a verdict. `Some`: refused as it is (too large?, what was said).
    async fn send_whole(
        &self,
        place: &Place,
        stream: Stream,
        body: &Body,
        admitted: &mut Option<InFlight>,
        held: &Held,
        stop: &CancellationToken,
    ) -> Result<Option<(bool, String)>, SendError> {
        let url = endpoint(place.url(), "batch/");
        let mut tries = Tries::new(self.retry_budget);
        let began = Instant::now();
        loop {
            let sent;
            let outcome = {
                // Nobody waits for the next try with a place in flight.
                let _in_flight = match admitted.take() {
                    Some(in_flight) => in_flight,
                    None => self.enter_flight(place).await?,
                };
                sent = Instant::now();
                if !held.is_certain() {
                    return Err(SendError::LeaseUncertain);
                }
                let _on_its_way = metrics::Counted::send();
                let mut headers = json_headers();
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                self.posthog
                    .post(url.clone(), headers, body.bytes().into(), self.send_timeout)
                    .await
            };
            let took = sent.elapsed();
            place.answered(self.is_late(took));
            metrics::sent(stream, took, outcome.as_ref().ok().map(|answer| answer.status));
            match tries.decide(outcome, began.elapsed(), Utc::now()) {
                Step::Accepted => {
                    place.report(false);
                    return Ok(None);
                }
                Step::Halve(said) => return Ok(Some((true, said))),
                Step::Bisect(said) => return Ok(Some((false, said))),
                Step::Stop(error) => return Err(error),
                Step::Resend(delay) => {
                    metrics::retried(stream);
                    tracing::debug!(%stream, ?delay, "will send again");
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = stop.cancelled() => return Err(SendError::Interrupted),
                    }
                }
            }
        }
    }
}

async fn enter(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, SendError> {
    let permit = Arc::clone(places).acquire_owned().await;
    permit.map_err(|_| SendError::Interrupted)
}

#[cfg(test)]
mod tests;
