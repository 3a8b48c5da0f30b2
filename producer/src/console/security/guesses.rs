//! How fast the password may be guessed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// So many wrong ones are typing errors.
const FREE: u32 = 3;
/// The first wait behind those; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Who sent no wrong password for so long begins anew.
const FORGIVEN: Duration = Duration::from_secs(600);
/// Of more places no count is kept of their own; they share one.
const MOST: usize = 1_000;

/// Who sends passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sender {
    /// A browser that was let in before. There are as many as had the right password once.
    Browser(Uuid),
    /// Anybody at this place
    Place(IpAddr),
    /// The places of which no count is kept
    Others,
}

/// Wrong passwords, by who sent them.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    by_sender: HashMap<Sender, Wrong>,
}

#[derive(Clone, Copy, Debug)]
struct Wrong {
    times: u32,
    last: Instant,
}

impl Wrong {
    fn wait(&self) -> Duration {
        match self.times.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => (FIRST_WAIT * 2_u32.saturating_pow(doublings.min(16))).min(LONGEST_WAIT),
        }
    }
}

impl Guesses {
    /// Whether a password from there is looked at; else after how many seconds. Also a right one waits:
    /// else whoever guesses would notice it among the others, and the wait would be none.
    pub(super) fn may_try(&self, from: Sender, now: Instant) -> Result<(), u64> {
        let Some(wrong) = self.by_sender.get(&self.counted(from)) else {
            return Ok(());
        };
        let left = wrong.wait().saturating_sub(now.saturating_duration_since(wrong.last));
        if left.is_zero() {
            Ok(())
        } else {
            Err(left.as_secs() + 1)
        }
    }

    /// Counts a wrong password.
    pub(super) fn failed(&mut self, from: Sender, now: Instant) {
        self.by_sender
            .retain(|_, wrong| now.saturating_duration_since(wrong.last) < FORGIVEN);
        let wrong = self
            .by_sender
            .entry(self.counted(from))
            .or_insert(Wrong { times: 0, last: now });
        wrong.times += 1;
        wrong.last = now;
    }

    fn counted(&self, from: Sender) -> Sender {
        let own =
            self.by_sender.len() < MOST || self.by_sender.contains_key(&from) || matches!(from, Sender::Browser(_));
        if own { from } else { Sender::Others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> Sender {
        Sender::Place(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn whoever_guesses_waits_longer_and_longer_and_others_do_not() {
        let mut guesses = Guesses::default();
        let start = Instant::now();
        for _ in 0..FREE {
            guesses.failed(place(1), start);
            assert_eq!(guesses.may_try(place(1), start), Ok(()));
        }
        guesses.failed(place(1), start);
        assert!(guesses.may_try(place(1), start).is_err());
        assert_eq!(guesses.may_try(place(2), start), Ok(()));
        assert_eq!(guesses.may_try(place(1), start + FIRST_WAIT), Ok(()));
        for _ in 0..40 {
            guesses.failed(place(1), start);
        }
        assert_eq!(guesses.may_try(place(1), start), Err(61));
        guesses.failed(place(2), start + FORGIVEN);
        assert_eq!(guesses.may_try(place(1), start + FORGIVEN), Ok(()));
    }

    #[test]
    fn many_places_do_not_fill_the_memory_and_do_not_hold_up_a_browser_that_is_known() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for number in 0..5_000_u32 {
            guesses.failed(Sender::Place(IpAddr::from(number.to_be_bytes())), now);
        }
        assert!(guesses.by_sender.len() <= MOST + 1);
        assert!(guesses.may_try(place(9), now).is_err());
        let browser = Sender::Browser(Uuid::from_u128(7));
        assert_eq!(guesses.may_try(browser, now), Ok(()));
        // Its own guesses count.
        for _ in 0..=FREE {
            guesses.failed(browser, now);
        }
        assert!(guesses.may_try(browser, now).is_err());
        assert_eq!(guesses.may_try(Sender::Browser(Uuid::from_u128(8)), now), Ok(()));
    }
}
