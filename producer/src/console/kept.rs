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
    /// What takes long is asked for more seldom
    pub(super) costly: Option<Costly>,
}

/// How an answer is kept that may take long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costly {
    /// Nobody asks again for so many times as long as the answer took
    pub(super) times: u32,
    /// But after so long
    pub(super) at_most: Duration,
    /// A page does not wait for what took longer than this, as long as it can show something that is
    /// not older than `at_most` after it should have been asked for again
    pub(super) slow: Duration,
}

impl Patience {
    /// For how long nobody asks again for what took so long.
    fn fresh(&self, took: Duration) -> Duration {
        let costly = self
            .costly
            .map(|costly| took.saturating_mul(costly.times).min(costly.at_most));
        costly.map_or(self.fresh, |costly| costly.max(self.fresh))
    }

    /// How old an answer may be that a page shows without waiting for the next.
    fn shown_at_once(&self, took: Duration) -> Duration {
        let slow = self.costly.filter(|costly| took > costly.slow);
        slow.map_or(Duration::ZERO, |costly| self.fresh(took) + costly.at_most)
    }
}

/// When somebody asked last, and how long the answer took.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ended: Instant,
    took: Duration,
}

/// Keeps it.
pub(super) struct Kept<T> {
    patience: Patience,
    answer: RwLock<Answer<T>>,
    asked: watch::Sender<Option<Asked>>,
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
            let began = Instant::now();
            // Of its own, so that it ends also when the browser has gone away.
            tokio::spawn(async move { kept.write(question.await, began.elapsed()) });
        }
        if self.is_shown_at_once() {
            return self.read();
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
        let failed = self.read().trouble.is_some();
        let lasts = |asked: &Asked| {
            if failed {
                self.patience.after_failure
            } else {
                self.patience.fresh(asked.took)
            }
        };
        let asked = *self.asked.borrow();
        asked.is_some_and(|asked| asked.ended.elapsed() < lasts(&asked))
    }

    fn is_shown_at_once(&self) -> bool {
        let answer = self.read();
        let asked = *self.asked.borrow();
        let young = |asked: Asked| asked.ended.elapsed() < self.patience.shown_at_once(asked.took);
        answer.known.is_some() && answer.trouble.is_none() && asked.is_some_and(young)
    }

    fn read(&self) -> Answer<T> {
        self.answer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, said: Result<T, String>, took: Duration) {
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
        self.asked.send_replace(Some(Asked {
            ended: Instant::now(),
            took,
        }));
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
            costly: None,
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

    #[test]
    fn what_takes_long_is_asked_for_more_seldom_and_no_page_waits_for_it() {
        let costly = Costly {
            times: 50,
            at_most: Duration::from_secs(60),
            slow: Duration::from_millis(100),
        };
        let patience = Patience {
            costly: Some(costly),
            ..patience(1, 2, 5)
        };
        let of = |took| {
            let took = Duration::from_millis(took);
            (
                patience.fresh(took).as_millis(),
                patience.shown_at_once(took).as_millis(),
            )
        };
        assert_eq!(of(5), (1_000, 0));
        assert_eq!(of(80), (4_000, 0));
        assert_eq!(of(400), (20_000, 80_000));
        assert_eq!(of(4_000), (60_000, 120_000));
    }

    #[tokio::test]
    async fn the_answer_before_is_shown_while_a_slow_one_is_asked_for() {
        let shown_for = |at_most| {
            let costly = Costly {
                times: 0,
                at_most: Duration::from_secs(at_most),
                slow: Duration::ZERO,
            };
            Kept::new(Patience {
                costly: Some(costly),
                ..patience(0, 0, 1)
            })
        };
        let kept = shown_for(3_600);
        kept.get(|| async { Ok(1) }).await;
        let answer = kept.get(std::future::pending).await;
        assert_eq!((number(&answer), answer.trouble), (Some(1), None));
        // Nobody has looked for long: what was known then is too old.
        let kept = shown_for(0);
        kept.get(|| async { Ok(1) }).await;
        let answer = kept.get(std::future::pending).await;
        assert_eq!(answer.trouble.as_deref(), Some("no answer within 1 ms"));
    }
}
