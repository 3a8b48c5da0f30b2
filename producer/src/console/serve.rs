//! The console's connections: how many there may be, how long each may take, TLS, and how they end.

mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(super) use tls::Tls;
pub use tls::TlsFiles;

/// No more at a time: whoever holds connections open must not take all file descriptors.
const CONNECTIONS: usize = 400;
/// How long a connection may say nothing, or take over the head of a request. More than the pause of a
/// page that looks again each ten seconds: a proxy that keeps its connections would meet one that is
/// just being closed.
const HEAD: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection takes no further request after so long. Whoever reads an answer or sends a form without
/// end would otherwise keep its place for ever.
const LONGEST: Duration = Duration::from_secs(300);
/// How long one that has lasted for [`LONGEST`] has for the answer that it waits for: a look into the
/// queue takes up to a minute, and waits for its turn.
const LAST_ANSWER: Duration = Duration::from_secs(90);
/// How long open connections have when the console ends.
const DRAIN: Duration = Duration::from_secs(5);
/// How long nobody is let in after the system refused a connection (no file descriptors).
const PAUSE: Duration = Duration::from_millis(200);

/// Answers until `stop`. Then it ends what it has begun to answer; a connection that says nothing more
/// does not hold it up.
pub(super) async fn serve(
    listener: TcpListener,
    mut tls: Option<Tls>,
    router: Router,
    stop: impl Future<Output = ()> + Send,
) {
    let (ending, ended) = watch::channel(());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    loop {
        while open.try_join_next().is_some() {}
        let accepted = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection to the console was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let acceptor = tls.as_mut().map(Tls::acceptor);
        let (router, ended) = (router.clone(), ended.clone());
        open.spawn(async move {
            let _place = place;
            match acceptor {
                None => answer(stream, from, router, ended).await,
                Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => answer(stream, from, router, ended).await,
                    Ok(Err(error)) => tracing::debug!(%from, %error, "no TLS"),
                    Err(_) => tracing::debug!(%from, "the TLS handshake took too long"),
                },
            }
        });
    }
    drop((listener, ending));
    let _ = timeout(DRAIN, async { while open.join_next().await.is_some() {} }).await;
}

/// Answers the requests of a connection.
async fn answer<S>(stream: S, from: SocketAddr, router: Router, mut ended: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(from))));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let within = tokio::select! {
        // Who went away, or said nothing for too long, is no news.
        _ = &mut connection => return,
        // Nothing is ever sent: the sender goes when the console ends.
        _ = ended.changed() => DRAIN,
        () = tokio::time::sleep(LONGEST) => LAST_ANSWER,
    };
    connection.as_mut().graceful_shutdown();
    let _ = timeout(within, connection).await;
}
