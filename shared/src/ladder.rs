//! The retry ladder: how long a failed job waits before its next attempt. PURE.

use std::str::FromStr;
use std::time::Duration;

use crate::settings::{format_duration, parse_duration};

/// One step of the ladder: a delay, and how many attempts wait that long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// How long a message stays in its queue
    pub delay: Duration,
    /// Attempts that wait on it
    pub tries: u32,
}

/// The retry ladder: `30s×1,5m×3,30m×4,2h×20`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(Vec<Rung>);

impl Ladder {
    /// The rungs in order.
    pub fn rungs(&self) -> &[Rung] {
        &self.0
    }

    /// How long a job waits after its failed attempt of this number, the first being 1. `None`: the
    /// ladder is used up.
    pub fn delay(&self, attempt: i32) -> Option<Duration> {
        let mut left = u32::try_from(attempt).ok()?.checked_sub(1)?;
        for rung in &self.0 {
            if left < rung.tries {
                return Some(rung.delay);
            }
            left -= rung.tries;
        }
        None
    }

    /// The rung for a wait that is not counted as a failure: the lease is held, the host is busy or
    /// the database is away.
    pub fn uncounted(&self) -> Duration {
        self.0.iter().map(|r| r.delay).min().unwrap_or(Duration::from_secs(30))
    }

    /// The longest rung that is not longer than `wait`, else the shortest: for a message that came
    /// back too early.
    pub fn towards(&self, wait: Duration) -> Duration {
        self.0
            .iter()
            .map(|r| r.delay)
            .filter(|d| *d <= wait)
            .max()
            .unwrap_or_else(|| self.uncounted())
    }
}

impl FromStr for Ladder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rung = |part: &str| {
            let (delay, tries) = part
                .split_once(['x', '×'])
                .ok_or_else(|| format!("`{part}` has no number of tries; write it like 30s×1"))?;
            let delay = parse_duration(delay.trim())?;
            let tries = tries
                .trim()
                .parse()
                .map_err(|_| format!("`{part}`: the number of tries is not a number"))?;
            if delay.is_zero() || tries == 0 {
                return Err(format!("`{part}`: the delay and the number of tries must not be zero"));
            }
            Ok(Rung { delay, tries })
        };
        text.split(',')
            .map(|part| rung(part.trim()))
            .collect::<Result<Vec<_>, _>>()
            .map(Self)
    }
}

impl std::fmt::Display for Ladder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|r| format!("{}×{}", format_duration(r.delay), r.tries))
            .collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn attempts_climb_the_ladder_and_fall_off_its_end() {
        let ladder: Ladder = "30s×1, 5m x 3,30mx4,2h×20".parse().unwrap();
        let delays: Vec<_> = (0..=29).map(|attempt| ladder.delay(attempt)).collect();
        assert_eq!(delays[0], None);
        assert_eq!(delays[1], Some(seconds(30)));
        assert_eq!(delays[2..=4], [Some(seconds(300)); 3]);
        assert_eq!(delays[5..=8], [Some(seconds(1800)); 4]);
        assert_eq!(delays[9..=28], [Some(seconds(7200)); 20]);
        assert_eq!(delays[29], None);
        assert_eq!(ladder.to_string(), "30s×1,5m×3,30m×4,2h×20");
    }

    #[test]
    fn who_comes_back_early_waits_on_the_longest_rung_that_fits() {
        let ladder: Ladder = "30s×1,5m×3".parse().unwrap();
        assert_eq!(ladder.towards(seconds(10)), seconds(30));
        assert_eq!(ladder.towards(seconds(299)), seconds(30));
        assert_eq!(ladder.towards(seconds(4000)), seconds(300));
        assert_eq!(ladder.uncounted(), seconds(30));
    }

    #[test]
    fn a_bad_ladder_says_what_is_wrong() {
        for bad in ["", "30s", "30s×0", "0s×1", "×3", "5 parsecs×1", "30s×1,,5m×1"] {
            assert!(bad.parse::<Ladder>().is_err(), "{bad}");
        }
    }
}
