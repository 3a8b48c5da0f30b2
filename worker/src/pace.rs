//! Limits how many rows are read, or events are sent, a second. What is about to be read or sent is
//! charged in full before; what it did not hold is given back.

use std::time::Duration;

use shared::topology::Lane;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// Who goes later than it could have, by no more than this, is taken to have gone in time. Else all
/// that timers and busy processors are late would add up to a lower rate.
const LATE: Duration = Duration::from_millis(100);

/// PURE: the moment at which everything that was charged so far is paid off.
#[derive(Clone, Copy, Debug)]
struct Pace {
    per_second: u32,
    paid: Instant,
    /// Who of the jobs lane waits: the backfill lets them go first
    waiting: usize,
}

impl Pace {
    /// How long the next one of this lane has to wait; `None`: until somebody else has gone.
    fn wait(&self, lane: Lane, now: Instant) -> Option<Duration> {
        let is_next = lane == Lane::Jobs || self.waiting == 0;
        is_next.then(|| self.paid.saturating_duration_since(now))
    }

    /// Charges what is about to be read or sent. A pause does not add up to a burst.
    fn charge(&mut self, units: u32, now: Instant) {
        let since = now.checked_sub(LATE).unwrap_or(now);
        self.paid = self.paid.max(since) + self.cost(units);
    }

    /// Gives back what was charged and not there.
    fn give_back(&mut self, units: u32) {
        let cost = self.cost(units);
        self.paid = self.paid.checked_sub(cost).unwrap_or(self.paid);
    }

    fn cost(&self, units: u32) -> Duration {
        Duration::from_secs(1) * units / self.per_second.max(1)
    }
}

/// A pace that many share.
#[derive(Debug)]
pub struct Pacer {
    pace: watch::Sender<Pace>,
    /// Those of a lane are served in the order in which they came.
    jobs: Mutex<()>,
    backfill: Mutex<()>,
}

impl Pacer {
    /// A limit of so many rows or events a second.
    pub fn new(per_second: u32) -> Self {
        Self {
            pace: watch::Sender::new(Pace {
                per_second,
                paid: Instant::now(),
                waiting: 0,
            }),
            jobs: Mutex::default(),
            backfill: Mutex::default(),
        }
    }

    /// Waits until so many may go, and charges them. Who stops waiting is charged nothing.
    pub async fn pass(&self, units: u32, lane: Lane) -> Charged<'_> {
        let _waiting = (lane == Lane::Jobs).then(|| Waiting::begin(&self.pace));
        let queue = match lane {
            Lane::Jobs => &self.jobs,
            Lane::Backfill => &self.backfill,
        };
        let _first = queue.lock().await;
        let mut changes = self.pace.subscribe();
        loop {
            let mut wait = None;
            let charged = self.pace.send_if_modified(|pace| {
                let now = Instant::now();
                wait = pace.wait(lane, now);
                let may_go = wait.is_some_and(|wait| wait.is_zero());
                if may_go {
                    pace.charge(units, now);
                }
                may_go
            });
            if charged {
                return Charged { pacer: self, units };
            }
            let over = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                // Somebody has gone, or gave something back.
                _ = changes.changed() => {}
            }
        }
    }

    /// Charges what goes without waiting. Those that come later wait longer for it.
    pub fn owe(&self, units: u32) {
        self.pace.send_modify(|pace| pace.charge(units, Instant::now()));
    }

    /// Whether somebody of the jobs lane waits, so that the backfill does not get on.
    pub fn is_taken(&self) -> bool {
        self.pace.borrow().waiting > 0
    }

    /// Waits until it was taken for so long without a break.
    pub async fn taken(&self, patience: Duration) {
        let mut pace = self.pace.subscribe();
        loop {
            // These fail only when the sender is gone, and `self` owns it.
            let _ = pace.wait_for(|pace| pace.waiting > 0).await;
            let free = pace.wait_for(|pace| pace.waiting == 0);
            if tokio::time::timeout(patience, free).await.is_err() {
                return;
            }
        }
    }

    /// How long it takes until everything is paid for.
    #[cfg(test)]
    pub fn owed(&self) -> Duration {
        self.pace.borrow().paid.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left to pay, and nobody waits: a new pace would be the same.
    pub fn is_idle(&self) -> bool {
        let pace = self.pace.borrow();
        pace.waiting == 0 && pace.paid <= Instant::now()
    }
}

/// Somebody of the jobs lane who waits.
struct Waiting<'a>(&'a watch::Sender<Pace>);

impl<'a> Waiting<'a> {
    fn begin(pace: &'a watch::Sender<Pace>) -> Self {
        pace.send_modify(|pace| pace.waiting += 1);
        Self(pace)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|pace| pace.waiting -= 1);
    }
}

/// What was charged. When it is dropped, what was not there is given back.
#[derive(Debug)]
pub struct Charged<'a> {
    pacer: &'a Pacer,
    units: u32,
}

impl Charged<'_> {
    /// Says how much of it was there.
    pub fn used(mut self, units: usize) {
        self.units = self.units.saturating_sub(u32::try_from(units).unwrap_or(u32::MAX));
    }
}

