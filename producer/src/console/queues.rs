//! How many messages lie in each queue.

use std::sync::Arc;
use std::time::Duration;

use shared::ladder::Ladder;
use shared::topology::{self, Lane};
use tokio::sync::Mutex;

use super::kept::{Answer, Kept, Patience};
use crate::config::Server;
use crate::servers::Broker;

const PATIENCE: Patience = Patience {
    fresh: Duration::from_secs(2),
    after_failure: Duration::from_secs(10),
    wait: Duration::from_millis(1_500),
    costly: None,
};
/// How long the broker may take before the console gives it up.
const LIMIT: Duration = Duration::from_secs(5);

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Jobs,
    Backfill,
    Rung,
    DeadLetters,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) purpose: Purpose,
    /// Messages that are ready; `None`: there is no such queue
    pub(super) messages: Option<u32>,
    /// Who takes from it
    pub(super) consumers: Option<u32>,
}

/// The queues, looked at when a page asks for them.
#[derive(Debug)]
pub(super) struct Queues {
    kept: Arc<Kept<Vec<Queue>>>,
    broker: Arc<Connected>,
}

#[derive(Debug)]
struct Connected {
    server: Server,
    names: Vec<(String, Purpose)>,
    /// Kept between looks; dropped after a failure
    broker: Mutex<Option<Broker>>,
}

impl Queues {
    pub(super) fn new(server: Server, ladder: Option<&Ladder>) -> Self {
        let lane = |lane: Lane| {
            let purpose = match lane {
                Lane::Jobs => Purpose::Jobs,
                Lane::Backfill => Purpose::Backfill,
            };
            (lane.queue().to_owned(), purpose)
        };
        let rungs = ladder.map(Ladder::rungs).unwrap_or_default().iter();
        let names = Lane::ALL
            .into_iter()
            .map(lane)
            .chain(rungs.map(|rung| (topology::rung_queue(rung.delay), Purpose::Rung)))
            .chain([(topology::DEAD_LETTER_QUEUE.to_owned(), Purpose::DeadLetters)]);
        Self {
            kept: Kept::new(PATIENCE),
            broker: Arc::new(Connected {
                server,
                names: names.collect(),
                broker: Mutex::default(),
            }),
        }
    }

    /// Looks at them, if nobody has just done so.
    pub(super) async fn look(&self) -> Answer<Vec<Queue>> {
        let broker = Arc::clone(&self.broker);
        self.kept.get(|| async move { broker.look().await }).await
    }
}

impl Connected {
    async fn look(&self) -> Result<Vec<Queue>, String> {
        let mut held = self.broker.lock().await;
        let look = async {
            let broker = match held.take() {
                Some(broker) => broker,
                None => Broker::connect(&self.server).await.map_err(|error| error.to_string())?,
            };
            let mut queues = Vec::with_capacity(self.names.len());
            for (name, purpose) in &self.names {
                let found = broker.look(name).await.map_err(|error| error.to_string())?;
                queues.push(Queue {
                    name: name.clone(),
                    purpose: *purpose,
                    messages: found.map(|(messages, _)| messages),
                    consumers: found.map(|(_, consumers)| consumers),
                });
            }
            Ok::<_, String>((broker, queues))
        };
        let (broker, queues) = tokio::time::timeout(LIMIT, look)
            .await
            .map_err(|_| format!("{}: no answer within {} s", self.server.variable, LIMIT.as_secs()))??;
        *held = Some(broker);
        Ok(queues)
    }
}
