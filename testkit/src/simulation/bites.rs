//! How often faults really bit, read from the programs' logs and from what PostHog got.

use std::fmt;
use std::ops::AddAssign;

use crate::ending::{Outcome, endings};
use crate::lines;
use crate::world::World;

/// Counts of what faults led to. A simulation in which they stay 0 shows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bites {
    /// Events that PostHog got again
    pub resent: usize,
    /// Deliveries that the broker made again
    pub redelivered: usize,
    /// Runs taken over after their lease had run out
    pub taken_over: usize,
    /// Sessions with the broker that ended
    pub sessions_lost: usize,
    /// Jobs that were interrupted by a database or ledger that was away, or by another's lease
    pub later: usize,
    /// Jobs that failed and climbed the ladder
    pub retried: usize,
    /// Jobs handed back at a checkpoint: a slice was over, a worker stopped
    pub handed_back: usize,
    /// Deliveries of runs that had ended before
    pub done_before: usize,
    /// Steps of today that were exported while it was going on
    pub steps: usize,
    /// Events that were sent again because their rows changed after the export of their day
    pub settled: usize,
}

impl Bites {
    pub(super) async fn read(world: &World, keys: &[&str]) -> Self {
        let (steps, settled) = in_the_ledger(world).await;
        let logs = world.logs();
        let written = |text: &str| logs.lines().filter(|line| line.contains(text)).count();
        let endings = endings(&logs);
        let ended = |outcome| endings.iter().filter(|ending| ending.outcome == outcome).count();
        Self {
            resent: keys.iter().map(|key| world.posthog.counts(key).resent).sum(),
            redelivered: endings.iter().filter(|ending| ending.is_redelivered()).count(),
            taken_over: written(lines::TAKEN_OVER),
            sessions_lost: written(lines::SESSION_ENDED),
            later: ended(Outcome::Later),
            retried: ended(Outcome::Retry),
            handed_back: ended(Outcome::HandedBack),
            done_before: ended(Outcome::DoneBefore),
            steps,
            settled,
        }
    }

    /// Names and counts.
    pub fn rows(&self) -> [(&'static str, usize); 10] {
        [
            ("events sent again", self.resent),
            ("deliveries made again", self.redelivered),
            ("leases taken over", self.taken_over),
            ("broker sessions lost", self.sessions_lost),
            ("jobs put off, uncounted", self.later),
            ("jobs retried, counted", self.retried),
            ("jobs handed back", self.handed_back),
            ("runs done before", self.done_before),
            ("steps exported", self.steps),
            ("events settled", self.settled),
        ]
    }

    /// The kinds of faults that had no effect. A long soak shows nothing about them.
    pub fn never(&self) -> Vec<&'static str> {
        let rows = self.rows().into_iter();
        rows.filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    /// Whether the faults that every simulation must contain had an effect.
    pub fn bit(&self) -> bool {
        self.resent > 0 && self.redelivered > 0 && self.taken_over > 0 && self.settled > 0
    }
}

/// Steps that are completed, and events that `settled` runs have sent.
async fn in_the_ledger(world: &World) -> (usize, usize) {
    let counts = "select
        (select count(*) from posthog_export.runs where run like 'step-%' and state = 'completed'),
        (select coalesce(sum(sent), 0)::bigint from posthog_export.streams where run = 'settled')";
    let counts = sqlx::query_as::<_, (i64, i64)>(counts).fetch_one(&world.pool()).await;
    let (steps, settled) = counts.expect("read the ledger");
    (steps.unsigned_abs() as usize, settled.unsigned_abs() as usize)
}

impl AddAssign for Bites {
    fn add_assign(&mut self, other: Self) {
        self.resent += other.resent;
        self.redelivered += other.redelivered;
        self.taken_over += other.taken_over;
        self.sessions_lost += other.sessions_lost;
        self.later += other.later;
        self.retried += other.retried;
        self.handed_back += other.handed_back;
        self.done_before += other.done_before;
        self.steps += other.steps;
        self.settled += other.settled;
    }
}

impl fmt::Display for Bites {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .rows()
            .iter()
            .map(|(name, count)| format!("{name}: {count}"))
            .collect();
        write!(out, "{}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_never_bit_is_named() {
        let bites = Bites {
            resent: 1,
            redelivered: 1,
            taken_over: 1,
            sessions_lost: 1,
            later: 1,
            retried: 0,
            handed_back: 1,
            done_before: 1,
            steps: 1,
            settled: 1,
        };
        assert!(bites.bit());
        assert_eq!(bites.never(), ["jobs retried, counted"]);
    }
}
