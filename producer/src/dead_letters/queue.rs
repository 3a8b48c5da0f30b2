//! Holds the messages of the dead-letter queue without acking them while a command looks at them.
//! If this process dies, the broker puts back what was not acked, in the old order.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use shared::amqp::{AmqpError, CONNECT_TIMEOUT, within};
use shared::topology::DEAD_LETTER_QUEUE;

use super::message::{Keep, Letter};
use crate::error::CommandError;
use crate::output::progress;
use crate::servers::Broker;

/// How many messages are held at once: as many as a consumer can be given. The broker hands them
/// out at the speed of the network, while each `basic.get` costs it a write to its log. The next
/// call looks at the rest.
const LIMIT: u16 = u16::MAX;
/// After so many messages the log says how far it is.
const SAID_EVERY: usize = 5_000;
/// How long no message may come before the queue is asked how many messages it has left.
const QUIET: Duration = Duration::from_millis(500);
/// How long the broker may take to put messages back. Whoever looks next would miss them.
const PUT_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// A quorum queue takes 32 commands of a channel at once. Further ones wait in the channel and are
/// lost when it closes.
const ACKS_AT_ONCE: usize = 16;

/// The channel on which the messages are held. It has one consumer, because the broker puts the
/// messages of one back in their order, and those of several in any.
#[derive(Debug)]
pub(crate) struct HeldLetters<'a> {
    broker: &'a Broker,
    channel: Channel,
    /// How many messages the queue had at the beginning
    depth: u32,
    /// The messages that are neither removed nor given back
    tags: BTreeSet<u64>,
    /// How many acks were sent since the queue last answered
    removed: usize,
}

impl<'a> HeldLetters<'a> {
    /// Takes what is in the queue now. Messages that arrive meanwhile stay there. It takes all of
    /// them even for a command that needs a few: what is given back goes behind the rest of what
    /// was given back before, so each look at a part would change the order.
    pub(crate) async fn take_all(broker: &'a Broker, keep: &Keep<'_>) -> Result<(Self, Vec<Letter>), CommandError> {
        let Some(depth) = broker.depth(DEAD_LETTER_QUEUE).await? else {
            return Err(CommandError::NoQueue(DEAD_LETTER_QUEUE));
        };
        let mut held = Self {
            broker,
            channel: broker.channel().await?,
            depth,
            tags: BTreeSet::new(),
            removed: 0,
        };
        let wanted = u16::try_from(depth).unwrap_or(LIMIT);
        let letters = if wanted == 0 {
            Vec::new()
        } else {
            held.consume(wanted, keep).await?
        };
        tracing::debug!(depth, taken = letters.len(), "dead letters are held");
        if held.is_part() {
            tracing::warn!(depth, "only the first {LIMIT} dead letters are looked at");
        }
        Ok((held, letters))
    }

    /// Whether the queue had more messages than were taken.
    pub(crate) fn is_part(&self) -> bool {
        usize::try_from(self.depth).unwrap_or(usize::MAX) > self.tags.len()
    }

    async fn consume(&mut self, wanted: u16, keep: &Keep<'_>) -> Result<Vec<Letter>, CommandError> {
        let qos = self.channel.basic_qos(wanted, BasicQosOptions::default());
        within(CONNECT_TIMEOUT, qos).await?;
        let (name, options) = ("dead-letters", BasicConsumeOptions::default());
        let consume = self
            .channel
            .basic_consume(DEAD_LETTER_QUEUE.into(), name.into(), options, FieldTable::default());
        let mut consumer = within(CONNECT_TIMEOUT, consume).await?;
        let mut letters = Vec::with_capacity(usize::from(wanted));
        let bar = progress("reading dead letters", usize::from(wanted));
        while letters.len() < usize::from(wanted)
            && let Some(delivery) = self.next(&mut consumer).await?
        {
            self.hold(delivery, keep, &mut letters);
            bar.inc(1);
            if letters.len() % SAID_EVERY == 0 {
                tracing::info!(read = letters.len(), of = wanted, "reading dead letters");
            }
        }
        bar.finish_and_clear();
        let cancel = self.channel.basic_cancel(name.into(), BasicCancelOptions::default());
        within(CONNECT_TIMEOUT, cancel).await?;
        // The queue looks empty as soon as its messages are on their way to us. Those that were
        // slow came before the answer to the cancel.
        while let Some(Some(delivery)) = consumer.next().now_or_never() {
            self.hold(delivery.map_err(AmqpError::from)?, keep, &mut letters);
        }
        if letters.len() < usize::from(wanted) {
            self.depth = u32::try_from(letters.len()).unwrap_or(u32::MAX);
        }
        Ok(letters)
    }

    fn hold(&mut self, delivery: Delivery, keep: &Keep<'_>, letters: &mut Vec<Letter>) {
        self.tags.insert(delivery.delivery_tag);
        letters.push(Letter::of(delivery, keep));
    }

    /// The next message; `None` when none has come for a while and none is left in the queue.
    async fn next(&self, consumer: &mut Consumer) -> Result<Option<Delivery>, CommandError> {
        let began = tokio::time::Instant::now();
        while began.elapsed() < CONNECT_TIMEOUT {
            match tokio::time::timeout(QUIET, consumer.next()).await {
                Ok(Some(delivery)) => return Ok(Some(delivery.map_err(AmqpError::from)?)),
                // The queue was deleted.
                Ok(None) => return Err(CommandError::NoQueue(DEAD_LETTER_QUEUE)),
                Err(_) if self.broker.depth(DEAD_LETTER_QUEUE).await?.unwrap_or(0) == 0 => return Ok(None),
                Err(_) => {}
            }
        }
        Err(AmqpError::Timeout(CONNECT_TIMEOUT).into())
    }

    /// How many messages are held.
    pub(crate) fn messages(&self) -> usize {
        self.tags.len()
    }

    /// Removes a message for good.
    pub(crate) async fn remove(&mut self, tag: u64) -> Result<(), AmqpError> {
        within(CONNECT_TIMEOUT, self.channel.basic_ack(tag, BasicAckOptions::default())).await?;
        self.tags.remove(&tag);
        self.removed += 1;
        if self.removed >= ACKS_AT_ONCE {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until the queue has carried out the acks. An ack has no answer, but a get has one, and
    /// the queue deals with both in their order. A message that this get returns is held like the
    /// rest.
    async fn settle(&mut self) -> Result<(), AmqpError> {
        let get = self
            .channel
            .basic_get(DEAD_LETTER_QUEUE.into(), BasicGetOptions::default());
        let got = within(CONNECT_TIMEOUT, get).await?;
        self.tags.extend(got.map(|message| message.delivery_tag));
        self.removed = 0;
        Ok(())
    }

    /// Gives back what was not removed, and waits until it is there again.
    ///
    /// It closes the channel, whose messages the broker puts back in their order. A nack of many
    /// messages would lose it: RabbitMQ 3 puts them back in the order of a hash.
    pub(crate) async fn give_back(mut self) -> Result<(), AmqpError> {
        if self.removed > 0 {
            self.settle().await?;
        }
        let held = u32::try_from(self.tags.len()).unwrap_or(u32::MAX);
        let ready = self.broker.depth(DEAD_LETTER_QUEUE).await?.unwrap_or(0);
        within(CONNECT_TIMEOUT, self.channel.close(200, "done".into())).await?;
        let began = tokio::time::Instant::now();
        while held > 0 && began.elapsed() < PUT_BACK_TIMEOUT {
            let depth = self.broker.depth(DEAD_LETTER_QUEUE).await?.unwrap_or(0);
            if depth >= ready.saturating_add(held) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}