impl Drop for Charged<'_> {
    fn drop(&mut self) {
        if self.units > 0 {
            self.pacer.pace.send_modify(|pace| pace.give_back(self.units));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(now: Instant) -> Pace {
        Pace {
            per_second: 1_000,
            paid: now,
            waiting: 0,
        }
    }

    fn wait(pace: &Pace, now: Instant) -> Duration {
        pace.wait(Lane::Jobs, now).unwrap()
    }

    #[test]
    fn pages_wait_until_those_before_are_paid_for() {
        let now = Instant::now();
        let mut pace = pace(now);
        assert_eq!(wait(&pace, now), Duration::ZERO, "the first page waits for nothing");
        pace.charge(500, now);
        assert_eq!(wait(&pace, now), SECOND / 2);
        assert_eq!(wait(&pace, now + SECOND / 4), SECOND / 4);
        pace.charge(1_000, now + SECOND / 4);
        assert_eq!(wait(&pace, now + SECOND), SECOND / 2);
        assert_eq!(wait(&pace, now + 2 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_pause_does_not_add_up_to_a_burst() {
        let now = Instant::now();
        let mut pace = pace(now);
        pace.charge(1_000, now + 3_600 * SECOND);
        assert_eq!(wait(&pace, now + 3_600 * SECOND) + LATE, SECOND);
    }

    #[test]
    fn the_rate_is_held_by_those_who_wake_up_late() {
        let start = Instant::now();
        let (mut pace, mut now) = (pace(start), start);
        for turn in 0..1_000_u32 {
            now += wait(&pace, now) + Duration::from_millis(u64::from(turn * 37 % 90));
            pace.charge(100, now);
        }
        let took = now - start;
        assert!(took >= 99 * SECOND && took <= 101 * SECOND, "{took:?}");
    }

    #[test]
    fn rows_that_were_not_there_are_given_back() {
        let now = Instant::now();
        let mut pace = pace(now);
        pace.charge(1_000, now);
        pace.give_back(900);
        assert_eq!(wait(&pace, now), SECOND / 10);
    }

    #[test]
    fn over_an_hour_the_rate_is_held_whatever_the_pages_hold() {
        let start = Instant::now();
        let (mut pace, mut now, mut read) = (pace(start), start, 0);
        for page in (0_u32..).map(|n| n * 37 % 900) {
            now += wait(&pace, now);
            if now >= start + 3_600 * SECOND {
                break;
            }
            pace.charge(900, now);
            pace.give_back(900 - page);
            read += page;
        }
        assert!((3_599_000..=3_601_000).contains(&read), "{read}");
    }

    #[tokio::test]
    async fn the_backfill_goes_when_nobody_of_the_jobs_lane_waits() {
        let pacer = Pacer::new(100);
        pacer.pass(5, Lane::Jobs).await.used(5);
        let order = std::sync::Mutex::new(Vec::new());
        let goes = async |name: &'static str, lane| {
            pacer.pass(5, lane).await.used(5);
            order.lock().unwrap().push(name);
        };
        tokio::join!(
            goes("old", Lane::Backfill),
            goes("older", Lane::Backfill),
            goes("new", Lane::Jobs),
            goes("newer", Lane::Jobs),
        );
        assert_eq!(*order.lock().unwrap(), ["new", "newer", "old", "older"]);
        assert!(!pacer.is_idle(), "the last one is not paid for yet");
    }

    #[tokio::test]
    async fn it_counts_as_taken_only_after_a_while() {
        let patience = Duration::from_millis(20);
        let pacer = Pacer::new(1);
        pacer.pass(1_000, Lane::Backfill).await.used(1_000);
        let backfill = tokio::time::timeout(4 * patience, pacer.pass(1, Lane::Backfill));
        let taken = tokio::time::timeout(2 * patience, pacer.taken(patience));
        let (backfill, taken) = tokio::join!(backfill, taken);
        assert!(
            backfill.is_err() && taken.is_err() && !pacer.is_taken(),
            "the backfill holds up nobody"
        );
        let jobs = tokio::time::timeout(Duration::from_secs(60), pacer.pass(1, Lane::Jobs));
        tokio::select! {
            _ = jobs => panic!("its turn is in a quarter of an hour"),
            () = pacer.taken(patience) => {}
        }
        assert!(!pacer.is_taken(), "who was dropped does not wait");
    }

    #[tokio::test]
    async fn who_stops_waiting_is_charged_nothing_and_holds_nobody_up() {
        let pacer = Pacer::new(10);
        pacer.pass(2, Lane::Jobs).await.used(2);
        let given_up = tokio::time::timeout(Duration::from_millis(1), pacer.pass(1_000_000, Lane::Jobs)).await;
        assert!(given_up.is_err());
        // It would take a day if that had been charged, and for ever if it still counted as waiting.
        let next = tokio::time::timeout(Duration::from_secs(60), pacer.pass(1, Lane::Backfill)).await;
        assert!(next.is_ok());
        drop(next);
        pacer.owe(1_000);
        assert!(!pacer.is_idle());
    }
}
