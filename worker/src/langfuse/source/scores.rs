//! Two ways to the scores of a project's day. Langfuse has no index on their project and time, so a
//! page walks the scores of all projects in the order of their time. Where the project has fewer
//! scores in all than that day has of everybody, its own are read instead, and sorted. Both ways
//! give the same pages. A count that has grown old costs time, so it is soon taken again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shared::job::Day;
use shared::langfuse::has_index;
use sqlx::PgConnection;
use tokio::sync::OnceCell;

use super::Window;

/// Nothing is counted further. A project with more scores is walked to: its own would be sorted
/// anew for each page.
const FEW: i64 = 2_000;
/// So few are read faster than those of a day are counted.
const HANDFUL: i64 = 50;
/// How long a count is believed.
const HOLDS: Duration = Duration::from_mins(1);
/// So many counts are kept. When there are more, all are forgotten.
const KEPT: usize = 10_000;

const OWN: &str = "-- source_count_own_scores
     select count(*) from (select 1 from scores where project_id = $1 limit $2) own";
const OF_DAY: &str = "-- source_count_scores_of_day
     select count(*) from (select 1 from scores where timestamp >= $1 and timestamp < $2 limit $3) of_day";

/// PURE: whether the project's own scores are read, rather than those of everybody's day. Neither
/// was counted beyond `FEW` + 1.
fn reads_own(own: i64, of_day: i64) -> bool {
    own <= FEW && own < of_day
}

/// Counts, and when each was taken.
#[derive(Debug)]
struct Counts<K>(Mutex<HashMap<K, (i64, Instant)>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn known(&self) -> MutexGuard<'_, HashMap<K, (i64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count that is known, or else the one that is taken now.
    async fn get(&self, key: K, count: impl Future<Output = Result<i64, sqlx::Error>>) -> Result<i64, sqlx::Error> {
        let known = self.known().get(&key).copied();
        if let Some((count, taken)) = known
            && taken.elapsed() < HOLDS
        {
            return Ok(count);
        }
        let count = count.await?;
        let mut known = self.known();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(key, (count, Instant::now()));
        Ok(count)
    }
}

/// What is known of the scores' numbers.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// Whether each way has its index, and neither has a better one
    open: OnceCell<bool>,
    own: Counts<String>,
    of_day: Counts<Day>,
}

impl Ways {
    /// Whether the project's own scores are the shorter way to the rows of a window.
    pub(super) async fn reads_own(&self, connection: &mut PgConnection, window: &Window) -> Result<bool, sqlx::Error> {
        if !*self.open.get_or_try_init(|| open(&mut *connection)).await? {
            return Ok(false);
        }
        let own = sqlx::query_scalar(OWN).bind(&window.project_id).bind(FEW + 1);
        let own = self
            .own
            .get(window.project_id.clone(), own.fetch_one(&mut *connection))
            .await?;
        if own <= HANDFUL {
            return Ok(true);
        }
        if own > FEW {
            return Ok(false);
        }
        let of_day = sqlx::query_scalar(OF_DAY)
            .bind(window.day.start())
            .bind(window.day.end())
            .bind(FEW + 1);
        let of_day = self.of_day.get(window.day, of_day.fetch_one(connection)).await?;
        Ok(reads_own(own, of_day))
    }
}

/// Whether there is a choice. An index on project and time, which an operator may have made, leads
/// to the rows themselves. Without one on the project, its scores cannot be read apart.
async fn open(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if has_index(&mut *connection, "scores", &["project_id", "timestamp"]).await? {
        return Ok(false);
    }
    has_index(connection, "scores", &["project_id"]).await
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[test]
    fn the_shorter_way_is_taken_and_many_are_never_read_whole() {
        assert!(reads_own(0, 1) && reads_own(30, 1_200) && reads_own(FEW, FEW + 1));
        assert!(!reads_own(0, 0) && !reads_own(500, 20) && !reads_own(30, 30));
        assert!(!reads_own(FEW + 1, FEW + 1));
    }

    #[tokio::test]
    async fn a_count_is_taken_once_for_each_key() {
        let counts = Counts::default();
        assert_eq!(counts.get(1, ready(Ok(5))).await.unwrap(), 5);
        assert_eq!(counts.get(1, ready(Ok(6))).await.unwrap(), 5);
        assert_eq!(counts.get(2, ready(Ok(7))).await.unwrap(), 7);
        assert!(counts.get(3, ready(Err(sqlx::Error::PoolTimedOut))).await.is_err());
        assert_eq!(counts.get(3, ready(Ok(8))).await.unwrap(), 8);
    }
}
