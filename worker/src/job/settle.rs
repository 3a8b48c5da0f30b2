//! What a job's end means for its delivery. Always in this order: ledger (fenced) → publish (mandatory, confirmed) if a message
//! goes on → ack. A failure in between leaves the delivery unsettled, and the broker delivers it again.

use std::time::Duration;

use chrono::Utc;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use shared::amqp::{AmqpError, CONFIRM_TIMEOUT, Publisher, within};
use shared::error_code::ErrorCode;
use shared::headers::Headers;
use shared::job::RunKey;
use shared::ledger::{Buried, Lease, LedgerError, Retry};
use shared::message::Message;
use shared::topology::{DEAD_KEY, EXCHANGE, Ladder, Lane, Rung};
use shared::trace::Traceparent;
use tokio::time::Instant;

use crate::app::App;
use crate::job::ending::{About, Ending, say};
use crate::job::error::{Disposition, JobError};
use crate::job::export::{Exported, Failure};
use crate::job::lease::give_back;
use crate::watch::outcome::Outcome;

/// How long a log line waits for the ledger's counts.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(2);

/// A delivery that is being worked on. Settled by value, once; dropped unsettled, the broker delivers it again.
pub struct Settlement<'a> {
    /// the worker
    pub app: &'a App,
    /// of the delivery's session
    pub publisher: &'a Publisher,
    /// where its message returns to
    pub lane: Lane,
    /// what to settle
    pub delivery: Delivery,
    /// our own headers as they came, with a trace; the broker's are not copied
    pub carried: Headers,
    /// when it arrived
    pub began: Instant,
}

impl<'a> Settlement<'a> {
    /// Of a delivery that has just arrived. One without a trace, or with one that is not valid, begins one.
    pub fn new(app: &'a App, publisher: &'a Publisher, lane: Lane, delivery: Delivery) -> Self {
        let mut carried = Headers::from_table(delivery.properties.headers().as_ref());
        carried.traceparent.get_or_insert_with(Traceparent::fresh);
        Self {
            app,
            publisher,
            lane,
            delivery,
            carried,
            began: Instant::now(),
        }
    }

    /// The trace it belongs to.
    pub fn trace_id(&self) -> Option<&str> {
        self.carried.traceparent.as_ref().map(Traceparent::trace_id)
    }

    /// Which attempt this delivery is, from 1 on: as far as its message tells; the ledger decides.
    pub fn attempt(&self) -> i32 {
        self.carried.attempt.unwrap_or(0).saturating_add(1)
    }

    /// Which slice of its run this delivery is, from 1 on.
    pub fn slice(&self) -> i32 {
        self.carried.slice.unwrap_or(1)
    }

    /// Not a job: to the dead letters, the body untouched.
    pub async fn bad_message(self, reason: &str) -> Result<(), AmqpError> {
        let ending = Ending::failed(Outcome::Dead, Some(ErrorCode::BadMessage), reason);
        say(&self.about(None), &ending, &[]);
        let headers = self.headers(0, ErrorCode::BadMessage, reason);
        self.publish_dead(&headers).await?;
        self.ack().await
    }

    /// A message without a run is published again with one, in its lane.
    pub async fn republish(self, message: &Message) -> Result<(), AmqpError> {
        tracing::info!(
            project_id = %message.project_id, day = %message.day, run = message.run, trace_id = self.trace_id(),
            "given a run of its own"
        );
        self.publisher
            .publish(EXCHANGE, self.lane.routing_key(), &message.encode(), &self.carried)
            .await?;
        self.ack().await
    }

    /// The job's end.
    pub async fn job(self, key: &RunKey, ended: Result<Exported, Failure>) -> Result<(), AmqpError> {
        match ended {
            Ok(Exported::Completed { .. }) => {
                self.say(key, true, &Ending::of(Outcome::Completed)).await;
                self.ack().await
            }
            Ok(Exported::Before(state)) => {
                let state = format!("it is {state}");
                let ending = Ending::failed(Outcome::DoneBefore, None, &state);
                self.say(key, false, &ending).await;
                self.ack().await
            }
            Err(Failure { lease, error }) => self.failed(key, lease.as_ref(), error).await,
        }
    }

