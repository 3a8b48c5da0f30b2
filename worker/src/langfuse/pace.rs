//! Limits the rows that are read a second, for a database that serves others at the same time. Each
//! page is charged in full before it is read; rows that it did not hold are given back.

use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// PURE: the moment at which all rows that were charged so far are paid off.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rows_per_second: u32,
    paid: Instant,
}

impl Pace {
    /// How long the next page has to wait.
    fn wait(&self, now: Instant) -> Duration {
        self.paid.saturating_duration_since(now)
    }

    /// Charges rows that are about to be read. A pause does not add up to a burst.
    fn charge(&mut self, rows: u32, now: Instant) {
        self.paid = self.paid.max(now) + self.cost(rows);
    }

    /// Gives back rows that were charged and not there.
    fn give_back(&mut self, rows: u32) {
        let cost = self.cost(rows);
        self.paid = self.paid.checked_sub(cost).unwrap_or(self.paid);
    }

    fn cost(&self, rows: u32) -> Duration {
        Duration::from_secs(1) * rows / self.rows_per_second.max(1)
    }
}

/// The pace of the whole process.
#[derive(Debug)]
pub struct Pacer {
    pace: watch::Sender<Pace>,
    /// Streams are served in the order in which they came.
    queue: Mutex<()>,
}

impl Pacer {
    /// A limit of so many rows a second.
    pub fn new(rows_per_second: u32) -> Self {
        let paid = Instant::now();
        Self {
            pace: watch::Sender::new(Pace { rows_per_second, paid }),
            queue: Mutex::new(()),
        }
    }

    /// Waits until a page of up to `rows` rows may be read. A stream that stops waiting is charged
    /// nothing.
    pub async fn page(&self, rows: u32) -> Charged<'_> {
        let _first = self.queue.lock().await;
        let mut pace = self.pace.subscribe();
        loop {
            let wait = pace.borrow_and_update().wait(Instant::now());
            if wait.is_zero() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Another page gave rows back, so the wait may be shorter now.
                _ = pace.changed() => {}
            }
        }
        self.pace.send_modify(|pace| pace.charge(rows, Instant::now()));
        Charged { pacer: self, rows }
    }
}

/// A page that was charged. When it is dropped, rows that it did not read are given back.
#[derive(Debug)]
pub struct Charged<'a> {
    pacer: &'a Pacer,
    rows: u32,
}

impl Charged<'_> {
    /// Says how many rows the page held.
    pub fn read(mut self, rows: usize) {
        self.rows = self.rows.saturating_sub(u32::try_from(rows).unwrap_or(u32::MAX));
    }
}

impl Drop for Charged<'_> {
    fn drop(&mut self) {
        if self.rows > 0 {
            self.pacer.pace.send_modify(|pace| pace.give_back(self.rows));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(now: Instant) -> Pace {
        Pace {
            rows_per_second: 1_000,
            paid: now,
        }
    }

    #[test]
    fn pages_wait_until_those_before_are_paid_for() {
        let now = Instant::now();
        let mut pace = pace(now);
        assert_eq!(pace.wait(now), Duration::ZERO, "the first page waits for nothing");
        pace.charge(500, now);
        assert_eq!(pace.wait(now), SECOND / 2);
        assert_eq!(pace.wait(now + SECOND / 4), SECOND / 4);
        pace.charge(1_000, now + SECOND / 4);
        assert_eq!(pace.wait(now + SECOND), SECOND / 2);
        assert_eq!(pace.wait(now + 2 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_pause_does_not_add_up_to_a_burst() {
        let now = Instant::now();
        let mut pace = pace(now);
        pace.charge(1_000, now + 3_600 * SECOND);
        assert_eq!(pace.wait(now + 3_600 * SECOND), SECOND);
    }

    #[test]
    fn rows_that_were_not_there_are_given_back() {
        let now = Instant::now();
        let mut pace = pace(now);
        pace.charge(1_000, now);
        pace.give_back(900);
        assert_eq!(pace.wait(now), SECOND / 10);
    }

    #[test]
    fn over_an_hour_the_rate_is_held_whatever_the_pages_hold() {
        let start = Instant::now();
        let (mut pace, mut now, mut read) = (pace(start), start, 0);
        for page in (0_u32..).map(|n| n * 37 % 900) {
            now += pace.wait(now);
            if now >= start + 3_600 * SECOND {
                break;
            }
            pace.charge(900, now);
            pace.give_back(900 - page);
            read += page;
        }
        assert!((3_599_000..=3_601_000).contains(&read), "{read}");
    }
}
