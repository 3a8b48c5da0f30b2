//! The end of a delivery. Always in this order: ledger (under the lease) → publish (mandatory,
//! confirmed) if a message goes on → ack. A failure in between leaves the delivery unsettled, and
//! the broker delivers it again.

mod unclaimed;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use shared::amqp::{AmqpError, CONFIRM_TIMEOUT, Publisher, within};
use shared::error_code::ErrorCode;
use shared::headers::Headers;
use shared::job::RunKey;
use shared::ledger::{Buried, Lease, LedgerError, Retry, StreamRow};
use shared::topology::{DEAD_KEY, EXCHANGE, Lane, rung_queue};
use shared::trace::Traceparent;
use tokio::time::Instant;

use crate::app::App;
use crate::job::ending::{About, Ending, say};
use crate::job::error::JobError;
use crate::job::export::{Exported, Failure};
use crate::job::lease::give_back;
use crate::job::settlement::{Plan, Settlement, wait};
use crate::watch::outcome::Outcome;

/// How long a log line waits for the ledger's counts.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(2);

/// A delivery that is being worked on. It is settled by value, once. Dropped unsettled, the broker
/// delivers it again.
pub struct Unsettled<'a> {
    app: &'a App,
    publisher: &'a Publisher,
    lane: Lane,
    delivery: Delivery,
    /// Our own headers as they came, with a trace. The broker's are not copied.
    carried: Headers,
    began: Instant,
}

/// A failure, as ledger and headers hold it.
#[derive(Clone, Copy)]
struct Failed<'f> {
    key: &'f RunKey,
    /// `None`: an interruption, which is no failure
    code: Option<ErrorCode>,
    text: &'f str,
}

impl Failed<'_> {
    /// The word of what counts as a failure.
    fn counted(self) -> ErrorCode {
        self.code.unwrap_or(ErrorCode::Internal)
    }
}

impl<'a> Unsettled<'a> {
    /// A delivery of `lane` that has just arrived. One without a valid trace begins a trace.
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

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> Option<&str> {
        self.carried.traceparent.as_ref().map(Traceparent::trace_id)
    }

    /// Whether the broker delivered it before.
    pub fn is_redelivered(&self) -> bool {
        self.delivery.redelivered
    }

    /// The end of a job.
    pub async fn job(self, key: &RunKey, ended: Result<Exported, Failure>) -> Result<(), AmqpError> {
        match ended {
            Ok(Exported::Completed(streams)) => {
                say(&self.about(Some(key)), &Ending::of(Outcome::Completed), &streams);
                self.ack().await
            }
            Ok(Exported::Before(state)) => {
                let state = format!("it is {state}");
                let ending = Ending::failed(Outcome::DoneBefore, None, &state);
                self.say(key, false, &ending).await;
                self.ack().await
            }
            Ok(Exported::Superseded) => {
                self.say(key, false, &Ending::of(Outcome::Superseded)).await;
                self.ack().await
            }
            Err(failure) => self.failed(key, &failure).await,
        }
    }