    async fn failed(self, key: &RunKey, lease: Option<&Lease>, error: JobError) -> Result<(), AmqpError> {
        let text = error.to_string();
        let code = error.code();
        let counted = code.unwrap_or(ErrorCode::Internal);
        let (ledger, length) = (&self.app.ledger, self.app.config.lease);
        let written = match (error.disposition(), lease) {
            (Disposition::Abandon, lease) => {
                if let Some(lease) = lease {
                    give_back(ledger, lease, length).await;
                }
                let ending = Ending::failed(Outcome::Abandoned, code, &text);
                self.say(key, lease.is_some(), &ending).await;
                return Ok(());
            }
            (Disposition::HandBack, Some(lease)) => {
                give_back(ledger, lease, length).await;
                self.say(key, true, &Ending::failed(Outcome::HandedBack, code, &text))
                    .await;
                let headers = Headers {
                    slice: Some(self.slice().saturating_add(1)),
                    ..self.carried.clone()
                };
                self.publisher
                    .publish(EXCHANGE, self.lane.routing_key(), &self.delivery.data, &headers)
                    .await?;
                return self.ack().await;
            }
            (Disposition::Later(wait), lease) => {
                if let Some(lease) = lease {
                    give_back(ledger, lease, length).await;
                }
                return self.later(key, lease.is_some(), wait, code, &text).await;
            }
            (Disposition::Skip, Some(lease)) => {
                let skipped = ledger.skip(lease, counted, &text).await;
                if skipped.is_ok() {
                    self.say(key, true, &Ending::failed(Outcome::Skipped, code, &text))
                        .await;
                    return self.ack().await;
                }
                skipped.map(|()| Retry::Exhausted(Buried::default()))
            }
            (Disposition::Bury, Some(lease)) => ledger.bury(lease, counted, &text).await.map(Retry::Exhausted),
            // Refused before there was a lease.
            (Disposition::Bury, None) => Ok(Retry::Exhausted(Buried::default())),
            (Disposition::Retry, Some(lease)) => {
                let ladder: &Ladder = &self.app.config.ladder;
                ledger
                    .retry(lease, counted, &text, |attempt| ladder.delay(attempt))
                    .await
            }
            // Failed before there was a row to count on (a statement on the way to the claim).
            (Disposition::Retry | Disposition::Skip | Disposition::HandBack, None) => {
                return self.later(key, false, None, code, &text).await;
            }
        };
        match written {
            Ok(Retry::Wait { attempt, delay }) => {
                let ending = Ending {
                    attempt: Some(attempt),
                    delay: Some(delay),
                    ..Ending::failed(Outcome::Retry, code, &text)
                };
                self.say(key, true, &ending).await;
                self.publish_rung(delay, &self.headers(attempt, counted, &text)).await?;
                self.ack().await
            }
            Ok(Retry::Exhausted(Buried {
                attempt,
                first_failed_at,
            })) => {
                let ending = Ending {
                    attempt: Some(attempt),
                    ..Ending::failed(Outcome::Dead, code, &text)
                };
                self.say(key, lease.is_some(), &ending).await;
                let mut headers = self.headers(attempt, counted, &text);
                headers.first_failed_at = first_failed_at.or(headers.first_failed_at);
                self.publish_dead(&headers).await?;
                self.ack().await
            }
            // The failure could not be counted; it will happen again, or it was none.
            Err(error) => {
                tracing::warn!(%error, "the ledger was not told");
                if let (LedgerError::Unreachable(_), Some(lease)) = (&error, lease) {
                    give_back(ledger, lease, length).await;
                }
                self.later(key, false, None, code, &text).await
            }
        }
    }

    /// Nothing counted: to a rung.
    async fn later(
        self,
        key: &RunKey,
        ours: bool,
        wait: Option<Duration>,
        code: Option<ErrorCode>,
        reason: &str,
    ) -> Result<(), AmqpError> {
        let ladder = &self.app.config.ladder;
        let delay = wait.map_or_else(|| ladder.uncounted(), |wait| ladder.towards(wait));
        let ending = Ending {
            delay: Some(delay),
            ..Ending::failed(Outcome::Later, code, reason)
        };
        self.say(key, ours, &ending).await;
        self.publish_rung(delay, &self.carried).await?;
        self.ack().await
    }

    /// The line of this delivery's end; with how far the run has come when it was ours.
    async fn say(&self, key: &RunKey, ours: bool, ending: &Ending<'_>) {
        let streams = if ours {
            // The ledger's counts are those of all slices. Without an answer the line goes without them.
            let streams = tokio::time::timeout(COUNTS_TIMEOUT, self.app.ledger.streams(key)).await;
            streams.ok().and_then(Result::ok).unwrap_or_default()
        } else {
            Vec::new()
        };
        say(&self.about(Some(key)), ending, &streams);
    }

    fn about<'k>(&'k self, key: Option<&'k RunKey>) -> About<'k> {
        About {
            key,
            lane: self.lane,
            attempt: self.attempt(),
            slice: self.slice(),
            redelivered: self.delivery.redelivered,
            trace_id: self.trace_id(),
            worker: &self.app.worker,
            began: self.began,
        }
    }

    async fn publish_rung(&self, delay: Duration, headers: &Headers) -> Result<(), AmqpError> {
        // A rung is a fanout: the routing key does not lead there, but back into the lane.
        self.publisher
            .publish(
                &Rung::queue(delay),
                self.lane.routing_key(),
                &self.delivery.data,
                headers,
            )
            .await
    }

    async fn publish_dead(&self, headers: &Headers) -> Result<(), AmqpError> {
        self.publisher
            .publish(EXCHANGE, DEAD_KEY, &self.delivery.data, headers)
            .await
    }

    fn headers(&self, attempt: i32, code: ErrorCode, error: &str) -> Headers {
        Headers {
            attempt: Some(attempt),
            error_code: Some(code.as_str().to_owned()),
            error: Some(error.to_owned()),
            first_failed_at: self.carried.first_failed_at.or_else(|| Some(Utc::now())),
            ..self.carried.clone()
        }
    }

    async fn ack(self) -> Result<(), AmqpError> {
        within(CONFIRM_TIMEOUT, self.delivery.acker.ack(BasicAckOptions::default()))
            .await
            .map(|_| ())
    }
}
