//! The ends of messages whose run is not even claimed.

use std::collections::BTreeMap;

use shared::amqp::AmqpError;
use shared::error_code::ErrorCode;
use shared::headers::delivery_count;
use shared::job::RunKey;
use shared::message::Message;
use shared::topology::DELIVERY_LIMIT;

use super::{Failed, Unsettled};
use crate::job::ending::{Ending, say};
use crate::watch::outcome::Outcome;

impl Unsettled<'_> {
    /// A message that is no job: to the dead letters, with its body as it came.
    pub async fn bad_message(self, reason: &str) -> Result<(), AmqpError> {
        let ending = Ending::failed(Outcome::Dead, Some(ErrorCode::BadMessage), reason);
        say(&self.about(None), &ending, &BTreeMap::new());
        self.publish_dead(&self.failed_headers(self.attempt(), ErrorCode::BadMessage, reason))
            .await?;
        self.ack().await
    }

    /// Whether so many deliveries of this message have ended without an ack that the broker is
    /// about to give it up. On a first delivery the count is not the broker's: somebody published
    /// the message with it.
    pub fn is_killer(&self) -> bool {
        let count = delivery_count(self.delivery.properties.headers().as_ref());
        self.delivery.redelivered && count >= DELIVERY_LIMIT - 2
    }

    /// A message that kills workers before they can claim its run: to the dead letters. The broker
    /// would do the same two deliveries later, but it cannot tell the ledger, and `enqueue` would
    /// publish a run that is still queued there again and again. A step is discarded.
    pub async fn killer(self, key: Option<&RunKey>) -> Result<(), AmqpError> {
        let (code, text) = (
            ErrorCode::DeliveryLimit,
            "workers ended with this message before they could claim it",
        );
        if let Some(key) = key {
            let code = Some(code);
            self.bury_at_rest(Failed { key, code, text }, self.attempt()).await;
        }
        let is_step = key.is_some_and(RunKey::is_step);
        let outcome = if is_step { Outcome::Discarded } else { Outcome::Dead };
        say(
            &self.about(key),
            &Ending::failed(outcome, Some(code), text),
            &BTreeMap::new(),
        );
        if !is_step {
            self.publish_dead(&self.failed_headers(self.attempt(), code, text))
                .await?;
        }
        self.ack().await
    }

    /// A message that had no run is published again with one, in its lane. The ledger is told once
    /// the broker has confirmed it, so it names no run without a message. A worker may have claimed
    /// the run by then.
    pub async fn republish(self, message: &Message) -> Result<(), AmqpError> {
        tracing::info!(
            project_id = %message.project_id, day = %message.day, run = message.run.as_deref(), trace_id = self.trace_id(),
            "given a run of its own"
        );
        self.publish_again(&message.encode(), &self.carried).await?;
        if let Some(job) = message.job()
            && let Err(error) = self.app.ledger.record_given(&job).await
        {
            tracing::warn!(%error, "the ledger was not told of a run that waits");
        }
        self.ack().await
    }
}