    /// Ledger → log → publish → ack.
    async fn failed(mut self, key: &RunKey, Failure { lease, error }: &Failure) -> Result<(), AmqpError> {
        let (code, text) = (error.code(), error.to_string());
        let plan = Plan::of(error.disposition(), lease.as_ref());
        let failed = Failed { key, code, text: &text };
        let recorded = self.record(plan, failed).await;
        let is_ours = lease.is_some() && recorded.is_ok();
        if is_ours {
            self.carried.unrecorded = None;
        }
        let settlement = match recorded {
            Ok(settlement) => settlement,
            Err(error) => self.unrecorded(&error, lease.as_ref(), failed).await,
        };
        // A step that was asked for too early is somebody's mistake, and no run has its rows yet.
        let settlement = match error {
            JobError::DayNotOver(_) => settlement,
            _ if key.is_step() => settlement.of_step(),
            _ => settlement,
        };
        let ending = Ending {
            attempt: settlement.attempt(),
            delay: settlement.delay(),
            ..Ending::failed(settlement.outcome(), code, &text)
        };
        self.say(key, is_ours, &ending).await;
        match settlement {
            Settlement::Skipped | Settlement::Discarded { .. } => {}
            Settlement::HandedBack => {
                let headers = Headers {
                    slice: Some(self.slice().saturating_add(1)),
                    ..self.carried.clone()
                };
                self.publish_again(&self.delivery.data, &headers).await?;
            }
            Settlement::Waits { delay, attempt: None } => self.publish_rung(delay, &self.carried).await?,
            Settlement::Waits {
                delay,
                attempt: Some(attempt),
            } => {
                self.publish_rung(delay, &self.failed_headers(attempt, failed.counted(), failed.text))
                    .await?;
            }
            Settlement::WaitsUnrecorded { delay, attempt } => {
                let headers = self.failed_headers(attempt, failed.counted(), failed.text);
                let unrecorded = Some(attempt);
                self.publish_rung(delay, &Headers { unrecorded, ..headers }).await?;
            }
            Settlement::Dead(buried) => {
                let attempt = buried.map_or_else(|| self.attempt(), |buried| buried.attempt);
                let headers = self.failed_headers(attempt, failed.counted(), failed.text);
                let known = buried.and_then(|buried| buried.first_failed_at);
                let first_failed_at = known.or(headers.first_failed_at);
                self.publish_dead(&Headers {
                    first_failed_at,
                    unrecorded: None,
                    ..headers
                })
                .await?;
            }
            Settlement::Abandoned => return Ok(()),
        }
        self.ack().await
    }

    /// Carries a plan out at the ledger.
    async fn record(&self, plan: Plan<'_>, failed: Failed<'_>) -> Result<Settlement, LedgerError> {
        let (ledger, ladder) = (&self.app.ledger, &self.app.config.ladder);
        let (code, text) = (failed.counted(), failed.text);
        match plan {
            Plan::Abandon(lease) => {
                self.give_back(lease, failed).await;
                Ok(Settlement::Abandoned)
            }
            Plan::HandBack(lease) => {
                self.give_back(Some(lease), failed).await;
                Ok(Settlement::HandedBack)
            }
            Plan::Later { lease, wait } => {
                self.give_back(lease, failed).await;
                Ok(Settlement::Waits {
                    delay: wait.map_or_else(|| ladder.uncounted(), |wait| ladder.towards(wait)),
                    attempt: None,
                })
            }
            Plan::Skip(lease) => {
                ledger.skip(lease, code, text).await?;
                Ok(Settlement::Skipped)
            }
            Plan::Bury(lease) => {
                let buried = ledger.bury(lease, code, text).await?;
                Ok(Settlement::Dead(Some(buried)))
            }
            Plan::Refuse => Ok(Settlement::Dead(None)),
            Plan::Count(lease) => {
                let retry = ledger
                    .retry(lease, code, text, |attempt| wait(ladder, &lease.key, attempt))
                    .await?;
                Ok(match retry {
                    Retry::Wait { attempt, delay } => Settlement::Waits {
                        delay,
                        attempt: Some(attempt),
                    },
                    Retry::Exhausted(buried) => Settlement::Dead(Some(buried)),
                })
            }
            Plan::CountInMessage => Ok(self.count_in_message(failed).await),
        }
    }

    /// The ledger did not record this failure.
    async fn unrecorded(&self, error: &LedgerError, lease: Option<&Lease>, failed: Failed<'_>) -> Settlement {
        tracing::warn!(%error, "the ledger was not told");
        match error {
            // A refused statement will be refused again, so this failure must count. Given back, the
            // lease does not count as a worker's death.
            LedgerError::Sql(_) => {
                self.give_back(lease, failed).await;
                return self.count_in_message(failed).await;
            }
            LedgerError::Unreachable(_) => self.give_back(lease, failed).await,
            LedgerError::LeaseLost => {}
        }
        // Retry uncounted; a real failure will recur.
        Settlement::Waits {
            delay: self.app.config.ladder.uncounted(),
            attempt: None,
        }
    }

