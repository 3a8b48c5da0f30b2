//! The memory that a process holds, over time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::measure;

/// How often it is looked at: a look reads one small file of `/proc`.
const EVERY: Duration = Duration::from_millis(50);
/// Points that are kept of one measurement, so that the file stays small.
const POINTS: usize = 80;

/// Seconds since the beginning, and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held(pub f64, pub u64);

/// Looks at a process until it is dropped or asked.
pub struct Watch {
    looking: JoinHandle<()>,
    seen: Arc<Mutex<Vec<Held>>>,
}

impl Watch {
    /// From now on.
    pub fn start(pid: u32) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (began, into) = (Instant::now(), Arc::clone(&seen));
        let looking = tokio::spawn(async move {
            // Ends by itself with the process.
            while let Ok(bytes) = measure::memory_now(pid) {
                let held = Held(began.elapsed().as_secs_f64(), bytes);
                into.lock().unwrap_or_else(PoisonError::into_inner).push(held);
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { looking, seen }
    }

    /// What was seen so far, thinned.
    pub fn seen(&self) -> Vec<Held> {
        thin(&self.seen.lock().unwrap_or_else(PoisonError::into_inner), POINTS)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// At most so many points: of neighbours the one that holds most, since a peak is what matters.
fn thin(all: &[Held], points: usize) -> Vec<Held> {
    let neighbours = all.len().div_ceil(points).max(1);
    let most = |part: &[Held]| part.iter().copied().max_by_key(|held| held.1);
    let round = |Held(at, bytes)| Held((at * 100.0).round() / 100.0, bytes);
    all.chunks(neighbours).filter_map(most).map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_peaks() {
        let all: Vec<Held> = (0..1000_u32).map(|at| Held(f64::from(at) / 20.0, 10)).collect();
        let mut with_peak = all.clone();
        with_peak[517].1 = 99;
        let thinned = thin(&with_peak, 80);
        assert!(thinned.len() <= 80 && thinned.len() > 70, "{}", thinned.len());
        assert!(thinned.contains(&Held(25.85, 99)), "{thinned:?}");
        assert_eq!(thin(&all[..3], 80), [Held(0.0, 10), Held(0.05, 10), Held(0.1, 10)]);
        assert_eq!(thin(&[], 80), []);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_process_is_looked_at_from_the_beginning_until_it_is_asked() {
        let watch = Watch::start(std::process::id());
        tokio::time::sleep(EVERY * 5).await;
        let seen = watch.seen();
        assert!(seen.len() >= 2 && seen.iter().all(|held| held.1 > 1 << 20), "{seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{seen:?}");
    }
}
