//! Connections to RabbitMQ, and the only way to publish: mandatory, confirmed, with a time limit.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Event, Queue};
use tokio::net::TcpStream;
use tokio::sync::watch;
use url::Url;

use crate::headers::Headers;
use crate::message::{UNDERSTANDS, VERSION};
use crate::settings::{AMQP_CA, ExposeSecret, SecretString};

/// Time limit for connecting, and for each operation but publishing.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit from publishing until the broker confirms.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a look at the broker's port.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a frame. The client library keeps 64 frames for each connection. Messages are small,
/// and 32 kB are enough for our headers.
const FRAME_MAX: u32 = 32 << 10;
/// Seconds between heartbeats. A dead peer is noticed after two missing ones.
const HEARTBEAT: u16 = 10;

/// What went wrong at the broker.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    /// Connecting, or an operation, took too long.
    #[error("RabbitMQ did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The URL cannot be read. It holds a password, so the error does not repeat it.
    #[error("AMQP_URL is not an AMQP URL")]
    BadUrl,
    /// The broker or the connection failed.
    #[error("RabbitMQ: {}", in_words(.0))]
    Broker(#[from] lapin::Error),
    /// The URL is `amqps://`, but the server speaks no TLS or its certificate is not trusted.
    #[error(
        "no TLS: {0}; amqps:// needs RabbitMQ's TLS port (often 5671), and a certificate for this host \
         from an authority that the machine or AMQP_CA_FILE knows"
    )]
    Tls(String),
    /// No queue took the message.
    #[error(
        "no queue takes messages for exchange `{exchange}` and routing key `{key}`; run \
         `producer declare`"
    )]
    Unroutable {
        /// where it was published
        exchange: String,
        /// with which key
        key: String,
    },
    /// The broker refused the message (a full queue).
    #[error("the broker refused the message for `{0}`: its queue is full or unavailable")]
    Refused(String),
}

/// Connects. The management UI shows the name.
///
/// # Errors
/// When there is no connection within [`CONNECT_TIMEOUT`]. lapin ignores the URL's own
/// `connection_timeout` when it connects asynchronously.
pub async fn connect(url: &SecretString, name: &str) -> Result<Connection, AmqpError> {
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(|_| AmqpError::BadUrl)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max.get_or_insert(FRAME_MAX);
    let tls = OwnedTLSConfig {
        identity: None,
        cert_chain: authorities(url)?,
    };
    let plain_port = uri.scheme == AMQPScheme::AMQPS;
    // Without lapin's automatic recovery: after a channel error it leaves consumers that hang.
    let properties = ConnectionProperties::default()
        .with_connection_name(name.to_owned().into())
        .with_client_property(UNDERSTANDS.into(), VERSION.to_string().into());
    let runtime = lapin::runtime::default_runtime()?;
    let connected = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    match within(CONNECT_TIMEOUT, connected).await {
        Err(AmqpError::Broker(error)) if plain_port && is_tls_failure(&error) => Err(AmqpError::Tls(in_words(&error))),
        other => other,
    }
}

/// Whether something listens at the broker's address. Costs a handshake and says nothing more.
pub async fn port_answers(url: &SecretString) -> bool {
    let Ok(AMQPUri { authority, .. }) = url.expose_secret().parse() else {
        return false;
    };
    let connected = TcpStream::connect((authority.host.as_str(), authority.port));
    matches!(tokio::time::timeout(LOOK_TIMEOUT, connected).await, Ok(Ok(_)))
}

/// The authorities that the URL names, in PEM form.
fn authorities(url: &SecretString) -> Result<Option<String>, AmqpError> {
    let url = Url::parse(url.expose_secret()).map_err(|_| AmqpError::BadUrl)?;
    let Some((_, path)) = url.query_pairs().find(|(name, _)| name == AMQP_CA) else {
        return Ok(None);
    };
    std::fs::read_to_string(path.as_ref())
        .map(Some)
        .map_err(|error| AmqpError::Tls(format!("cannot read {path}: {error}")))
}

/// Whether the TLS handshake failed. Otherwise the server was not reached.
fn is_tls_failure(error: &lapin::Error) -> bool {
    use std::io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
    matches!(error.kind(), lapin::ErrorKind::IOError(e) if matches!(e.kind(), InvalidData | UnexpectedEof | ConnectionReset))
}

/// Runs an operation of the broker with a time limit.
pub async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, AmqpError> {
    tokio::time::timeout(limit, operation)
        .await
        .map_err(|_| AmqpError::Timeout(limit))?
        .map_err(AmqpError::from)
}

/// Publishes on its own channel, with confirms. While the broker blocks the connection (memory or
/// disk alarm), publishing waits without a time limit.
#[derive(Clone, Debug)]
pub struct Publisher {
    channel: Channel,
    blocked: watch::Receiver<bool>,
}

/// A message that was published and is not confirmed yet.
pub struct Pending {
    confirm: lapin::PublisherConfirm,
    exchange: String,
    key: String,
    blocked: watch::Receiver<bool>,
}