    /// Counts a failure that cannot be counted in the ledger: the next attempt reads the count in the
    /// headers of its message.
    async fn count_in_message(&self, failed: Failed<'_>) -> Settlement {
        let attempt = self.carried.unrecorded.unwrap_or(0).max(0).saturating_add(1);
        if let Some(delay) = wait(&self.app.config.ladder, failed.key, attempt) {
            return Settlement::WaitsUnrecorded { delay, attempt };
        }
        Settlement::Dead(Some(self.bury_at_rest(failed, attempt).await))
    }

    /// Marks the run of a message that is given up as dead. Else its row would go on waiting for the
    /// message, and an enqueue would publish it again.
    async fn bury_at_rest(&self, failed: Failed<'_>, attempt: i32) -> Buried {
        let buried = Buried {
            attempt,
            first_failed_at: self.carried.first_failed_at,
        };
        let (ledger, code) = (&self.app.ledger, failed.counted());
        if let Err(error) = ledger.bury_at_rest(failed.key, code, failed.text, buried).await {
            tracing::warn!(%error, "the ledger was not told of a dead letter");
        }
        buried
    }

    async fn give_back(&self, lease: Option<&Lease>, Failed { code, text, .. }: Failed<'_>) {
        if let Some(lease) = lease {
            give_back(&self.app.ledger, lease, self.app.config.lease, code, text).await;
        }
    }

    /// Logs and counts the end of this delivery. When the run `is_ours`, the line says how far it
    /// has come.
    async fn say(&self, key: &RunKey, is_ours: bool, ending: &Ending<'_>) {
        let streams = if is_ours {
            // The ledger's counts are those of all slices. Without an answer the line goes without
            // them.
            let streams = tokio::time::timeout(COUNTS_TIMEOUT, self.app.ledger.streams(key)).await;
            let streams = streams.ok().and_then(Result::ok).unwrap_or_default();
            streams.into_iter().map(StreamRow::progress).collect()
        } else {
            BTreeMap::new()
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

    /// Which attempt this delivery is, from 1 on, as far as its message tells.
    fn attempt(&self) -> i32 {
        self.carried.attempt.unwrap_or(0).max(0).saturating_add(1)
    }

    fn slice(&self) -> i32 {
        self.carried.slice.unwrap_or(1)
    }

    /// The headers of a message whose failure counts.
    fn failed_headers(&self, attempt: i32, code: ErrorCode, error: &str) -> Headers {
        Headers {
            attempt: Some(attempt),
            error_code: Some(code.as_str().to_owned()),
            error: Some(error.to_owned()),
            first_failed_at: self.carried.first_failed_at.or_else(|| Some(Utc::now())),
            ..self.carried.clone()
        }
    }

    async fn publish_again(&self, body: &[u8], headers: &Headers) -> Result<(), AmqpError> {
        let lane = self.lane.routing_key();
        self.publisher.publish(EXCHANGE, lane, body, headers).await
    }

    async fn publish_rung(&self, delay: Duration, headers: &Headers) -> Result<(), AmqpError> {
        // A rung is a fanout: the routing key does not lead there, but back into the lane.
        let (rung, lane) = (rung_queue(delay), self.lane.routing_key());
        self.publisher.publish(&rung, lane, &self.delivery.data, headers).await
    }

    async fn publish_dead(&self, headers: &Headers) -> Result<(), AmqpError> {
        let body = &self.delivery.data;
        self.publisher.publish(EXCHANGE, DEAD_KEY, body, headers).await
    }

    async fn ack(self) -> Result<(), AmqpError> {
        within(CONFIRM_TIMEOUT, self.delivery.acker.ack(BasicAckOptions::default()))
            .await
            .map(|_| ())
    }
}
