//! An answer that is kept for a moment: several people look at one page, and a server that is away
//! must neither be asked for each of them nor hold a page up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

/// What a server said last.
pub(super) struct Answer<T> {
    /// What it said when it last answered, and when that was
    pub(super) known: Option<(Arc<T>, DateTime<Utc>)>,
    /// Why it does not answer now
    pub(super) trouble: Option<String>,
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        Self {
            known: self.known.clone(),
            trouble: self.trouble.clone(),
        }
    }
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self {
            known: None,
            trouble: None,
        }
    }
}

/// How an answer is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For so long nobody asks again
    pub(super) fresh: Duration,
    /// After a failure for so long
    pub(super) after_failure: Duration,
    /// So long a page waits for it; then it shows what was known before
    pub(super) wait: Duration,
}

/// Keeps it.
pub(super) struct Kept<T> {
    patience: Patience,
    answer: RwLock<Answer<T>>,
    asked: watch::Sender<Option<Instant>>,
    busy: AtomicBool,
}

/// Without the answer, which may hold what no log should.
impl<T> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        Arc::new(Self {
            patience,
            answer: RwLock::default(),
            asked: watch::Sender::new(None),
            busy: AtomicBool::new(false),
        })
    }

    /// The answer, asked for anew by `ask` unless it is fresh. One question at a time.
    pub(super) async fn get<F>(self: &Arc<Self>, ask: impl FnOnce() -> F) -> Answer<T>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        if self.is_fresh() {
            return self.read();
        }
        let mut asked = self.asked.subscribe();
        if !self.busy.swap(true, Ordering::AcqRel) {
            let question = ask();
            let kept = Arc::clone(self);
            // Of its own, so that it ends also when the browser has gone away.
            tokio::spawn(async move { kept.write(question.await) });
        }
        let answered = tokio::time::timeout(self.patience.wait, asked.changed()).await;
        let mut answer = self.read();
        if answered.is_err() && answer.trouble.is_none() {
            let waited = self.patience.wait.as_millis();
            answer.trouble = Some(format!("no answer within {waited} ms"));
        }
        answer
    }

    fn is_fresh(&self) -> bool {
        let lasts = if self.read().trouble.is_none() {
            self.patience.fresh
        } else {
            self.patience.after_failure
        };
        self.asked.borrow().is_some_and(|asked| asked.elapsed() < lasts)
    }

    fn read(&self) -> Answer<T> {
        self.answer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, said: Result<T, String>) {
        {
            let mut answer = self.answer.write().unwrap_or_else(PoisonError::into_inner);
            match said {
                Ok(known) => {
                    *answer = Answer {
                        known: Some((Arc::new(known), Utc::now())),
                        trouble: None,
                    };
                }
                Err(trouble) => answer.trouble = Some(trouble),
            }
        }
        self.busy.store(false, Ordering::Release);
        self.asked.send_replace(Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(fresh: u64, after_failure: u64, wait: u64) -> Patience {
        Patience {
            fresh: Duration::from_secs(fresh),
            after_failure: Duration::from_secs(after_failure),
            wait: Duration::from_millis(wait),
        }
    }

    fn number(answer: &Answer<i32>) -> Option<i32> {
        answer.known.as_ref().map(|(known, _)| **known)
    }

    #[tokio::test]
    async fn an_answer_is_kept_while_it_is_fresh() {
        let kept = Kept::new(patience(3_600, 0, 60_000));
        assert_eq!(number(&kept.get(|| async { Ok(1) }).await), Some(1));
        assert_eq!(number(&kept.get(|| async { Ok(2) }).await), Some(1));
    }

    #[tokio::test]
    async fn what_was_known_stays_when_the_server_goes_away() {
        let kept = Kept::new(patience(0, 0, 60_000));
        kept.get(|| async { Ok(1) }).await;
        let failed = kept.get(|| async { Err("away".to_owned()) }).await;
        assert_eq!((number(&failed), failed.trouble.as_deref()), (Some(1), Some("away")));
        let back = kept.get(|| async { Ok(2) }).await;
        assert_eq!((number(&back), back.trouble), (Some(2), None));
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_not_asked_for_each_page() {
        let kept = Kept::<i32>::new(patience(0, 3_600, 60_000));
        kept.get(|| async { Err("away".to_owned()) }).await;
        let again = kept.get(|| async { Ok(1) }).await;
        assert_eq!((number(&again), again.trouble.as_deref()), (None, Some("away")));
    }

    #[tokio::test]
    async fn a_server_that_hangs_holds_no_page_up_and_is_asked_once() {
        let kept = Kept::<i32>::new(patience(0, 0, 1));
        let answer = kept.get(std::future::pending).await;
        assert_eq!(answer.trouble.as_deref(), Some("no answer within 1 ms"));
        let second = kept.get(|| async { Ok(1) }).await;
        assert!(second.known.is_none() && second.trouble.is_some());
    }
}