impl Publisher {
    /// Opens a channel in confirm mode. `blocked` is fed by [`watch_blocked`].
    pub async fn open(connection: &Connection, blocked: watch::Receiver<bool>) -> Result<Self, AmqpError> {
        let channel = within(CONNECT_TIMEOUT, connection.create_channel()).await?;
        // Without it, publishing succeeds whether the broker takes the message or not.
        within(CONNECT_TIMEOUT, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, blocked })
    }

    /// Publishes and waits for the confirm. After `Ok`, a queue has the message.
    pub async fn publish(&self, exchange: &str, key: &str, body: &[u8], headers: &Headers) -> Result<(), AmqpError> {
        self.start(exchange, key, body, headers).await?.confirmed().await
    }

    /// Publishes without waiting, for pipelining; await [`Pending::confirmed`] later.
    pub async fn start(&self, exchange: &str, key: &str, body: &[u8], headers: &Headers) -> Result<Pending, AmqpError> {
        let properties = BasicProperties::default()
            .with_content_type(ShortString::from("application/json"))
            .with_delivery_mode(2)
            .with_message_id(ShortString::from(uuid::Uuid::now_v7().to_string()))
            .with_headers(headers.to_table());
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let publish = self
            .channel
            .basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirm = limited(publish, self.blocked.clone()).await?;
        Ok(Pending {
            confirm,
            exchange: exchange.into(),
            key: key.into(),
            blocked: self.blocked.clone(),
        })
    }
}

impl Pending {
    /// Waits for the broker's answer.
    pub async fn confirmed(self) -> Result<(), AmqpError> {
        match limited(self.confirm, self.blocked).await? {
            // RabbitMQ returns a mandatory message that no queue took, and then confirms it.
            Confirmation::Ack(Some(_)) => Err(AmqpError::Unroutable {
                exchange: self.exchange,
                key: self.key,
            }),
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Nack(_) => Err(AmqpError::Refused(self.key)),
            Confirmation::NotRequested => Err(AmqpError::Refused("a channel without confirms".into())),
        }
    }
}

/// Runs an operation with [`CONFIRM_TIMEOUT`]. While the broker blocks the connection, the time
/// limit does not run; when the block begins or ends, it starts again.
async fn limited<T>(
    operation: impl Future<Output = Result<T, lapin::Error>>,
    mut blocked: watch::Receiver<bool>,
) -> Result<T, AmqpError> {
    tokio::pin!(operation);
    loop {
        let is_blocked = *blocked.borrow_and_update();
        tokio::select! {
            result = &mut operation => return result.map_err(AmqpError::from),
            // When the sender is gone, this never changes again, and the time limit runs.
            Ok(()) = blocked.changed() => {}
            () = tokio::time::sleep(CONFIRM_TIMEOUT), if !is_blocked => return Err(AmqpError::Timeout(CONFIRM_TIMEOUT)),
        }
    }
}

/// The connection's events, boxed.
pub type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// Follows a connection's events. Keeps `blocked` up to date and returns when the connection fails.
pub async fn watch_blocked(mut events: Events, blocked: watch::Sender<bool>) -> Option<lapin::Error> {
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(%reason, "RabbitMQ blocks publishing (memory or disk alarm); waiting until it ends");
                blocked.send_replace(true);
            }
            Event::ConnectionUnblocked => {
                tracing::info!("RabbitMQ takes messages again");
                blocked.send_replace(false);
            }
            Event::Error(error) => return Some(error),
            _ => {}
        }
    }
    None
}

/// How many messages of a queue are ready, asked by a passive declare, which needs no management
/// plugin. `None`: there is no such queue, and the broker has closed the channel.
pub async fn depth(channel: &Channel, queue: &str) -> Result<Option<u32>, AmqpError> {
    Ok(look(channel, queue).await?.map(|queue| queue.message_count()))
}

/// A queue's counts, asked by a passive declare. `None`: there is no such queue, and the broker has
/// closed the channel.
pub async fn look(channel: &Channel, queue: &str) -> Result<Option<Queue>, AmqpError> {
    within(CONNECT_TIMEOUT, find_queue(channel, queue)).await
}

/// [`look`] for a caller that has a time limit of its own.
pub(crate) async fn find_queue(channel: &Channel, queue: &str) -> Result<Option<Queue>, lapin::Error> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    found(declared.await)
}

/// The answer to a passive declare: `None` when the broker says that there is no such thing (404).
pub(crate) fn found<T>(looked: Result<T, lapin::Error>) -> Result<Option<T>, lapin::Error> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_reply(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What went wrong, for people. The broker's own sentence begins with the name of the error, so
/// lapin's words for it are left out.
pub fn in_words(error: &lapin::Error) -> String {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refused) if !refused.get_message().as_str().is_empty() => {
            refused.get_message().as_str().trim_end_matches('.').to_owned()
        }
        _ => error.to_string().trim_end_matches('.').to_owned(),
    }
}

/// Whether the broker refused with this reply code.
pub(crate) fn is_reply(error: &lapin::Error, code: u16) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(e) if e.get_id() == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};

    #[test]
    fn a_refusal_of_the_broker_is_said_once_and_ends_without_a_full_stop() {
        let refused = |message: &str| {
            let kind = AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
            lapin::Error::from(lapin::ErrorKind::ProtocolError(AMQPError::new(kind, message.into())))
        };
        let login = refused("ACCESS_REFUSED - Login was refused. For details see the broker logfile.");
        assert_eq!(
            AmqpError::from(login).to_string(),
            "RabbitMQ: ACCESS_REFUSED - Login was refused. For details see the broker logfile"
        );
        assert!(in_words(&refused("")).contains("ACCESS-REFUSED"));
    }
}
