//! Waiting for facts instead of for time.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a process may take to become ready, to end, or to reach a state, where a test does not
/// say so itself.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait between two looks.
const INTERVAL: Duration = Duration::from_millis(25);

/// What a look may answer: `bool`, or an `Option` that holds what was waited for.
pub trait Reached {
    /// What the wait gives back.
    type Value;
    /// The value, once it is there.
    fn reached(self) -> Option<Self::Value>;
}

impl Reached for bool {
    type Value = ();
    fn reached(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Reached for Option<T> {
    type Value = T;
    fn reached(self) -> Option<T> {
        self
    }
}

/// Looks again and again until `look` is satisfied; `None` when that did not happen in time.
pub async fn until<O, F, Fut>(timeout: Duration, mut look: F) -> Option<O::Value>
where
    O: Reached,
    F: FnMut() -> Fut,
    Fut: Future<Output = O>,
{
    let deadline = Instant::now() + timeout;
    loop {
        // A look that itself hangs (a paused server) must not outlive the deadline either.
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left.max(INTERVAL), look()).await {
            Ok(answer) => {
                if let Some(value) = answer.reached() {
                    return Some(value);
                }
            }
            Err(_) => return None,
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
