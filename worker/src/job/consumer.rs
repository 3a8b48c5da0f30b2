//! The supervisor of the RabbitMQ side. A session has two connections: one consumes, the other
//! publishes. RabbitMQ stops reading from a connection that publishes while it is short of memory
//! or disk, and acks must get through even then. Any error ends the session, and a new one begins,
//! for ever. A delivery of an ended session is never settled on a new one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::SelectAll;
use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use rand::Rng as _;
use shared::amqp::{AmqpError, CONNECT_TIMEOUT, Publisher, connect, in_words, port_answers, watch_blocked, within};
use shared::message::Message;
use shared::topology::{Lane, ensure};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::app::App;
use crate::job::export::export;
use crate::job::settle::Unsettled;
use crate::job::stop::Stop;
use crate::watch::metrics;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often the broker's port is looked at during such a pause.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// The queue was deleted, or the consumer cancelled. The stream of deliveries just ends; the
    /// channel stays open.
    #[error("RabbitMQ cancelled the consumer (was a queue deleted?)")]
    Cancelled,
    #[error("the connection failed: {0}")]
    Lost(String),
    #[error("a delivery could not be settled: {0}")]
    Unsettled(AmqpError),
    /// The delivery would stay unsettled, and keep its place in the prefetch window until the
    /// consumer timeout.
    #[error("the handling of a delivery panicked")]
    Panicked,
}

/// Consumes until `shutdown`.
pub async fn consume(app: Arc<App>, shutdown: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    while !shutdown.is_cancelled() {
        let began = tokio::time::Instant::now();
        let ended = session(&app, &shutdown).await;
        app.health.broker(false);
        metrics::broker(false);
        metrics::blocked(false);
        let Err(error) = ended else { return };
        metrics::session_lost();
        if began.elapsed() > LONGEST_PAUSE * 2 {
            pause = FIRST_PAUSE;
        }
        let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.5));
        tracing::warn!(%error, retry_in_ms = jittered.as_millis(), "the session with RabbitMQ ended; starting over");
        tokio::select! {
            () = wait(jittered, async || port_answers(&app.config.amqp_url).await) => {}
            () = shutdown.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for the pause, but no longer than the broker is away: where its port did not answer and now
/// does, the pause ends. Where it answers all along, waiting for it would gain nothing.
async fn wait(pause: Duration, answers: impl AsyncFn() -> bool) {
    let is_back = async {
        if answers().await {
            std::future::pending::<()>().await;
        }
        while !answers().await {
            // At random, so that a fleet does not come back all at once.
            let next = LOOK_PAUSE.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::time::sleep(next).await;
        }
    };
    let _ = tokio::time::timeout(pause, is_back).await;
}

/// What the jobs of a session share.
#[derive(Clone)]
struct Session {
    app: Arc<App>,
    publisher: Publisher,
    stop: Stop,
}

async fn session(app: &Arc<App>, shutdown: &CancellationToken) -> Result<(), SessionError> {
    let consuming = connect(&app.config.amqp_url, &format!("{} (consume)", app.worker)).await?;
    let publishing = connect(&app.config.amqp_url, &format!("{} (publish)", app.worker)).await?;
    let (blocked_tx, blocked) = watch::channel(false);
    let lost = CancellationToken::new();
    let (unsettled, mut failures) = mpsc::unbounded_channel();
    let session = Session {
        app: Arc::clone(app),
        publisher: Publisher::open(&publishing, blocked.clone()).await?,
        stop: Stop {
            shutdown: shutdown.clone(),
            connection_lost: lost.clone(),
        },
    };
    let jobs = TaskTracker::new();
    // Stops the session's jobs at their next batch border, however this function is left.
    let ending = lost.clone().drop_guard();

    within(CONNECT_TIMEOUT, ensure(&consuming, &app.config.ladder)).await?;
    let (mut deliveries, channels) = subscribe(app, &consuming).await?;
    let publishing_ended = watch_blocked(Box::pin(publishing.events_listener()), blocked_tx);
    let (consuming_blocked, _) = watch::channel(false);
    let consuming_ended = watch_blocked(Box::pin(consuming.events_listener()), consuming_blocked);
    tokio::pin!(publishing_ended, consuming_ended);
    app.health.broker(true);
    metrics::broker(true);
    tracing::info!(jobs = app.config.jobs, backfill = app.config.backfill, "consuming");

    let mut blocked_now = blocked.clone();
    let ended = loop {
        let is_blocked = *blocked_now.borrow_and_update();
        metrics::blocked(is_blocked);
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            error = &mut publishing_ended => break Err(SessionError::Lost(describe(error))),
            error = &mut consuming_ended => break Err(SessionError::Lost(describe(error))),
            Some(error) = failures.recv() => break Err(error),
            Ok(()) = blocked_now.changed() => {}
            // While the broker blocks us no message can be published, so no new job is begun.
            delivery = deliveries.next(), if !is_blocked => match delivery {
                Some((lane, Some(Ok(delivery)))) => {
                    let unsettled = unsettled.clone();
                    let handled = Box::pin(handle(session.clone(), lane, delivery));
                    jobs.spawn(async move {
                        if let Err(error) = ended(handled).await {
                            let _ = unsettled.send(error);
                        }
                    });
                }
                Some((_, Some(Err(error)))) => break Err(AmqpError::from(error).into()),
                Some((_, None)) | None => break Err(SessionError::Cancelled),
            },
        }
    };
    jobs.close();
    match ended {
        Ok(()) => drain(app, &channels, &jobs, publishing_ended, &lost).await,
        Err(error) => {
            drop(ending);
            // The jobs stop at their next batch border. Their leases are given back before the
            // broker delivers the same jobs again.
            let _ = tokio::time::timeout(app.config.grace, jobs.wait()).await;
            return Err(error);
        }
    }
    for connection in [&consuming, &publishing] {
        let _ = within(Duration::from_secs(2), connection.close(200, "bye".into())).await;
    }
    Ok(())
}

