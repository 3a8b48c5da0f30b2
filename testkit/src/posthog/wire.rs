//! The socket under the fake server, able to misbehave below HTTP.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::behavior::{Cut, Part};

/// What the request in hand wants of its socket; shared between the two.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Wanted>>);

#[derive(Clone, Copy, Default)]
struct Wanted {
    cut: Option<Cut>,
    only: Option<Part>,
    drip: Option<Duration>,
}

impl Faults {
    /// When the connection ends, it ends like this.
    pub(super) fn cut(&self, cut: Cut) {
        self.change(|wanted| wanted.cut = Some(cut));
    }

    /// Only this part of the answer leaves.
    pub(super) fn answer_only(&self, part: Part) {
        self.change(|wanted| wanted.only = Some(part));
    }

    /// The answer leaves byte by byte.
    pub(super) fn drip(&self, pause: Duration) {
        self.change(|wanted| wanted.drip = Some(pause));
    }

    /// A new request on the same connection starts without faults.
    pub(super) fn clear(&self) {
        self.change(|wanted| *wanted = Wanted::default());
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn wanted(&self) -> Wanted {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server's side of one connection.
pub(super) struct Wire {
    stream: Option<TcpStream>,
    faults: Faults,
    pause: Option<Pin<Box<Sleep>>>,
    answered_partly: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, faults: Faults) -> Self {
        Self {
            stream: Some(stream),
            faults,
            pause: None,
            answered_partly: false,
        }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(
            self.stream
                .as_mut()
                .expect("the stream is there until the wire is dropped"),
        )
    }

    fn write_a_part(&mut self, context: &mut Context<'_>, answer: &[u8], part: Part) -> Poll<io::Result<usize>> {
        if self.answered_partly {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let head = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map_or(answer.len(), |at| at + 4);
        let part = match part {
            Part::Head => head / 2,
            Part::Body => head + (answer.len() - head) / 2,
        };
        let written = ready!(self.stream().poll_write(context, &answer[..part]))?;
        self.answered_partly = true;
        Poll::Ready(Ok(written))
    }

    fn write_a_drop(&mut self, context: &mut Context<'_>, bytes: &[u8], pause: Duration) -> Poll<io::Result<usize>> {
        ready!(
            self.pause
                .get_or_insert_with(|| Box::pin(sleep(pause)))
                .as_mut()
                .poll(context)
        );
        self.pause = None;
        self.stream().poll_write(context, &bytes[..bytes.len().min(1)])
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.faults.wanted() {
            Wanted { only: Some(part), .. } => self.write_a_part(context, bytes, part),
            Wanted { drip: Some(pause), .. } => self.write_a_drop(context, bytes, pause),
            _ => self.stream().poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        match self.faults.wanted().cut {
            Some(Cut::Rst) => {
                let _ = stream.set_zero_linger();
            }
            Some(Cut::Fin) => {
                // Closing with unread bytes in the socket would send a reset, so they are read
                // first.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(close_orderly(stream));
                }
            }
            None => {}
        }
    }
}

async fn close_orderly(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut unread = vec![0; 65_536];
    let drained = async { while stream.read(&mut unread).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), drained).await;
}
