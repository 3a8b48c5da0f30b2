//! `POST /batch/`: sends a body until PostHog has every event of it that it can ever take.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::header::{CONTENT_ENCODING, HeaderValue};
use shared::job::Stream;
use shared::ledger::Reject;
use shared::posthog::{Posthog, endpoint, json_headers};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::batch::Body;
use crate::lease::Held;
use crate::metrics;
use crate::retry::{SendError, Step, Tries};

/// So many refusals and not one accepted event: a fault of the mapping.
const REFUSED_LIMIT: i64 = 50;

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

impl Capture {
    /// Sends a body while the lease is `held`; takes it apart when PostHog refuses it as it is. `stop` ends the waiting between tries, never a request
    /// that is on its way.
    pub async fn send(
        &self,
        host: &Url,
        stream: Stream,
        body: Body,
        tally: &Tally,
        held: &Held,
        stop: &CancellationToken,
    ) -> Result<Accepted, SendError> {
        let url = endpoint(host, "batch/");
        let mut accepted = Accepted::default();
        let mut open = vec![body];
        while let Some(body) = open.pop() {
            let Some((too_large, said)) = self.send_whole(&url, stream, &body, held, stop).await? else {
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
        url: &Url,
        stream: Stream,
        body: &Body,
        held: &Held,
        stop: &CancellationToken,
    ) -> Result<Option<(bool, String)>, SendError> {
        let mut tries = Tries::new(self.retry_budget);
        let began = Instant::now();
        loop {
            let sent = Instant::now();
            let outcome = {
                // Nobody waits for the next try with a place in flight.
                let _place = self.in_flight.acquire().await.map_err(|_| SendError::Interrupted)?;
                if !held.is_certain() {
                    return Err(SendError::LeaseUncertain);
                }
                let mut headers = json_headers();
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                self.posthog
                    .post(url.clone(), headers, body.bytes().into(), self.send_timeout)
                    .await
            };
            metrics::sent(
                stream,
                sent.elapsed(),
                outcome.as_ref().ok().map(|answer| answer.status),
            );
            match tries.decide(outcome, began.elapsed(), Utc::now()) {
                Step::Accepted => return Ok(None),
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