fn describe(error: Option<lapin::Error>) -> String {
    error.map_or_else(|| "closed".to_owned(), |error| in_words(&error))
}

type Deliveries = SelectAll<futures::stream::BoxStream<'static, (Lane, Option<Result<Delivery, lapin::Error>>)>>;

/// One consumer for each lane, each on a channel of its own. Its prefetch is the number of jobs
/// that may run.
async fn subscribe(app: &App, connection: &Connection) -> Result<(Deliveries, Vec<(Channel, String)>), SessionError> {
    let mut deliveries = SelectAll::new();
    let mut channels = Vec::new();
    for (lane, concurrency) in [(Lane::Jobs, app.config.jobs), (Lane::Backfill, app.config.backfill)] {
        if concurrency == 0 {
            continue;
        }
        let channel = within(CONNECT_TIMEOUT, connection.create_channel()).await?;
        within(
            CONNECT_TIMEOUT,
            channel.basic_qos(concurrency, BasicQosOptions::default()),
        )
        .await?;
        let tag = format!("{}/{}", app.worker, lane.routing_key());
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(lane.queue().into(), tag.clone().into(), options, FieldTable::default());
        let consumer = within(CONNECT_TIMEOUT, consume).await?;
        // A consumer that ends is reported as `None`; without this it would just fall out of the
        // selection.
        let ended = futures::stream::once(async move { (lane, None) });
        deliveries.push(
            consumer
                .map(move |delivery| (lane, Some(delivery)))
                .chain(ended)
                .boxed(),
        );
        channels.push((channel, tag));
    }
    Ok((deliveries, channels))
}

/// Takes no new delivery. The running jobs save, hand back and settle within the grace period.
async fn drain(
    app: &App,
    channels: &[(Channel, String)],
    jobs: &TaskTracker,
    publishing: impl Future<Output = Option<lapin::Error>>,
    lost: &CancellationToken,
) {
    app.health.broker(false);
    for (channel, tag) in channels {
        let cancel = channel.basic_cancel(tag.clone().into(), BasicCancelOptions::default());
        let _ = within(Duration::from_secs(2), cancel).await;
    }
    // Keeps watching whether the broker blocks the publisher. Without a connection jobs cannot
    // settle; they still save what was accepted and give their leases back.
    let serve = async {
        let error = describe(publishing.await);
        tracing::warn!(%error, "the connection to RabbitMQ was lost while stopping; the jobs are redelivered");
        lost.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = jobs.wait() => {}
        () = serve => {}
        () = tokio::time::sleep(app.config.grace.mul_f64(0.8)) => {
            tracing::warn!(jobs = jobs.len(), "the grace period is over; the rest is redelivered");
        }
    }
}

/// What the end of a delivery's handling means for the session.
async fn ended(handled: impl Future<Output = Result<(), AmqpError>>) -> Result<(), SessionError> {
    // After a panic the session ends, so nobody looks at state that the panic left half changed.
    match AssertUnwindSafe(handled).catch_unwind().await {
        Ok(settled) => settled.map_err(SessionError::Unsettled),
        Err(_) => Err(SessionError::Panicked),
    }
}

/// One delivery, from its decoding to its settlement.
async fn handle(session: Session, lane: Lane, delivery: Delivery) -> Result<(), AmqpError> {
    let _running = metrics::Counted::job();
    let decoded = Message::decode(&delivery.data);
    let unsettled = Unsettled::new(&session.app, &session.publisher, lane, delivery);
    let message = match decoded {
        Ok(message) => message,
        Err(bad) => return unsettled.bad_message(&bad.0).await,
    };
    if unsettled.is_killer() {
        return unsettled.killer(message.key().as_ref()).await;
    }
    let Some(job) = message.job() else {
        return unsettled.republish(&message.with_run()).await;
    };
    let span = tracing::info_span!(
        "job", project_id = %job.key.project_id, day = %job.key.day, run = %job.key.run,
        redelivered = unsettled.is_redelivered(), trace_id = unsettled.trace_id()
    );
    async {
        let ended = export(&session.app, lane, &job, unsettled.trace_id(), &session.stop).await;
        unsettled.job(&job.key, ended).await
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_ends_when_a_broker_that_was_away_answers_again() {
        let looks = std::cell::Cell::new(0);
        let comes_back = async || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), wait(Duration::from_mins(1), comes_back));
        assert!(waited.await.is_ok(), "the whole pause");
        assert_eq!(looks.get(), 3);
    }

    #[tokio::test]
    async fn a_broker_that_answers_all_along_is_looked_at_once_in_a_pause() {
        let looks = std::cell::Cell::new(0);
        let answers = async || {
            looks.set(looks.get() + 1);
            true
        };
        let (pause, began) = (Duration::from_millis(50), tokio::time::Instant::now());
        wait(pause, answers).await;
        assert!(began.elapsed() >= pause, "the pause was cut short");
        assert_eq!(looks.get(), 1);
    }

    #[tokio::test]
    async fn a_panic_ends_the_session_as_a_failed_settlement_does() {
        let panics = async { panic!("on purpose") };
        assert!(matches!(ended(panics).await, Err(SessionError::Panicked)));
        let unsettled = std::future::ready(Err(AmqpError::BadUrl));
        assert!(matches!(ended(unsettled).await, Err(SessionError::Unsettled(_))));
        assert!(ended(std::future::ready(Ok(()))).await.is_ok());
    }
}
