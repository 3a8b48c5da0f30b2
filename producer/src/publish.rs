//! Publishes many jobs. They are sent without waiting for each confirm, and are recorded in the
//! ledger only when the broker has confirmed them.

use futures::FutureExt;
use shared::amqp::{AmqpError, Pending, Publisher};
use shared::headers::Headers;
use shared::job::{Job, RunKey};
use shared::ledger::Ledger;
use shared::message::Message;
use shared::topology::{EXCHANGE, Lane};

use crate::error::CommandError;
use crate::output::progress;
use crate::plan::{Planned, Reason, STUCK};
use crate::report::Failure;

/// How many messages are on their way at once. A crash leaves at most that many published and not
/// recorded.
pub(crate) const WINDOW: usize = 500;

/// What became of the jobs.
#[derive(Debug, Default)]
pub struct Published {
    /// How many are in a queue, and in the ledger
    pub confirmed: usize,
    /// Those that are in no queue, as far as is known
    pub failed: Vec<Failure>,
}

/// One message to publish.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) lane: Lane,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Headers,
}

/// Publishes messages and waits for their confirms. Once the broker no longer answers, the rest is
/// not tried: each message would wait for its own time limit.
#[derive(Debug)]
pub(crate) struct Pipeline<'a> {
    publisher: &'a Publisher,
    broken: Option<String>,
}

impl<'a> Pipeline<'a> {
    pub(crate) fn new(publisher: &'a Publisher) -> Self {
        Self {
            publisher,
            broken: None,
        }
    }

    /// Sends messages. Answers for each, in their order, whether it was confirmed, or why not.
    pub(crate) async fn send(&mut self, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        let mut started = Vec::with_capacity(messages.len());
        for message in messages {
            started.push(match &self.broken {
                Some(why) => Err(format!("not published: {why}")),
                None => self.start(message).await,
            });
        }
        let mut answers = Vec::with_capacity(messages.len());
        for start in started {
            answers.push(match start {
                Err(why) => Err(why),
                Ok(pending) => self.confirmed(pending).await,
            });
        }
        answers
    }

    async fn start(&mut self, message: &Outgoing) -> Result<Pending, String> {
        let key = message.lane.routing_key();
        let start = self.publisher.start(EXCHANGE, key, &message.body, &message.headers);
        start.await.map_err(|error| self.judge(&error))
    }

    async fn confirmed(&mut self, pending: Pending) -> Result<(), String> {
        if let Some(why) = &self.broken {
            // The confirm may have come before the connection ended.
            let here = pending.confirmed().now_or_never();
            let confirmed = matches!(here, Some(Ok(())));
            return if confirmed {
                Ok(())
            } else {
                Err(format!("published, but not confirmed: {why}"))
            };
        }
        pending.confirmed().await.map_err(|error| self.judge(&error))
    }

    /// A message that was returned or refused says nothing about the next. A channel or connection
    /// that is gone does.
    fn judge(&mut self, error: &AmqpError) -> String {
        if matches!(error, AmqpError::Broker(_) | AmqpError::Timeout(_)) {
            self.broken.get_or_insert_with(|| error.to_string());
        }
        error.to_string()
    }
}

/// Publishes the jobs and records them. Stops when the broker no longer answers; what was not
/// published counts as failed.
///
/// # Errors
/// When the ledger cannot record what the broker has confirmed.
pub async fn publish(publisher: &Publisher, ledger: &Ledger, jobs: &[Planned]) -> Result<Published, CommandError> {
    let mut sent = Published::default();
    let mut pipeline = Pipeline::new(publisher);
    let bar = progress("publishing", jobs.len());
    for window in jobs.chunks(WINDOW) {
        let message = |planned: &Planned| Outgoing {
            lane: planned.lane,
            body: Message::from(&planned.job).encode(),
            headers: Headers::fresh(),
        };
        let messages: Vec<Outgoing> = window.iter().map(message).collect();
        let mut confirmed = Vec::with_capacity(window.len());
        for (planned, answer) in window.iter().zip(pipeline.send(&messages).await) {
            match answer {
                Ok(()) => confirmed.push(planned),
                Err(error) => sent.failed.push(Failure {
                    id: planned.key().to_string(),
                    error,
                }),
            }
        }
        record(ledger, &confirmed).await?;
        sent.confirmed += confirmed.len();
        bar.inc(u64::try_from(window.len()).unwrap_or(0));
    }
    bar.finish_and_clear();
    Ok(sent)
}

async fn record(ledger: &Ledger, confirmed: &[&Planned]) -> Result<(), CommandError> {
    let (healed, queued): (Vec<&Planned>, Vec<&Planned>) =
        confirmed.iter().partition(|planned| planned.reason == Reason::Healed);
    let jobs: Vec<&Job> = queued.into_iter().map(|planned| &planned.job).collect();
    let keys: Vec<RunKey> = healed.into_iter().map(Planned::key).collect();
    let recorded = async {
        if !jobs.is_empty() {
            ledger.record_queued(&jobs).await?;
        }
        if !keys.is_empty() {
            ledger.record_healed(&keys, STUCK).await?;
        }
        Ok(())
    };
    recorded.await.map_err(|cause| CommandError::NotRecorded {
        count: confirmed.len(),
        cause,
    })
}
