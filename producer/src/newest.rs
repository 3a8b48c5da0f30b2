//! How old the newest row of the projects is. Where Langfuse no longer writes to the database, every
//! day is exported and everything looks up to date.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use shared::langfuse::{newest_rows, newest_score};
use sqlx::PgPool;

/// No row for this long, of any enabled project, is a sign that Langfuse writes elsewhere. A weekend
/// is no sign.
const QUIET: TimeDelta = TimeDelta::days(3);

/// What may be the cause.
pub(crate) const WRITES_ELSEWHERE: &str = "See whether Langfuse still writes to this database: Langfuse v3 writes traces, observations and scores to ClickHouse, and leaves these tables as they were.";

/// The newest rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The newest trace or observation of each project
    pub(crate) by_project: BTreeMap<String, DateTime<Utc>>,
    /// The newest of these, or the newest score of any project
    pub(crate) of_all: Option<DateTime<Utc>>,
}

/// Looks for them, as far as they are not in the future.
pub(crate) async fn newest(source: &PgPool, projects: &[String], now: DateTime<Utc>) -> Result<Newest, sqlx::Error> {
    let by_project = newest_rows(source, projects, now).await?;
    let score = newest_score(source, now).await?;
    Ok(Newest {
        of_all: by_project.values().copied().chain(score).max(),
        by_project,
    })
}

impl Newest {
    /// Whether Langfuse seems to have left the database behind. A database without any row counts,
    /// too. PURE.
    pub(crate) fn is_quiet(&self, now: DateTime<Utc>) -> bool {
        self.of_all.is_none_or(|newest| now - newest > QUIET)
    }
}
