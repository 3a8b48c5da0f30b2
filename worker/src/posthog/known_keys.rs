//! Which keys their hosts know. A backfill would otherwise ask for the same project's key before each
//! of its days.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::posthog::KeyCheck;
use tokio::time::Instant;

/// How long the answer "known" holds. PostHog accepts the events of a key that it does not know, and
/// drops them; so this is how long they may be lost after a key was deleted there.
const HOLDS: Duration = Duration::from_mins(1);

/// The keys that were asked for a short while ago, by host and fingerprint.
#[derive(Debug)]
pub struct KnownKeys {
    keys: Mutex<HashMap<String, Arc<Key>>>,
    holds: Duration,
}

impl Default for KnownKeys {
    fn default() -> Self {
        Self {
            keys: Mutex::default(),
            holds: HOLDS,
        }
    }
}

#[derive(Debug, Default)]
struct Key {
    /// When a host was asked that then said that it knows the key
    known: Mutex<Option<Instant>>,
    /// Held by the job that asks
    asking: tokio::sync::Mutex<()>,
}

impl Key {
    fn is_known(&self, holds: Duration) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.is_some_and(|asked| asked.elapsed() < holds)
    }
}

impl KnownKeys {
    /// Asks whether a host knows a key, unless it has just said that it does. `target` is the host
    /// and the key's fingerprint. Jobs that ask for the same key at the same time wait for the first
    /// of them; any other answer than "known" is only that job's, and each of them asks by itself.
    pub async fn check<E>(&self, target: &str, ask: impl AsyncFnOnce() -> Result<KeyCheck, E>) -> Result<KeyCheck, E> {
        let key = self.key(target);
        let first = key.asking.try_lock();
        if first.is_err() {
            let _ended = key.asking.lock().await;
        }
        if key.is_known(self.holds) {
            return Ok(KeyCheck::Known);
        }
        let asked = Instant::now();
        let answer = ask().await;
        if matches!(answer, Ok(KeyCheck::Known)) {
            *key.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        }
        answer
    }

    fn key(&self, target: &str) -> Arc<Key> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // Users bring new keys for ever.
        keys.retain(|_, key| Arc::strong_count(key) > 1 || key.is_known(self.holds));
        Arc::clone(keys.entry(target.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    type Answer = Result<KeyCheck, &'static str>;

    /// Answers as often as there are permits.
    struct Host {
        keys: KnownKeys,
        asked: AtomicUsize,
        answers: Semaphore,
    }

    impl Host {
        fn new(holds: Duration, answers: usize) -> Self {
            Self {
                keys: KnownKeys {
                    holds,
                    ..KnownKeys::default()
                },
                asked: AtomicUsize::new(0),
                answers: Semaphore::new(answers),
            }
        }

        async fn check(&self, target: &str, answer: Answer) -> Answer {
            let ask = async || {
                self.asked.fetch_add(1, Ordering::SeqCst);
                self.answers.acquire().await.unwrap().forget();
                answer
            };
            self.keys.check(target, ask).await
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        async fn until_asked(&self, times: usize) {
            while self.asked() < times {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn known_holds_for_that_key_at_that_host() {
        let host = Host::new(HOLDS, 100);
        for _ in 0..20 {
            assert_eq!(host.check("a", Ok(KeyCheck::Known)).await, Ok(KeyCheck::Known));
        }
        assert_eq!(host.asked(), 1);
        host.check("b", Ok(KeyCheck::Known)).await.unwrap();
        assert_eq!(host.asked(), 2);
    }

    #[tokio::test]
    async fn after_its_time_it_is_asked_again_and_forgotten() {
        let host = Host::new(Duration::ZERO, 100);
        host.check("a", Ok(KeyCheck::Known)).await.unwrap();
        assert_eq!(host.check("a", Ok(KeyCheck::Unknown)).await, Ok(KeyCheck::Unknown));
        host.check("b", Ok(KeyCheck::Known)).await.unwrap();
        assert_eq!(host.asked(), 3);
        assert_eq!(host.keys.keys.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn no_other_answer_holds() {
        let host = Host::new(HOLDS, 100);
        let answers = [
            Ok(KeyCheck::Unknown),
            Ok(KeyCheck::CannotTell("404".to_owned())),
            Ok(KeyCheck::NoAnswer("refused".to_owned())),
            Err("not allowed"),
        ];
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(host.check("a", answer.clone()).await, answer);
            assert_eq!(host.asked(), number + 1);
        }
    }

    #[tokio::test]
    async fn jobs_at_the_same_time_ask_once() {
        let host = Host::new(HOLDS, 0);
        let release = async {
            host.until_asked(1).await;
            host.answers.add_permits(1);
        };
        let all = join_all((0..8).map(|_| host.check("a", Ok(KeyCheck::Known))));
        let (all, ()) = tokio::join!(all, release);
        assert!(all.iter().all(|answer| *answer == Ok(KeyCheck::Known)));
        assert_eq!(host.asked(), 1);
    }

    #[tokio::test]
    async fn after_another_answer_than_known_they_ask_side_by_side() {
        let host = Host::new(HOLDS, 0);
        let silent = Ok(KeyCheck::NoAnswer("refused".to_owned()));
        let release = async {
            host.until_asked(1).await;
            host.answers.add_permits(1);
            host.until_asked(8).await;
            host.answers.add_permits(7);
        };
        tokio::join!(join_all((0..8).map(|_| host.check("a", silent.clone()))), release);
        assert_eq!(host.asked(), 8);
    }

    #[tokio::test]
    async fn a_job_that_goes_away_while_it_asks_leaves_the_question_to_the_next() {
        let host = Host::new(HOLDS, 0);
        tokio::select! {
            biased;
            _ = host.check("a", Ok(KeyCheck::Known)) => panic!("nobody answered"),
            () = host.until_asked(1) => {}
        }
        host.answers.add_permits(1);
        host.check("a", Ok(KeyCheck::Known)).await.unwrap();
        assert_eq!(host.asked(), 2);
    }
}
