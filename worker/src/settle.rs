//! What a job's end means for its delivery. Always in this order: ledger (fenced) → publish (mandatory, confirmed) if a message
//! goes on → ack. A failure in between leaves the delivery unsettled, and the broker delivers it again.

use std::time::Duration;

use chrono::Utc;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use shared::amqp::{AmqpError, CONFIRM_TIMEOUT, Publisher, within};
use shared::error_code::ErrorCode;
use shared::job::{ExportJob, Headers};
use shared::ledger::{Lease, LedgerError, Retry};
use shared::topology::{DEAD_KEY, EXCHANGE, Ladder, Lane, Rung};

use crate::app::App;
use crate::error::{Disposition, JobError};
use crate::export::{Exported, Failure};
use crate::lease::give_back;
use crate::metrics;

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
}

impl Settlement<'_> {
    /// Not a job: to the dead letters, the body untouched.
    pub async fn bad_message(self, reason: &str) -> Result<(), AmqpError> {
        tracing::error!(reason, "dead letter: the message is no job");
        metrics::job_ended("dead", Some(ErrorCode::BadMessage));
        let headers = self.headers(0, ErrorCode::BadMessage, reason);
        self.publish_dead(&headers).await?;
        self.ack().await
    }

    /// A message without a run is published again with one, in its lane.
    pub async fn with_run(self, job: &ExportJob) -> Result<(), AmqpError> {
        tracing::info!(project_id = %job.project_id, day = %job.day, run = job.run.as_deref(), "given a run of its own");
        let headers = self.carried();
        self.publisher
            .publish(EXCHANGE, self.lane.routing_key(), &job.encode(), &headers)
            .await?;
        self.ack().await
    }

    /// The job's end.
    pub async fn job(self, job: &ExportJob, run: &str, ended: Result<Exported, Failure>) -> Result<(), AmqpError> {
        match ended {
            Ok(Exported::Completed { sent, rejected }) => {
                tracing::info!(sent, rejected, "completed");
                metrics::job_ended("completed", None);
                self.ack().await
            }
            Ok(Exported::Before(state)) => {
                tracing::warn!(%state, run, "nothing to do: this run has ended before; for a replay leave `run` out");
                metrics::job_ended("done_before", None);
                self.ack().await
            }
            Err(Failure { lease, error }) => self.failed(job, lease.as_ref(), error).await,
        }
    }

    async fn failed(self, job: &ExportJob, lease: Option<&Lease>, error: JobError) -> Result<(), AmqpError> {
        let text = error.to_string();
        let code = error.code();
        let counted = code.unwrap_or(ErrorCode::Internal);
        let (ledger, length) = (&self.app.ledger, self.app.config.lease);
        let written = match (error.disposition(), lease) {
            (Disposition::Abandon, lease) => {
                if let Some(lease) = lease {
                    give_back(ledger, lease, length).await;
                }
                tracing::warn!(reason = %text, "abandoned; the broker delivers it again");
                metrics::job_ended("abandoned", code);
                return Ok(());
            }
            (Disposition::HandBack, Some(lease)) => {
                give_back(ledger, lease, length).await;
                tracing::info!(reason = %text, "handed back at a checkpoint");
                metrics::job_ended("handed_back", code);
                self.publisher
                    .publish(EXCHANGE, self.lane.routing_key(), &self.delivery.data, &self.carried())
                    .await?;
                return self.ack().await;
            }
            (Disposition::Later(wait), lease) => {
                if let Some(lease) = lease {
                    give_back(ledger, lease, length).await;
                }
                return self.later(wait, code, &text).await;
            }
            (Disposition::Skip, Some(lease)) => {
                let skipped = ledger.skip(lease, counted, &text).await;
                if skipped.is_ok() {
                    tracing::info!(reason = %text, "skipped");
                    metrics::job_ended("skipped", code);
                    return self.ack().await;
                }
                skipped.map(|()| Retry::Exhausted { attempt: 0 })
            }
            (Disposition::Bury, Some(lease)) => ledger
                .bury(lease, counted, &text)
                .await
                .map(|()| Retry::Exhausted { attempt: 1 }),
            // Refused before there was a lease.
            (Disposition::Bury, None) => Ok(Retry::Exhausted { attempt: 0 }),
            (Disposition::Retry, Some(lease)) => {
                let ladder: &Ladder = &self.app.config.ladder;
                ledger
                    .retry(lease, counted, &text, |attempt| ladder.delay(attempt))
                    .await
            }
            // Failed before there was a row to count on (a statement on the way to the claim).
            (Disposition::Retry | Disposition::Skip | Disposition::HandBack, None) => {
                return self.later(None, code, &text).await;
            }
        };
        match written {
            Ok(Retry::Wait { attempt, delay }) => {
                tracing::warn!(reason = %text, code = %counted, attempt, delay_s = delay.as_secs(), "will be tried again");
                metrics::job_ended("retry", code);
                self.publish_rung(delay, &self.headers(attempt, counted, &text)).await?;
                self.ack().await
            }
            Ok(Retry::Exhausted { attempt }) => {
                tracing::error!(reason = %text, code = %counted, attempt, advice = counted.advice(), "dead letter");
                metrics::job_ended("dead", code);
                let mut headers = self.headers(attempt, counted, &text);
                if let Some(lease) = lease
                    && let Ok(Some(first)) = ledger.first_failed_at(&lease.key).await
                {
                    headers.first_failed_at = Some(first);
                }
                tracing::debug!(project_id = %job.project_id, "to the dead letters");
                self.publish_dead(&headers).await?;
                self.ack().await
            }
            // The failure could not be counted; it will happen again, or it was none.
            Err(error) => {
                tracing::warn!(%error, "the ledger was not told");
                if let (LedgerError::Unreachable(_), Some(lease)) = (&error, lease) {
                    give_back(ledger, lease, length).await;
                }
                self.later(None, code, &text).await
            }
        }
    }

    /// Nothing counted: to a rung.
    async fn later(self, wait: Option<Duration>, code: Option<ErrorCode>, reason: &str) -> Result<(), AmqpError> {
        let ladder = &self.app.config.ladder;
        let delay = wait.map_or_else(|| ladder.uncounted(), |wait| ladder.towards(wait));
        tracing::info!(reason, delay_s = delay.as_secs(), "waits; nothing is counted");
        metrics::job_ended("later", code);
        self.publish_rung(delay, &self.carried()).await?;
        self.ack().await
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

    /// Our own headers as they came; the broker's are not copied.
    fn carried(&self) -> Headers {
        Headers::from_table(self.delivery.properties.headers().as_ref())
    }

    fn headers(&self, attempt: i32, code: ErrorCode, error: &str) -> Headers {
        let carried = self.carried();
        Headers {
            attempt: Some(attempt),
            error_code: Some(code.as_str().to_owned()),
            error: Some(error.to_owned()),
            first_failed_at: carried.first_failed_at.or_else(|| Some(Utc::now())),
            traceparent: carried.traceparent,
        }
    }

    async fn ack(self) -> Result<(), AmqpError> {
        within(CONFIRM_TIMEOUT, self.delivery.acker.ack(BasicAckOptions::default()))
            .await
            .map(|_| ())
    }
}
