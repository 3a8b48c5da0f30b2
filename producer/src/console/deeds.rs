//! The deeds that go on: how many at once, how long each may take, and how they end when the console
//! does.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// So many deeds go on at once; each takes up to two connections. What runs alone needs no place.
pub(super) const AT_ONCE: u32 = 4;
/// How long a deed waits for a place.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what calls a user's host may take.
pub(super) const CALLING: Duration = Duration::from_secs(60);
/// How long every other deed may take.
pub(super) const LONGEST: Duration = Duration::from_secs(600);
/// How often the end of a deed is written, where the ledger does not answer.
pub(super) const TRIES: u32 = 5;
/// How long lies between two of these.
pub(super) const AGAIN: Duration = Duration::from_secs(2);
/// How long the ledger may take over one of these.
const ANSWER: Duration = Duration::from_secs(10);
/// How long deeds that were cut short have to write so. Kubernetes kills the console after 30 s.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// Why a deed was not begun.
pub(super) const ENDING: &str = "Nothing was done: the console was ending.";
const CROWDED: &str = "Nothing was done: four other actions are going on. Try again when one of them has ended.";

/// A row that is still `begun` after so long is that of a deed whose console ended in the middle.
pub(super) fn cut_short_after() -> Duration {
    PATIENCE + LONGEST + (ANSWER + AGAIN) * TRIES
}

/// The deeds that go on.
#[derive(Debug)]
pub(super) struct Deeds {
    places: Semaphore,
    tasks: Mutex<JoinSet<()>>,
    cut: watch::Sender<bool>,
}

impl Default for Deeds {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE as usize),
            tasks: Mutex::default(),
            cut: watch::Sender::new(false),
        }
    }
}

impl Deeds {
    /// Begins the task of a deed. The console waits for it when it ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// A place among the deeds that go on at once, or why there is none. What runs alone has its lock
    /// instead.
    pub(super) async fn place(&self, alone: bool) -> Result<Option<SemaphorePermit<'_>>, &'static str> {
        if alone {
            return if self.places.is_closed() { Err(ENDING) } else { Ok(None) };
        }
        match timeout(PATIENCE, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(_)) => Err(ENDING),
            Err(_) => Err(CROWDED),
        }
    }

    /// Lets no deed begin any more, also none that waits for its place.
    pub(super) fn close(&self) {
        self.places.close();
    }

    /// Is over when no deed may go on.
    pub(super) async fn are_cut(&self) {
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }

    /// Waits for the deeds that go on, and for their ends to be written. What lasts longer is cut short.
    pub(super) async fn end(&self, within: Duration) {
        self.close();
        let mut tasks = mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        if timeout(within, all(&mut tasks)).await.is_err() {
            self.cut.send_replace(true);
            if timeout(LAST_WORDS, all(&mut tasks)).await.is_err() {
                tracing::error!(
                    deeds = tasks.len(),
                    "the ends of actions could not be written before the console ended"
                );
            }
        }
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_console_that_ends_lets_none_begin_and_waits_for_all() {
        let deeds = Arc::new(Deeds::default());
        let (begun, refused) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (go, wait) = watch::channel(false);
        for _ in 0..AT_ONCE + 3 {
            let (own, begun, refused, mut wait) = (
                Arc::clone(&deeds),
                Arc::clone(&begun),
                Arc::clone(&refused),
                wait.clone(),
            );
            deeds.spawn(async move {
                match own.place(false).await {
                    Ok(_place) => {
                        let _ = wait.wait_for(|go| *go).await;
                        // As long as the end takes to be written.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        begun.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(why) => {
                        assert_eq!(why, ENDING);
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        tokio::task::yield_now().await;
        assert!(deeds.place(true).await.is_ok(), "what runs alone waits for no place");
        deeds.close();
        go.send_replace(true);
        deeds.end(Duration::from_secs(10)).await;
        assert_eq!(
            (begun.load(Ordering::SeqCst), refused.load(Ordering::SeqCst)),
            (AT_ONCE, 3)
        );
        assert!(deeds.place(true).await.is_err());
    }

    #[tokio::test]
    async fn what_goes_on_for_too_long_is_told_to_write_its_end() {
        let deeds = Arc::new(Deeds::default());
        let (own, (say, hear)) = (Arc::clone(&deeds), tokio::sync::oneshot::channel());
        deeds.spawn(async move {
            own.are_cut().await;
            let _ = say.send(());
        });
        deeds.end(Duration::from_millis(1)).await;
        assert!(hear.await.is_ok());
    }

    #[test]
    fn no_deed_that_can_still_go_on_is_called_cut_short() {
        assert!(cut_short_after() >= PATIENCE + LONGEST && cut_short_after() < Duration::from_secs(15 * 60));
    }
}
